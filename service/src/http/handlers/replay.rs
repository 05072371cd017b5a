//! stand-in
use super::super::{Answer, Call, Problem};
pub(in super::super) fn replay(c: &Call<'_>) -> Result<Answer, Problem> {
    super::none(c)
}
