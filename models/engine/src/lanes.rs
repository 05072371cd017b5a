//! Sixteen f32 lanes on three instruction sets: the only vector type of the kernels.
//! Each lane is computed by IEEE 754 operations with one rounding (`fma`, compare-and-select), so the three
//! implementations give the same bits. Minimum and maximum are written so that a NaN in the data passes.
//! Errors: none. `unsafe` because loads and stores take raw addresses and because the vector forms may only run where
//! the processor has the instructions: the callers are the `#[target_feature]` instances made by `instances!`.

/// Lanes of one vector.
pub(crate) const LANES: usize = 16;

/// Sixteen lanes.
///
/// # Safety
/// Every method of an implementation may only run on a processor that has the implementation's instructions.
pub(crate) trait Lanes: Copy {
    /// The same value in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// Sixteen values from `at`, unaligned.
    unsafe fn load(at: *const f32) -> Self;
    /// The first `count` (1..=16) values from `at`, zero in the other lanes; reads nothing behind them.
    unsafe fn load_part(at: *const f32, count: usize) -> Self;
    /// Sixteen values to `at`, unaligned.
    unsafe fn store(self, at: *mut f32);
    /// The first `count` (1..=16) lanes to `at`; writes nothing behind them.
    unsafe fn store_part(self, at: *mut f32, count: usize);
    /// `self * b + c` with one rounding.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`.
    unsafe fn sub(self, b: Self) -> Self;
    /// `self * b`.
    unsafe fn mul(self, b: Self) -> Self;
    /// `self / b`.
    unsafe fn div(self, b: Self) -> Self;
    /// Two to the power of each lane, a whole number of -126..=127.
    unsafe fn pow2(self) -> Self;
    /// `self` times two to the power of `n`, whole numbers of -126..=128, rounded once.
    unsafe fn scale2(self, n: Self) -> Self;
    /// `if self > b { yes } else { no }`: `no` where one of the two is NaN.
    unsafe fn if_greater(self, b: Self, yes: Self, no: Self) -> Self;
    /// `if self.is_nan() { yes } else { no }`.
    unsafe fn if_nan(self, yes: Self, no: Self) -> Self;
    /// `if 0 > v { 0 } else { v }`.
    unsafe fn relu(self) -> Self;
    /// `if 0 > v { 0 } else { v }`, then `if 6 < v { 6 } else { v }`.
    unsafe fn relu6(self) -> Self;
}

/// Added to a whole number, it leaves that number plus 127 in the lowest bits of the sum.
const POW2: f32 = 8_388_608.0 + 127.0;

