//! The distance of a film from the training films: Mahalanobis' on the trunk's channel means, covariance shrunk towards
//! its diagonal (Lee et al., NeurIPS 2018).
//! Shapes: features `[D]`; the reference holds mean `[D]` and the lower Cholesky factor `[D, D]` of the covariance.
//! Errors: [`BundleError`] for a reference that is none, [`FitError`] for films that do not make one.

use safetensors::SafeTensors;

use crate::bundle::BundleError;

/// Distance of an image from the training films.
#[derive(Clone, Copy, Debug)]
pub struct GuardScore {
    /// The distance, per root of the number of features.
    pub score: f64,
    /// Above it an image is refused.
    pub limit: f64,
}

/// The distance's reference: what the training films look like to the trunk.
pub struct GuardReference {
    mean: Vec<f64>,
    factor: Vec<f64>,
    limit: f64,
}

impl GuardReference {
    /// Reads the reference of a bundle: tensors `mean` `[D]`, `factor` `[D, D]` and `limit` `[1]`, f32.
    pub fn load(path: &str, bytes: &[u8]) -> Result<Self, BundleError> {
        let invalid = |what: String| BundleError::Invalid { path: path.into(), what };
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| invalid(error.to_string()))?;
        let read = |name: &str| -> Result<Vec<f64>, BundleError> {
            let view = tensors.tensor(name).map_err(|error| invalid(format!("tensor {name}: {error}")))?;
            if view.dtype() != safetensors::Dtype::F32 {
                return Err(invalid(format!("tensor {name}: expected F32, found {:?}", view.dtype())));
            }
            let values: Vec<f64> =
                view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
            if values.iter().all(|value| value.is_finite()) {
                Ok(values)
            } else {
                Err(invalid(format!("tensor {name}: a value is not finite")))
            }
        };
        let (mean, factor, limit) = (read("mean")?, read("factor")?, read("limit")?);
        let dimension = mean.len();
        if factor.len() != dimension * dimension || limit.len() != 1 {
            return Err(invalid(format!("{dimension} means do not fit {} factors", factor.len())));
        }
        if (0..dimension).any(|i| factor[i * dimension + i] <= 0.0) {
            return Err(invalid("tensor factor: a diagonal value is not positive".into()));
        }
        Ok(Self { mean, factor, limit: limit[0] })
    }

    /// Fits the reference to the features of training films, with the covariance shrunk by `shrinkage` towards its
    /// diagonal; the limit is the
    /// `quantile` of the distances of `tuning`, times `slack`. Returns the safetensors bytes.
    pub fn fit(
        features: &[Vec<f32>],
        tuning: &[Vec<f32>],
        shrinkage: f64,
        quantile: f64,
        slack: f64,
    ) -> Result<Vec<u8>, FitError> {
        let dimension = features.first().map_or(0, Vec::len);
        if features.len() < 2 || tuning.is_empty() || features.iter().chain(tuning).any(|f| f.len() != dimension) {
            return Err(FitError::Shape);
        }
        let count = features.len() as f64;
        let mut mean = vec![0.0; dimension];
        for film in features {
            for (sum, &value) in mean.iter_mut().zip(film) {
                *sum += f64::from(value) / count;
            }
        }
        let mut covariance = vec![0.0; dimension * dimension];
        for film in features {
            let centred: Vec<f64> = film.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean).collect();
            for i in 0..dimension {
                for j in 0..=i {
                    covariance[i * dimension + j] += centred[i] * centred[j] / (count - 1.0);
                }
            }
        }
        let floor = 1e-6 + (0..dimension).map(|i| covariance[i * dimension + i]).sum::<f64>() / dimension as f64 * 1e-4;
        for i in 0..dimension {
            for j in 0..i {
                covariance[i * dimension + j] *= 1.0 - shrinkage;
            }
            covariance[i * dimension + i] += floor;
        }
        let factor = cholesky(covariance, dimension)?;
        // The stored figures are f32: the limit is set with what a reader of the file will compute.
        let rounded = |values: &[f64]| -> Vec<f64> { values.iter().map(|&value| f64::from(value as f32)).collect() };
        let reference = Self { mean: rounded(&mean), factor: rounded(&factor), limit: f64::INFINITY };
        let mut distances: Vec<f64> = tuning.iter().map(|film| reference.score(film).score).collect();
        distances.sort_by(f64::total_cmp);
        let place = ((distances.len() - 1) as f64 * quantile).round() as usize;
        let limit = distances.get(place).copied().ok_or(FitError::Shape)? * slack;
        Ok(write(&reference.mean, &reference.factor, limit)?)
    }

    /// The distance of an image's features.
    pub fn score(&self, features: &[f32]) -> GuardScore {
        let dimension = self.mean.len();
        let mut solved = vec![0.0; dimension];
        let mut total = 0.0;
        for i in 0..dimension {
            let row = &self.factor[i * dimension..=i * dimension + i];
            let known: f64 = row.iter().zip(&solved[..i]).map(|(factor, value)| factor * value).sum();
            let value = (features.get(i).map_or(f64::NAN, |&f| f64::from(f)) - self.mean[i] - known) / row[i];
            solved[i] = value;
            total += value * value;
        }
        GuardScore { score: (total / dimension as f64).sqrt(), limit: self.limit }
    }
}

/// The reference could not be fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Too few films, or films with different numbers of features.
    #[error(
        "guard reference: at least two training films and one tuning film with the same number of features are needed"
    )]
    Shape,
    /// The covariance has no Cholesky factor.
    #[error("guard reference: the covariance is not positive definite at feature {0}; raise the shrinkage")]
    NotPositive(usize),
    /// The file could not be made.
    #[error("guard reference: write")]
    Write(#[from] safetensors::SafeTensorError),
}

/// The lower Cholesky factor of a symmetric matrix given by its lower half.
fn cholesky(mut matrix: Vec<f64>, dimension: usize) -> Result<Vec<f64>, FitError> {
    for i in 0..dimension {
        for j in 0..=i {
            let (above, row) = matrix.split_at(i * dimension);
            let other = if j == i { &row[..j] } else { &above[j * dimension..j * dimension + j] };
            let known: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            let rest = matrix[i * dimension + j] - known;
            matrix[i * dimension + j] = if i == j {
                if rest <= 0.0 {
                    return Err(FitError::NotPositive(i));
                }
                rest.sqrt()
            } else {
                rest / matrix[j * dimension + j]
            };
        }
        for j in i + 1..dimension {
            matrix[i * dimension + j] = 0.0;
        }
    }
    Ok(matrix)
}

fn write(mean: &[f64], factor: &[f64], limit: f64) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let bytes = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect() };
    let (mean_bytes, factor_bytes, limit_bytes) = (bytes(mean), bytes(factor), bytes(&[limit]));
    let view = |shape: Vec<usize>, data| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data);
    let tensors = [
        ("factor", view(vec![mean.len(), mean.len()], &factor_bytes)?),
        ("limit", view(vec![1], &limit_bytes)?),
        ("mean", view(vec![mean.len()], &mean_bytes)?),
    ];
    safetensors::serialize(tensors, None)
}
