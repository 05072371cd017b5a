//! Which fragments make which frame: by the offset tables where they fit, by counting, by the start mark of a stream.
//! In: the ranges of the pixel data items, the offset table's first. Out: for each frame the ranges of its fragments.
//! Errors: none, too few, or fragments that no table and no mark assigns to a frame.
//! Source: DICOM PS3.5 section A.4, PS3.3 C.7.6.3.1.8. Requirement: REQ-IMG-005.

use std::{borrow::Cow, ops::Range};

use crate::{
    error::{ImagingError, Warning},
    syntaxes::Codec,
    tags,
};

/// The fragments of each frame.
pub(crate) fn assign(
    data: &[u8],
    ranges: &[Range<usize>],
    frames: usize,
    codec: Codec,
    extended: Option<&[u8]>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Vec<Range<usize>>>, ImagingError> {
    let fault = |text: String| ImagingError::structure(tags::PIXEL_DATA, text);
    let Some((table, fragments)) = ranges.split_first() else {
        return Err(fault("there are no items: neither an offset table nor a fragment".to_owned()));
    };
    if fragments.is_empty() {
        return Err(fault("there is no fragment after the offset table".to_owned()));
    }
    let basic: Vec<u64> = data
        .get(table.clone())
        .unwrap_or_default()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|four| u64::from(u32::from_le_bytes(*four)))
        .collect();
    let wide: Vec<u64> =
        extended.unwrap_or_default().as_chunks::<8>().0.iter().map(|all| u64::from_le_bytes(*all)).collect();
    let offsets = if wide.is_empty() { basic } else { wide };
    let starts = if offsets.is_empty() { None } else { starts(fragments, &offsets, frames) };
    if !offsets.is_empty() && starts.is_none() {
        warnings.push(Warning::OffsetTableIgnored);
    }
    if frames == 1 {
        return Ok(vec![fragments.to_vec()]);
    }
    if fragments.len() == frames {
        return Ok(fragments.iter().map(|one| vec![one.clone()]).collect());
    }
    if fragments.len() < frames {
        return Err(fault(format!("{} fragments for {frames} frames", fragments.len())));
    }
    let starts = starts.or_else(|| marked(data, fragments, codec)).filter(|starts| starts.len() == frames);
    let Some(starts) = starts else {
        return Err(fault(format!("{} fragments cannot be assigned to {frames} frames", fragments.len())));
    };
    let ends = starts.iter().skip(1).copied().chain([fragments.len()]);
    Ok(starts.iter().zip(ends).map(|(from, to)| fragments.get(*from..to).unwrap_or_default().to_vec()).collect())
}

/// The bytes of a frame: borrowed from one fragment, joined from several.
pub(crate) fn join<'a>(data: &'a [u8], fragments: &[Range<usize>]) -> Cow<'a, [u8]> {
    match fragments {
        [one] => Cow::Borrowed(data.get(one.clone()).unwrap_or_default()),
        many => Cow::Owned(many.iter().flat_map(|one| data.get(one.clone()).unwrap_or_default()).copied().collect()),
    }
}

/// The number of the first fragment of each frame, where every offset is the place of a fragment's item.
fn starts(fragments: &[Range<usize>], offsets: &[u64], frames: usize) -> Option<Vec<usize>> {
    let base = fragments.first()?.start as u64;
    let places: Vec<u64> = fragments.iter().map(|one| one.start as u64 - base).collect();
    let found: Option<Vec<usize>> = offsets.iter().map(|offset| places.binary_search(offset).ok()).collect();
    let found = found.filter(|starts| starts.first() == Some(&0) && starts.len() == frames)?;
    found.windows(2).all(|pair| pair[0] < pair[1]).then_some(found)
}

/// The fragments that begin with the start mark of a code stream.
fn marked(data: &[u8], fragments: &[Range<usize>], codec: Codec) -> Option<Vec<usize>> {
    let mark: &[u8] = match codec {
        Codec::Jpeg | Codec::JpegLs => &[0xff, 0xd8, 0xff],
        Codec::Jpeg2000 => &[0xff, 0x4f, 0xff, 0x51],
        _ => return None,
    };
    let begins = |one: &Range<usize>| data.get(one.clone()).is_some_and(|bytes| bytes.starts_with(mark));
    let found: Vec<usize> = fragments.iter().enumerate().filter(|(_, one)| begins(one)).map(|(n, _)| n).collect();
    (found.first() == Some(&0)).then_some(found)
}
