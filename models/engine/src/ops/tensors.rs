//! Between Candle's tensors and the kernels' slices: reading values, and operations made of two plain functions.
//! Shapes: any; every argument is contiguous (the public functions see to it).
//! Errors: Candle's, for a tensor that is not f32, not contiguous or not in main memory.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// The f32 values of a contiguous argument.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("argument {:?} is not contiguous", layout.shape())
    };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// Runs `work` on a tensor's values.
pub(super) fn with_values<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(work(values(storage, layout)?)),
        _ => bail!("tensor {:?} is not in main memory", tensor.shape()),
    }
}

/// A tensor of `values`.
pub(super) fn tensor(values: Vec<f32>, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// Values and dimensions of an argument.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) dims: &'a [usize],
}

impl<'a> View<'a> {
    fn new(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Self> {
        Ok(Self { values: values(storage, layout)?, dims: layout.dims() })
    }
}

/// Values and dimensions of a result.
pub(crate) type Made = (Vec<f32>, Vec<usize>);

/// Runs `work` on the views of several contiguous tensors.
pub(crate) fn with_views<T, const N: usize>(
    tensors: [&Tensor; N],
    work: impl FnOnce([View<'_>; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut views = [View { values: &[], dims: &[] }; N];
    for (view, (storage, layout)) in views.iter_mut().zip(&guards) {
        match &**storage {
            Storage::Cpu(storage) => *view = View::new(storage, layout)?,
            _ => bail!("a tensor of shape {:?} is not in main memory", layout.shape()),
        }
    }
    work(views)
}

/// An operation of any number of values, as a tape runs it.
pub(crate) trait Step: Send + Sync {
    /// The result.
    fn run(&self, arguments: &[View<'_>]) -> Result<Made>;
    /// The gradients of the arguments that are wanted, from the result and its gradient.
    fn back(&self, arguments: &[View<'_>], y: View<'_>, g: View<'_>, wanted: &[bool]) -> Result<Vec<Option<Vec<f32>>>>;
}

/// So many arguments, and no others.
fn exactly<'a, const N: usize>(name: &str, arguments: &[View<'a>]) -> Result<[View<'a>; N]> {
    match <[View<'a>; N]>::try_from(arguments) {
        Ok(arguments) => Ok(arguments),
        Err(_) => bail!("{name}: expected {N} arguments, found {}", arguments.len()),
    }
}

/// An operation of one tensor.
pub(crate) trait Unary: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;
    /// The result.
    fn forward(&self, x: View<'_>) -> Result<Made>;
    /// The gradient of `x`, from the result and its gradient.
    fn backward(&self, x: View<'_>, y: View<'_>, g: View<'_>) -> Result<Vec<f32>>;
}

/// Enters the operation into Candle.
pub(super) fn unary<T: Unary>(x: &Tensor, op: T) -> Result<Tensor> {
    x.contiguous()?.apply_op1(One(op))
}

pub(crate) struct One<T>(pub(crate) T);

impl<T: Unary> CustomOp1 for One<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }
    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, dims) = self.0.forward(View::new(x, layout)?)?;
        Ok((CpuStorage::F32(values), Shape::from(dims)))
    }
    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let gradient = with_views([x, y, &g.contiguous()?], |[x, y, g]| self.0.backward(x, y, g))?;
        Ok(Some(tensor(gradient, x.dims())?))
    }
}

/// An operation of two tensors. Only gradients that are wanted are made.
pub(crate) trait Binary: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;
    /// The result.
    fn forward(&self, a: View<'_>, b: View<'_>) -> Result<Made>;
    /// The gradients of `a` and `b`, from the result's.
    fn backward(&self, a: View<'_>, b: View<'_>, g: View<'_>, wanted: [bool; 2]) -> Result<[Option<Vec<f32>>; 2]>;
}

/// Enters the operation into Candle.
pub(super) fn binary<T: Binary>(a: &Tensor, b: &Tensor, op: T) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, Two(op))
}

pub(crate) struct Two<T>(pub(crate) T);

