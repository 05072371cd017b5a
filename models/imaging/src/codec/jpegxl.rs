//! JPEG XL through `jxl-oxide`, on this thread, with a bound on what it may allocate.
//! Samples come as fractions of the stream's own greatest value and are scaled back by its bit depth: exact to 16 bits.
//! Errors: a header that disagrees with the attributes, a stream that ends early, what the decoder says.
//! Source: ISO/IEC 18181-1; DICOM PS3.5 A.4.15 (supplement 232). Requirement: REQ-IMG-011.

use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool};

use super::{Frame, Raw, same_size};
use crate::{
    description::{Photometric, PixelDescription},
    limits::JXL_BYTES_PER_SAMPLE_MAX,
};

const WORK_BYTES: usize = 64 << 20;

/// Decodes one frame.
pub(crate) fn frame(bytes: &[u8], description: &PixelDescription) -> Result<Frame, String> {
    let budget = description.frame_samples() * JXL_BYTES_PER_SAMPLE_MAX + WORK_BYTES;
    let image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(budget))
        .read(bytes)
        .map_err(|error| error.to_string())?;
    let format = image.pixel_format();
    let channels = if format.is_grayscale() { 1 } else { 3 };
    same_size(description, u64::from(image.height()), u64::from(image.width()), channels)?;
    let bits = image.image_header().metadata.bit_depth.bits_per_sample();
    if bits > 16 || bits > u32::from(description.bits_allocated) {
        return Err(format!("{bits} bits a sample, Bits Allocated is {}", description.bits_allocated));
    }
    if !image.is_loading_done() {
        return Err("the stream ends early".to_owned());
    }
    let render = image.render_frame(0).map_err(|error| error.to_string())?;
    let mut stream = render.stream_no_alpha();
    let mut fractions = vec![0_f32; description.frame_samples()];
    let written = stream.write_to_buffer(&mut fractions);
    if written != fractions.len() || stream.channels() != u32::from(description.samples) {
        return Err(format!("{written} samples, {} are needed", fractions.len()));
    }
    let greatest = ((1_u32 << bits) - 1) as f32;
    let patterns = fractions.iter().map(|fraction| (fraction.clamp(0.0, 1.0) * greatest).round() as u16);
    let raw = Raw::Words(patterns.collect());
    // the decoder gives red, green and blue whatever the stream was made from
    let colours = (description.samples == 3).then_some(Photometric::Rgb);
    Ok(Frame { raw, colours, sign_differs: false })
}