/// Sixteen lanes in portable code; one lane for the functions of one number.
impl<const N: usize> Lanes for [f32; N] {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; N]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller vouches for as many readable values at `at`.
        unsafe { at.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(at: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; N];
        for (lane, value) in lanes.iter_mut().take(count).enumerate() {
            // SAFETY: the caller vouches for `count` readable values at `at`, and `lane < count`.
            *value = unsafe { at.add(lane).read() };
        }
        lanes
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller vouches for as many writable values at `at`.
        unsafe { at.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, count: usize) {
        for (lane, value) in self.iter().take(count).enumerate() {
            // SAFETY: the caller vouches for `count` writable values at `at`, and `lane < count`.
            unsafe { at.add(lane).write(*value) };
        }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        std::array::from_fn(|lane| self[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - b[lane])
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] / b[lane])
    }
    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        self.map(|n| f32::from_bits((n + POW2).to_bits() << 23))
    }
    #[inline(always)]
    unsafe fn scale2(self, n: Self) -> Self {
        // halves of the power, each in range: the first product is exact, the second is the one rounding
        std::array::from_fn(|lane| {
            let half = (n[lane] * 0.5 + crate::math::WHOLE) - crate::math::WHOLE;
            // SAFETY: portable lanes need no special instructions.
            let [low, high] = unsafe { [half, n[lane] - half].pow2() };
            self[lane] * low * high
        })
    }
    #[inline(always)]
    unsafe fn if_greater(self, b: Self, yes: Self, no: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > b[lane] { yes[lane] } else { no[lane] })
    }
    #[inline(always)]
    unsafe fn if_nan(self, yes: Self, no: Self) -> Self {
        std::array::from_fn(|lane| if self[lane].is_nan() { yes[lane] } else { no[lane] })
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        self.map(|v| if 0.0 > v { 0.0 } else { v })
    }
    #[inline(always)]
    unsafe fn relu6(self) -> Self {
        self.map(|v| {
            let v = if 0.0 > v { 0.0 } else { v };
            if 6.0 < v { 6.0 } else { v }
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! The AVX2 and AVX-512 forms.
    use super::{LANES, Lanes, POW2};
    use std::arch::x86_64::{
        __m256, __m256i, __m512, __mmask16, _CMP_GT_OQ, _CMP_UNORD_Q, _mm256_add_ps, _mm256_blendv_ps,
        _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_ps,
        _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_mask_blend_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps,
        _mm512_mul_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
        _mm512_sub_ps,
    };

    /// A window of eight entries starting at `8 - n` has its first `n` lanes set.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    /// The mask of the first `count` (0..=8) lanes.
    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        debug_assert!(count <= 8);
        // SAFETY: `8 - count` is 0..=8, so eight entries of the sixteen follow; AVX2 is the caller's to vouch for.
        unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
    }

    impl Lanes for (__m256, __m256) {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { (_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller vouches for AVX2 and sixteen readable values.
            unsafe { (_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_part(at: *const f32, count: usize) -> Self {
            let low = count.min(8);
            // SAFETY: the caller vouches for AVX2 and `count` readable values; masked lanes are not read.
            unsafe { (_mm256_maskload_ps(at, mask(low)), _mm256_maskload_ps(at.wrapping_add(8), mask(count - low))) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller vouches for AVX2 and sixteen writable values.
            unsafe {
                _mm256_storeu_ps(at, self.0);
                _mm256_storeu_ps(at.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn store_part(self, at: *mut f32, count: usize) {
            let low = count.min(8);
            // SAFETY: the caller vouches for AVX2 and `count` writable values; masked lanes are not written.
            unsafe {
                _mm256_maskstore_ps(at, mask(low), self.0);
                _mm256_maskstore_ps(at.wrapping_add(8), mask(count - low), self.1);
            }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: the caller vouches for FMA.
            unsafe { (_mm256_fmadd_ps(self.0, b.0, c.0), _mm256_fmadd_ps(self.1, b.1, c.1)) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { (_mm256_add_ps(self.0, b.0), _mm256_add_ps(self.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { (_mm256_sub_ps(self.0, b.0), _mm256_sub_ps(self.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { (_mm256_mul_ps(self.0, b.0), _mm256_mul_ps(self.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { (_mm256_div_ps(self.0, b.0), _mm256_div_ps(self.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn pow2(self) -> Self {
            // SAFETY: the caller vouches for AVX2; the lanes' bits are shifted as the portable form's.
            unsafe {
                let sum = self.add(Self::splat(POW2));
                let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(sum.0));
                let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(sum.1));
                (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
            }
        }
        #[inline(always)]
        unsafe fn scale2(self, n: Self) -> Self {
            // SAFETY: the caller vouches for AVX2; the products are the portable form's.
            unsafe {
                let whole = Self::splat(crate::math::WHOLE);
                let half = n.mul(Self::splat(0.5)).add(whole).sub(whole);
                self.mul(half.pow2()).mul(n.sub(half).pow2())
            }
        }
        #[inline(always)]
        unsafe fn if_greater(self, b: Self, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX2; the comparison is false where an operand is NaN.
            unsafe {
                // no closure here: it would lack the instructions and stay a call
                let (low, high) = (_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, b.0), _mm256_cmp_ps::<_CMP_GT_OQ>(self.1, b.1));
                (_mm256_blendv_ps(no.0, yes.0, low), _mm256_blendv_ps(no.1, yes.1, high))
            }
        }
        #[inline(always)]
        unsafe fn if_nan(self, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX2; a number is unordered with itself only if it is NaN.
            unsafe {
                let low = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
                let high = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.1, self.1);
                (_mm256_blendv_ps(no.0, yes.0, low), _mm256_blendv_ps(no.1, yes.1, high))
            }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: the caller vouches for AVX2. The instruction returns the second operand for a NaN or two zeros.
            unsafe {
                let zero = _mm256_setzero_ps();
                (_mm256_max_ps(zero, self.0), _mm256_max_ps(zero, self.1))
            }
        }
        #[inline(always)]
        unsafe fn relu6(self) -> Self {
            // SAFETY: the caller vouches for AVX2. The instructions return the second operand for a NaN or two zeros,
            // as the scalar form does.
            unsafe {
                let (zero, six) = (_mm256_setzero_ps(), _mm256_set1_ps(6.0));
                (_mm256_min_ps(six, _mm256_max_ps(zero, self.0)), _mm256_min_ps(six, _mm256_max_ps(zero, self.1)))
            }
        }
    }

    /// The mask of the first `count` (1..=16) lanes.
    #[inline(always)]
    fn mask16(count: usize) -> __mmask16 {
        debug_assert!((1..=LANES).contains(&count));
        u16::MAX >> (LANES - count)
    }

    impl Lanes for __m512 {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller vouches for AVX-512 F and sixteen readable values.
            unsafe { _mm512_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn load_part(at: *const f32, count: usize) -> Self {
            // SAFETY: the caller vouches for AVX-512 F and `count` readable values; masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(mask16(count), at) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller vouches for AVX-512 F and sixteen writable values.
            unsafe { _mm512_storeu_ps(at, self) }
        }
        #[inline(always)]
        unsafe fn store_part(self, at: *mut f32, count: usize) {
            // SAFETY: the caller vouches for AVX-512 F and `count` writable values; masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(at, mask16(count), self) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_sub_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_mul_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F.
            unsafe { _mm512_div_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn pow2(self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F; the lanes' bits are shifted as the portable form's.
            unsafe {
                let sum = _mm512_castps_si512(_mm512_add_ps(self, _mm512_set1_ps(POW2)));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(sum))
            }
        }
        #[inline(always)]
        unsafe fn scale2(self, n: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F; the instruction rounds once, as the portable form does.
            unsafe { _mm512_scalef_ps(self, n) }
        }
        #[inline(always)]
        unsafe fn if_greater(self, b: Self, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F; the comparison is false where an operand is NaN.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, b), no, yes) }
        }
        #[inline(always)]
        unsafe fn if_nan(self, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F; a number is unordered with itself only if it is NaN.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self), no, yes) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F. The instruction returns the second operand for a NaN or two
            // zeros.
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), self) }
        }
        #[inline(always)]
        unsafe fn relu6(self) -> Self {
            // SAFETY: the caller vouches for AVX-512 F. The instructions return the second operand for a NaN or two
            // zeros, as the scalar form does.
            unsafe { _mm512_min_ps(_mm512_set1_ps(6.0), _mm512_max_ps(_mm512_setzero_ps(), self)) }
        }
    }
}

/// Makes `$name(isa, args)` from one generic body: an instance for each instruction set, chosen by `isa`.
/// The two numbers after the lanes are the register tile: rows, and vectors along the lanes.
macro_rules! instances {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $kind:ty),* $(,)?)) => {
        $(#[$doc])*
        fn $name(isa: $crate::isa::Isa, $($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $kind),*) {
                // SAFETY: this function has the instructions.
                unsafe { $body::<(std::arch::x86_64::__m256, std::arch::x86_64::__m256), 6, 1>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($arg: $kind),*) {
                // SAFETY: this function has the instructions.
                unsafe { $body::<std::arch::x86_64::__m512, 12, 2>($($arg),*) }
            }
            match isa {
                // SAFETY: scalar lanes need no special instructions.
                $crate::isa::Isa::Scalar => unsafe { $body::<[f32; $crate::lanes::LANES], 2, 1>($($arg),*) },
                // SAFETY: an `Isa` is only ever one that `Isa::available` found on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: scalar lanes need no special instructions.
                #[cfg(not(target_arch = "x86_64"))]
                _ => unsafe { $body::<[f32; $crate::lanes::LANES], 2, 1>($($arg),*) },
            }
        }
    };
}
pub(crate) use instances;
