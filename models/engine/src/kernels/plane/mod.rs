//! Kernels of planes: one register tile for every dense convolution, Winograd's transforms, depthwise, pools, maps.
//! Shapes: blocked layout, `[channel block][row][column][16]` with the block's sixteen channels innermost and a border
//! of zeros stored around each block, so that no kernel has an edge case. Strides are in floats.
//! Exactness: lanes run over channels, never over a sum; an element has one fixed list of operations, so the three
//! instances of a body agree bit for bit.
//! Errors: none. Everything is `unsafe`: the plan vouches for the addresses (see `plan::plane::layout`).

pub(crate) mod depthwise;
pub(crate) mod map;
pub(crate) mod pool;
pub(crate) mod tile;
pub(crate) mod winograd;

use crate::lanes::{LANES, Lanes};

/// Makes `$name(isa, args)` from one generic body, as `lanes::instances!` does, for bodies that take raw addresses.
/// The number after the lanes is how many vectors a loop may keep in registers besides what it needs itself.
macro_rules! raw_instances {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $kind:ty),* $(,)?)) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Every address that the arguments name may be read or written as the body says.
        #[expect(clippy::allow_attributes, reason = "some bodies have few arguments")]
        #[allow(clippy::too_many_arguments, reason = "strides and addresses; a struct would hide which is which")]
        pub(crate) unsafe fn $name(isa: $crate::isa::Isa, $($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $kind),*) {
                // SAFETY: this function has the instructions; addresses are the caller's.
                unsafe { $body::<(std::arch::x86_64::__m256, std::arch::x86_64::__m256), 4>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($arg: $kind),*) {
                // SAFETY: this function has the instructions; addresses are the caller's.
                unsafe { $body::<std::arch::x86_64::__m512, 8>($($arg),*) }
            }
            // SAFETY: an `Isa` is only ever one that `Isa::available` found here; addresses are the caller's.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512 => avx512($($arg),*),
                    _ => $body::<[f32; $crate::lanes::LANES], 1>($($arg),*),
                }
            }
        }
    };
}
use raw_instances;

/// What an activation without a function call does to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clip {
    /// Nothing.
    #[default]
    None,
    /// `if 0 > v { 0 } else { v }`.
    Relu,
    /// The same, then `if 6 < v { 6 } else { v }`.
    Relu6,
}

impl Clip {
    /// # Safety
    /// The processor has `V`'s instructions.
    #[inline(always)]
    unsafe fn apply<V: Lanes>(self, v: V) -> V {
        // SAFETY: as this function's.
        unsafe {
            match self {
                Self::None => v,
                Self::Relu => v.relu(),
                Self::Relu6 => v.relu6(),
            }
        }
    }
}

/// What happens to a convolution's sum, in this order: clip, factor and offset, the other summand, clip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) first: Clip,
    /// Factors and offsets by channel; null: none.
    pub(crate) factor: *const f32,
    pub(crate) offset: *const f32,
    /// The other summand at the first element; null: none.
    pub(crate) rest: *const f32,
    /// Floats between its rows and between its channel blocks; its columns lie as the result's.
    pub(crate) rest_row: usize,
    pub(crate) rest_block: usize,
    pub(crate) last: Clip,
}

impl Ending {
    pub(crate) const NONE: Self = Self {
        first: Clip::None,
        factor: std::ptr::null(),
        offset: std::ptr::null(),
        rest: std::ptr::null(),
        rest_row: 0,
        rest_block: 0,
        last: Clip::None,
    };

    /// `block` counts channel blocks from the first element's, `place` floats from the first element.
    ///
    /// # Safety
    /// The processor has `V`'s instructions; factor and offset hold sixteen values at the block, `rest` at the place.
    #[inline(always)]
    unsafe fn apply<V: Lanes>(&self, v: V, block: usize, place: usize) -> V {
        // SAFETY: as this function's.
        unsafe {
            let mut v = self.first.apply(v);
            if !self.factor.is_null() {
                v = v.fma(V::load(self.factor.add(block * LANES)), V::load(self.offset.add(block * LANES)));
            }
            if !self.rest.is_null() {
                v = v.add(V::load(self.rest.add(place)));
            }
            self.last.apply(v)
        }
    }
}
