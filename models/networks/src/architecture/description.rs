//! The description of a published network: a TOML file of what its tensors cannot tell.
//! Units: as each key says. Errors: [`NetworkError::Setting`] for a file that is no description; unknown keys are
//! refused by name. The keys, for people: `models/networks/published/README.md`.

use crate::NetworkError;
use serde::{Deserialize, Serialize};
use vidimus_engine::graph::Activation;

/// Architectures that a description can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Dilated 3-D convolutions in a row (MeshNet).
    Meshnet,
    /// Convolutions in a row whose result is taken from the image (DnCNN).
    Dncnn,
    /// Two little U-Nets, the second of which sees the first one's answer (W-Net).
    WNet,
    /// A U-Net of double convolutions.
    UNet,
    /// A residual network (ResNet-18 or -34).
    Residual,
    /// A densely connected network (DenseNet-121 and its kin).
    Densenet,
    /// A centre-point detector on a residual trunk.
    Detection,
    /// A residual trunk with values in place of classes.
    Regression,
    /// hippodeep's brain mask.
    HippodeepHead,
    /// hippodeep's alignment.
    HippodeepAffine,
    /// hippodeep's hippocampus.
    HippodeepHippo,
}

/// An activation by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationName {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Slope .01 below zero.
    LeakyRelu,
    /// `exp(x) - 1` below zero.
    Elu,
    /// `x · Φ(x)`.
    Gelu,
    /// `x · sigmoid(x)`.
    Silu,
}

impl ActivationName {
    /// As the graph has it.
    #[must_use]
    pub const fn function(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Relu6 => Activation::Relu6,
            Self::LeakyRelu => Activation::LeakyRelu(0.01),
            Self::Elu => Activation::Elu(1.0),
            Self::Gelu => Activation::Gelu,
            Self::Silu => Activation::Silu,
        }
    }
}

/// What comes first after a convolution, where there is a norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Convolution, norm, activation.
    #[default]
    NormFirst,
    /// Convolution, activation, norm.
    ActivationFirst,
}

/// What a network's result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Channels compete: the largest is the label.
    Labels,
    /// Each channel is the log odds of one thing.
    Logits,
    /// An image of the input's kind.
    Image,
    /// Numbers.
    Values,
}

/// How intensities are brought to the network's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intensity {
    /// As they are.
    #[default]
    None,
    /// Smallest to 0, largest to 1, over the whole image or volume.
    MinMax,
    /// Divided by 255.
    Byte,
    /// Less the mean, by the deviation, over the whole image or volume.
    Standard,
    /// 8-bit values less ImageNet's means, by its deviations.
    Imagenet,
}

/// Planes or volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceKind {
    /// Rows and columns.
    Plane,
    /// Depth, rows and columns.
    Volume,
}

/// What a last layer is followed by when the result is shown (never in `output`, which is raw).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadName {
    /// Nothing.
    Linear,
    /// The logistic function, for values between 0 and 1.
    Sigmoid,
}

/// What is done to an image before the network sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparationSpec {
    /// Intensities.
    #[serde(default)]
    pub intensity: Intensity,
    /// Each side is padded with zeros to a multiple of it, at its end, and cut back afterwards.
    #[serde(default = "one")]
    pub size_multiple: usize,
    /// Pictures are resized to this many rows and columns (Pillow's bilinear, antialiased).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Volumes are resampled to this many voxels along each axis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conform_voxels: Option<[usize; 3]>,
    /// Millimetres of a voxel after that resampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conform_mm: Option<f64>,
    /// Directions of a volume's three axes as the network takes them, for example `LIA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
}

const fn one() -> usize {
    1
}

impl Default for PreparationSpec {
    fn default() -> Self {
        Self {
            intensity: Intensity::None,
            size_multiple: one(),
            size: None,
            conform_voxels: None,
            conform_mm: None,
            orientation: None,
        }
    }
}

/// What a network is, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Architecture.
    pub family: Family,
    /// A line for people.
    #[serde(default)]
    pub title: String,
    /// Dilation of each convolution but the last, in order (MeshNet).
    #[serde(default)]
    pub dilations: Vec<usize>,
    /// After each convolution but the last.
    #[serde(default)]
    pub activation: ActivationName,
    /// Where there are norms: which comes first.
    #[serde(default)]
    pub order: Order,
    /// Added to the variance of every batch norm.
    #[serde(default = "epsilon")]
    pub norm_epsilon: f64,
    /// What the output's channels mean.
    #[serde(default)]
    pub output: Option<OutputKind>,
    /// Names of the output's channels, in their order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Probability from which a single logit counts as present.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// What follows the last layer when values are shown (regression).
    #[serde(default)]
    pub head: Option<HeadName>,
    /// Unit of the output's values (UCUM), for regression.
    #[serde(default)]
    pub unit: Option<String>,
    /// Whether the four mirrored passes are averaged for the finished result (never in `output`).
    #[serde(default)]
    pub mirrored: bool,
    /// Largest absolute difference from the published result that is accepted.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// What is done to an image before the network sees it.
    #[serde(default)]
    pub preparation: PreparationSpec,
}

const fn epsilon() -> f64 {
    1e-5
}

const fn tolerance() -> f64 {
    1e-4
}

impl Description {
    /// Reads a description.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let wrong = |problem: String| NetworkError::Setting { setting: "architecture", problem };
        let description: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if description.preparation.size_multiple == 0 || description.preparation.size_multiple > 1024 {
            return Err(wrong("preparation.size_multiple must be 1 to 1024".into()));
        }
        if description.dilations.iter().any(|&dilation| dilation == 0 || dilation > 1024) {
            return Err(wrong("dilations must be 1 to 1024".into()));
        }
        if !(description.norm_epsilon.is_finite() && description.norm_epsilon >= 0.0) {
            return Err(wrong("norm_epsilon must be finite and not negative".into()));
        }
        if !(description.tolerance.is_finite() && description.tolerance >= 0.0) {
            return Err(wrong("tolerance must be finite and not negative".into()));
        }
        if description.preparation.conform_mm.is_some_and(|mm| !(mm.is_finite() && mm > 0.0)) {
            return Err(wrong("preparation.conform_mm must be finite and above 0".into()));
        }
        if description.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            return Err(wrong("threshold must be a probability".into()));
        }
        Ok(description)
    }

    /// What the output's channels mean, by the family where the file does not say.
    #[must_use]
    pub fn output(&self, channels: usize) -> OutputKind {
        self.output.unwrap_or(match self.family {
            Family::Dncnn => OutputKind::Image,
            Family::Regression | Family::HippodeepAffine => OutputKind::Values,
            Family::HippodeepHead | Family::HippodeepHippo | Family::Detection => OutputKind::Logits,
            _ if channels > 1 => OutputKind::Labels,
            _ => OutputKind::Logits,
        })
    }
}
