//! Every bound on what a file may ask of this crate, in one place, each with its reason.
//! Units: bytes, elements, levels, samples; a bound is checked before memory is taken.
//! Errors: `ImagingError::Limit` names the bound that was passed.

/// Largest file that is read into memory: above every radiograph, ultrasound clip and enhanced series seen; 2 GiB.
pub const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most bytes that a deflated data set may unpack to: a bomb of 130 kB reaches it; deflated objects are reports and
/// segmentations, far smaller. The buffer doubles on its way there, so a bomb costs less than 200 MB.
pub const INFLATED_BYTES_MAX: usize = 128 << 20;
/// Deepest nesting of sequences: enhanced objects and structured reports stay below 20; the walk recurses once a level.
pub const DEPTH_MAX: usize = 64;
/// Most data elements in one file: 10,000 frames of 100 functional-group elements each, with room.
pub const ELEMENTS_MAX: usize = 2_000_000;
/// Most frames in one object: the largest whole-slide levels have some 100,000 tiles.
pub const FRAMES_MAX: u64 = 200_000;
/// Most samples in one frame: a 40-megapixel mammogram or a 6,500 x 6,500 colour photograph fits.
pub const FRAME_SAMPLES_MAX: u64 = 1 << 27;
/// Most bytes of decoded stored values of one object: a 16-bit tomosynthesis of 80 frames of 3,500 x 2,500 fits.
pub const DECODED_BYTES_MAX: u64 = 2 << 30;
/// Most bytes that the JPEG XL decoder may hold for one frame of `samples`: its planes are 32-bit, with work copies.
pub const JXL_BYTES_PER_SAMPLE_MAX: usize = 64;
/// Pixels that one byte of a Huffman-coded JPEG scan can stand for at the most (two bits for an 8 x 8 block).
pub const JPEG_PIXELS_PER_BYTE_MAX: u64 = 256;
/// Most entries of a lookup table; the descriptor's 0 stands for this number (PS3.3 C.7.6.3.1.5).
pub const LUT_ENTRIES_MAX: usize = 65_536;
/// Most files that one call of `walk` lists: a folder of a whole archive is a mistake, not a study.
pub const WALK_FILES_MAX: usize = 1_000_000;
/// Deepest folder below a path given: links are not followed, so only a real tree can be deep.
pub const WALK_DEPTH_MAX: usize = 64;
/// Largest picture (PNG, JPEG) that is imported, in pixels.
pub const PICTURE_PIXELS_MAX: u64 = 1 << 26;
/// Characters of a text attribute that are kept: DICOM's longest short text (ST) has 1,024.
pub const TEXT_CHARS_MAX: usize = 1_024;
