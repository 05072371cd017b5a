//! From an instance's pixel element to stored values, frame by frame, and their digests.
//! Shapes: frame, row, column, sample. Memory: the values once, one frame of patterns beside them.
//! Errors: `Structure` for pixel bytes that are too few or fragments that fit no frame, `Decode` for a frame.
//! Source: IMAGING.md sections 1 to 3 and 6. Requirement: REQ-IMG-005, REQ-IMG-006, REQ-IMG-012.

use vidimus_log::Digest;

use crate::{
    codec::{self, Frame, Raw, native},
    dataset::Value,
    description::{Photometric, PixelDescription, PixelKind},
    error::{ImagingError, Warning},
    frames,
    instance::Instance,
    part10::plain,
    stored::Stored,
    syntaxes::{Codec, Syntax},
    tags,
};

/// The stored values of an instance, and what they mean now.
#[derive(Debug)]
pub struct Decoded {
    /// The values.
    pub stored: Stored,
    /// The description, with Photometric Interpretation as it is after decoding (chroma at full size, transforms of
    /// the code stream undone) and samples by pixel.
    pub description: PixelDescription,
    /// What was lenient in the pixels.
    pub warnings: Vec<Warning>,
}

impl Decoded {
    /// SHA-256 of the bare values, little endian.
    pub fn stored_sha256(&self) -> Digest {
        self.stored.sha256()
    }

    /// The canonical pixel digest: a header with every number that gives the values their meaning, then the values.
    /// Equal for all lossless transfer syntaxes of one image.
    pub fn pixel_digest(&self) -> Digest {
        let d = &self.description;
        let header = format!(
            "vidimus pixels 1\nrows {}\ncolumns {}\nframes {}\nsamples {}\nbits {}\nsigned {}\n\
             photometric {}\ntype {}\n\n",
            d.rows,
            d.columns,
            d.frames,
            d.samples,
            d.bits_stored,
            u8::from(d.signed),
            d.photometric.term(),
            self.stored.type_name(),
        );
        self.stored.digest_after(header.as_bytes())
    }

    /// The range of the stored values of one frame, counted from 0.
    pub fn frame_range(&self, frame: usize) -> std::ops::Range<usize> {
        let size = self.description.frame_samples();
        frame * size..(frame + 1) * size
    }
}

/// Decodes all frames of `instance`.
pub(crate) fn decode(instance: &Instance) -> Result<Decoded, ImagingError> {
    let description = instance.description()?.clone();
    let Some(syntax) = instance.syntax() else {
        return Err(ImagingError::TransferSyntax { uid: instance.transfer_syntax_uid.clone() });
    };
    let mut sink = Sink { stored: Stored::with_room(&description), colours: None, warnings: Vec::new(), description };
    match instance.attributes().element(sink.description.kind.tag()).map(|element| &element.value) {
        Some(Value::Bytes(_)) => native_frames(instance, syntax, &mut sink)?,
        Some(Value::Fragments(ranges)) => encapsulated_frames(instance, syntax, ranges, &mut sink)?,
        Some(Value::Items(_)) => {
            return Err(ImagingError::structure(tags::PIXEL_DATA, "a sequence stands where pixel values should"));
        }
        None => return Err(ImagingError::Missing { attribute: tags::PIXEL_DATA, why: "so there is no image" }),
    }
    let Sink { stored, colours, mut warnings, mut description } = sink;
    let meant = colours.unwrap_or(description.photometric);
    description.photometric = meant;
    description.planar = false;
    warnings.sort_unstable();
    warnings.dedup();
    Ok(Decoded { stored, description, warnings })
}

struct Sink {
    stored: Stored,
    colours: Option<Photometric>,
    warnings: Vec<Warning>,
    description: PixelDescription,
}

impl Sink {
    fn take(&mut self, frame: Frame) {
        let bits = self.description.bits_stored;
        match frame.raw {
            Raw::Words(values) => self.stored.push(values.into_iter().map(u32::from), bits),
            Raw::Longs(values) => self.stored.push(values.into_iter(), bits),
            Raw::Doubles(values) => self.stored.push_doubles(values.into_iter()),
        }
        if frame.sign_differs {
            self.warnings.push(Warning::SignDiffers);
        }
        if let Some(colours) = frame.colours {
            self.colours = Some(colours);
        }
    }
}

