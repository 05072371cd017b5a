//! Which instruction set the kernels use: chosen once at run time, never by the build.
//! The choice never changes a bit of any result (see `lanes`), only the time.
//! Errors: none; a set that the processor lacks cannot be chosen.

use std::cell::Cell;
use std::sync::OnceLock;

/// The environment variable by which a person chooses the set of a whole process, as an auditor who repeats readings on
/// plain code: `scalar`, `avx2` or `avx512`.
pub const ISA_VARIABLE: &str = "VIDIMUS_ISA";

/// An instruction set for which the kernels have an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Portable code; `f32::mul_add` one lane at a time.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
}

thread_local! {
    static CHOSEN: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    /// Every set that this processor has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 {
                sets.push(Self::Avx2);
            }
            if avx2 && is_x86_feature_detected!("avx512f") {
                sets.push(Self::Avx512);
            }
        }
        sets
    }

    /// The set in use on this thread: the one that [`with_isa`] chose, else the one that [`ISA_VARIABLE`] names, else
    /// the fastest.
    #[must_use]
    pub fn current() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        let best = || Self::available().last().copied().unwrap_or(Self::Scalar);
        CHOSEN.get().unwrap_or_else(|| *BEST.get_or_init(|| Self::named().ok().flatten().unwrap_or_else(best)))
    }

    /// The set that [`ISA_VARIABLE`] names; none where it is not set.
    ///
    /// # Errors
    /// Its value, where this processor has no such set.
    pub fn named() -> Result<Option<Self>, String> {
        let Ok(name) = std::env::var(ISA_VARIABLE) else { return Ok(None) };
        Self::available().into_iter().find(|isa| isa.name() == name).map(Some).ok_or(name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Runs `work` with every operation that this thread starts on the set `isa`; `None` if the processor lacks it.
/// An auditor's way to repeat a result on plain scalar code.
pub fn with_isa<T>(isa: Isa, work: impl FnOnce() -> T) -> Option<T> {
    if !Isa::available().contains(&isa) {
        return None;
    }
    let _restore = Restore(CHOSEN.replace(Some(isa)));
    Some(work())
}

/// Puts the thread's choice back, also when the work panics.
struct Restore(Option<Isa>);

impl Drop for Restore {
    fn drop(&mut self) {
        CHOSEN.set(self.0);
    }
}
