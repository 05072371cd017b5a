//! Weights from files that others made: safetensors, and PyTorch's zip format without executing its pickle.
//! Shapes: tensors as published, turned into f32. What a file is, its bytes say; its name says nothing.
//! Half precision and bfloat16 are widened, exactly; doubles are refused, as they would be rounded. Counters of batch
//! norm (`num_batches_tracked`) are left out; any other tensor of integers is refused.
//! Errors: [`ImportError`], naming the tensor, opcode or global. Every size is held to the file before memory is taken.
//! Source: safetensors' format; PyTorch's `torch.save`; PKWARE's APPNOTE; Python's `pickletools`.

mod pickle;
mod zip;

use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use vidimus_engine::Weights;

pub use pickle::{Storage, StoredTensor};

/// The largest weights file that is taken in: 1 GiB.
pub const BYTES_MAX: usize = 1 << 30;
/// The first bytes of PyTorch's stream format from before 2020: its magic number as a pickle.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// How the weights lay in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// PyTorch's zip.
    TorchZip,
}

impl Format {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch zip",
        }
    }
}

/// A weights file that is not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is none that is known here.
    #[error("weights: {0}")]
    Format(String),
    /// The zip's structure.
    #[error("weights: zip: {0}")]
    Zip(String),
    /// The pickle asks for something that a list of tensors does not need.
    #[error("weights: pickle: {0}; nothing in the file was executed")]
    Pickle(String),
    /// A tensor.
    #[error("weights: tensor {name}: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads the weights in `bytes`.
pub fn read_weights(bytes: &[u8]) -> Result<(Weights, Format), ImportError> {
    if bytes.len() > BYTES_MAX {
        return Err(ImportError::Format(format!("{} bytes, at most {BYTES_MAX} are taken in", bytes.len())));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok((torch_zip(bytes)?, Format::TorchZip));
    }
    if bytes.starts_with(LEGACY) {
        let what = "PyTorch's stream format from before 2020; load it in PyTorch and save it again, or use safetensors";
        return Err(ImportError::Format(what.into()));
    }
    if bytes.first() == Some(&0x80) {
        // a bare pickle: walked through only to say by name what it wants
        pickle::read(bytes)?;
        return Err(ImportError::Pickle("a pickle without its tensors' storages".into()));
    }
    if bytes.get(8) == Some(&b'{') {
        return Ok((safetensors(bytes)?, Format::Safetensors));
    }
    Err(ImportError::Format("neither safetensors nor PyTorch's zip format, by its first bytes".into()))
}

fn safetensors(bytes: &[u8]) -> Result<Weights, ImportError> {
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|error| ImportError::Format(format!("safetensors: {error}")))?;
    let mut weights = Weights::new();
    for (name, tensor) in tensors {
        if let Some(tensor) = widened(&name, &tensor)? {
            weights.insert(name, tensor);
        }
    }
    Ok(weights)
}

/// The tensor in f32; `None` for a counter.
fn widened(name: &str, tensor: &Tensor) -> Result<Option<Tensor>, ImportError> {
    let wrong = |problem: String| ImportError::Tensor { name: name.to_owned(), problem };
    match tensor.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => {}
        _ if name.ends_with("num_batches_tracked") => return Ok(None),
        other => {
            return Err(wrong(format!("it holds {}, and f32, f16 or bf16 is taken in; export it so", other.as_str())));
        }
    }
    let tensor = tensor.to_dtype(DType::F32).map_err(|error| wrong(error.to_string()))?;
    let values: Vec<f32> =
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(|error| wrong(error.to_string()))?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(wrong("it holds a value that is not finite".into()));
    }
    Ok(Some(tensor))
}

fn torch_zip(bytes: &[u8]) -> Result<Weights, ImportError> {
    let archive = zip::Archive::open(bytes)?;
    let Some(pickle) = archive.names().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")) else {
        return Err(ImportError::Zip("it holds no data.pkl, so PyTorch did not make it".into()));
    };
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if archive.names().any(|name| name.strip_prefix(root.as_str()).is_some_and(|name| name.starts_with("code/"))) {
        return Err(ImportError::Zip("it is a TorchScript program; save the state_dict alone".into()));
    }
    if let Some(order) = archive.read(&format!("{root}byteorder"))?
        && order != b"little"
    {
        return Err(ImportError::Zip("its byteorder is not little".into()));
    }
    let program = archive.read(&format!("{root}data.pkl"))?.unwrap_or_default();
    let mut storages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut weights = Weights::new();
    let stored = pickle::read(&program)?;
    let all_wrapped = !stored.is_empty() && stored.iter().all(|(name, _)| name.starts_with("module."));
    for (name, stored) in stored {
        let name = if all_wrapped { name["module.".len()..].to_owned() } else { name };
        let key = &stored.storage.key;
        if !storages.contains_key(key) {
            let data = archive.read(&format!("{root}data/{key}"))?;
            let data =
                data.ok_or_else(|| ImportError::Zip(format!("data/{key} is missing, tensor {name} needs it")))?;
            storages.insert(key.clone(), data);
        }
        let data = storages.get(key).map(Vec::as_slice).unwrap_or_default();
        let tensor = gathered(&stored, data).map_err(|problem| ImportError::Tensor { name: name.clone(), problem })?;
        if let Some(tensor) = widened(&name, &tensor)? {
            weights.insert(name, tensor);
        }
    }
    Ok(weights)
}

/// The tensor's values out of its storage, by offset and strides.
fn gathered(stored: &StoredTensor, data: &[u8]) -> Result<Tensor, String> {
    let Storage { dtype, numel, .. } = stored.storage;
    let width = dtype.size_in_bytes();
    if numel.checked_mul(width) != Some(data.len()) {
        return Err(format!("its storage says {numel} values of {width} bytes and has {} bytes", data.len()));
    }
    let count = stored.size.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).filter(|&count| count <= numel);
    let reach = stored.size.iter().zip(&stored.stride).try_fold(stored.offset, |at, (&size, &stride)| {
        size.saturating_sub(1).checked_mul(stride).and_then(|step| at.checked_add(step))
    });
    let (Some(count), Some(reach)) = (count, reach) else { return Err("its size exceeds its storage".into()) };
    if stored.size.len() != stored.stride.len() || (count > 0 && reach >= numel) {
        return Err("its strides lead out of its storage".into());
    }
    let mut bytes = Vec::with_capacity(count * width);
    let mut place = vec![0usize; stored.size.len()];
    for _ in 0..count {
        let at = stored.offset + place.iter().zip(&stored.stride).map(|(p, s)| p * s).sum::<usize>();
        bytes.extend_from_slice(&data[at * width..(at + 1) * width]);
        for axis in (0..place.len()).rev() {
            place[axis] += 1;
            if place[axis] < stored.size[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    Tensor::from_raw_buffer(&bytes, dtype, &stored.size, &Device::Cpu).map_err(|error| error.to_string())
}