fn native_frames(instance: &Instance, syntax: &Syntax, sink: &mut Sink) -> Result<(), ImagingError> {
    let kind = sink.description.kind;
    if syntax.codec.encapsulated() && kind == PixelKind::Whole {
        let fault = "the values are not encapsulated, and the transfer syntax says that they are";
        return Err(ImagingError::structure(tags::PIXEL_DATA, fault));
    }
    let attributes = instance.attributes();
    let Some(element) = attributes.element(kind.tag()) else { return Ok(()) };
    let mut bytes = plain(instance.data(), element).unwrap_or_default();
    if sink.description.samples > 1 && !native::shared_chroma(&sink.description) {
        let planar = attributes.whole(tags::PLANAR_CONFIGURATION)?;
        if planar.is_none() {
            let why = "without it the samples of a pixel cannot be told apart";
            return Err(ImagingError::Missing { attribute: tags::PLANAR_CONFIGURATION, why });
        }
    }
    let frames = sink.description.frames as usize;
    let whole = (sink.description.frame_samples() * sink.description.bytes_per_sample() * frames) as u64;
    let mut needed = (native::frame_bits(&sink.description) * frames as u64).div_ceil(8);
    if native::shared_chroma(&sink.description) && bytes.len() as u64 / 2 == whole.div_ceil(2) {
        // the chrominances are all there: the image is YBR_FULL whatever the attribute says
        sink.description.photometric = Photometric::YbrFull;
        sink.warnings.push(Warning::ColourDiffers);
        needed = whole;
    }
    if (bytes.len() as u64) < needed {
        let fault = format!("{} bytes, Rows x Columns x NumberOfFrames and bits need {needed}", bytes.len());
        return Err(ImagingError::structure(kind.tag(), fault));
    }
    if bytes.len() as u64 > needed + needed % 2 {
        sink.warnings.push(Warning::TrailingBytes);
    }
    let swapped;
    if element.big_endian && sink.description.bits_allocated <= 8 && &element.vr == b"OW" {
        // bytes that lie in big-endian words: each pair is turned (PS3.5 annex D)
        swapped = bytes.as_chunks::<2>().0.iter().flat_map(|[a, b]| [*b, *a]).collect::<Vec<_>>();
        bytes = &swapped;
    }
    let fail = |frame: usize, fault: String| ImagingError::Decode { frame: frame as u64 + 1, codec: "native", fault };
    for number in 0..frames {
        let frame = if sink.description.bits_allocated == 1 {
            // frames follow one another without filling up the last byte
            let samples = sink.description.frame_samples();
            Frame::plain(Raw::Words(native::bits(bytes, number * samples, samples)))
        } else {
            let size = usize::try_from(native::frame_bits(&sink.description) / 8).unwrap_or(usize::MAX);
            let rest = bytes.get(number * size..).unwrap_or_default();
            native::frame(rest, &sink.description, element.big_endian).map_err(|fault| fail(number, fault))?
        };
        sink.take(frame);
    }
    Ok(())
}

fn encapsulated_frames(
    instance: &Instance,
    syntax: &Syntax,
    ranges: &[std::ops::Range<usize>],
    sink: &mut Sink,
) -> Result<(), ImagingError> {
    if syntax.codec == Codec::Native {
        let fault = "the values are encapsulated, and the transfer syntax says that they are not";
        return Err(ImagingError::structure(tags::PIXEL_DATA, fault));
    }
    let data = instance.data();
    let extended = instance.attributes().bytes(tags::EXTENDED_OFFSETS);
    let frames = sink.description.frames as usize;
    let assigned = frames::assign(data, ranges, frames, syntax.codec, extended, &mut sink.warnings)?;
    for (number, fragments) in assigned.iter().enumerate() {
        let bytes = frames::join(data, fragments);
        let frame = codec::decode(syntax.codec, &bytes, &sink.description).map_err(|fault| ImagingError::Decode {
            frame: number as u64 + 1,
            codec: syntax.codec.name(),
            fault,
        })?;
        sink.take(frame);
    }
    Ok(())
}