impl<T: Binary> CustomOp2 for Two<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }
    fn cpu_fwd(&self, a: &CpuStorage, at: &Layout, b: &CpuStorage, bt: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, dims) = self.0.forward(View::new(a, at)?, View::new(b, bt)?)?;
        Ok((CpuStorage::F32(values), Shape::from(dims)))
    }
    fn bwd(&self, a: &Tensor, b: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let wanted = [a.track_op(), b.track_op()];
        let [for_a, for_b] = with_views([a, b, &g.contiguous()?], |[a, b, g]| self.0.backward(a, b, g, wanted))?;
        let like = |values: Option<Vec<f32>>, of: &Tensor| values.map(|values| tensor(values, of.dims())).transpose();
        Ok((like(for_a, a)?, like(for_b, b)?))
    }
}

/// An operation of three tensors. Only gradients that are wanted are made.
pub(crate) trait Ternary: Send + Sync + 'static {
    /// For messages.
    const NAME: &'static str;
    /// The result.
    fn forward(&self, arguments: [View<'_>; 3]) -> Result<Made>;
    /// The gradients of the arguments, from the result's.
    fn backward(&self, arguments: [View<'_>; 3], g: View<'_>, wanted: [bool; 3]) -> Result<[Option<Vec<f32>>; 3]>;
}

/// Enters the operation into Candle.
pub(super) fn ternary<T: Ternary>(a: &Tensor, b: &Tensor, c: &Tensor, op: T) -> Result<Tensor> {
    a.contiguous()?.apply_op3(&b.contiguous()?, &c.contiguous()?, Three(op))
}

pub(crate) struct Three<T>(pub(crate) T);

impl<T: Ternary> CustomOp3 for Three<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }
    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        at: &Layout,
        b: &CpuStorage,
        bt: &Layout,
        c: &CpuStorage,
        ct: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (values, dims) = self.0.forward([View::new(a, at)?, View::new(b, bt)?, View::new(c, ct)?])?;
        Ok((CpuStorage::F32(values), Shape::from(dims)))
    }
    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = [a.track_op(), b.track_op(), c.track_op()];
        let g = g.contiguous()?;
        let [x, y, z] = with_views([a, b, c, &g], |[a, b, c, g]| self.0.backward([a, b, c], g, wanted))?;
        let like = |values: Option<Vec<f32>>, of: &Tensor| values.map(|values| tensor(values, of.dims())).transpose();
        Ok((like(x, a)?, like(y, b)?, like(z, c)?))
    }
}

impl<T: Unary> Step for One<T> {
    fn run(&self, arguments: &[View<'_>]) -> Result<Made> {
        let [x] = exactly(T::NAME, arguments)?;
        self.0.forward(x)
    }
    fn back(&self, arguments: &[View<'_>], y: View<'_>, g: View<'_>, wanted: &[bool]) -> Result<Vec<Option<Vec<f32>>>> {
        let [x] = exactly(T::NAME, arguments)?;
        Ok(vec![if wanted[0] { Some(self.0.backward(x, y, g)?) } else { None }])
    }
}

impl<T: Binary> Step for Two<T> {
    fn run(&self, arguments: &[View<'_>]) -> Result<Made> {
        let [a, b] = exactly(T::NAME, arguments)?;
        self.0.forward(a, b)
    }
    fn back(&self, arguments: &[View<'_>], _: View<'_>, g: View<'_>, wanted: &[bool]) -> Result<Vec<Option<Vec<f32>>>> {
        let [a, b] = exactly(T::NAME, arguments)?;
        Ok(self.0.backward(a, b, g, [wanted[0], wanted[1]])?.into())
    }
}

impl<T: Ternary> Step for Three<T> {
    fn run(&self, arguments: &[View<'_>]) -> Result<Made> {
        self.0.forward(exactly(T::NAME, arguments)?)
    }
    fn back(&self, arguments: &[View<'_>], _: View<'_>, g: View<'_>, wanted: &[bool]) -> Result<Vec<Option<Vec<f32>>>> {
        let arguments = exactly(T::NAME, arguments)?;
        Ok(self.0.backward(arguments, g, [wanted[0], wanted[1], wanted[2]])?.into())
    }
}
