//! Tiles and bundles of C2SP tlog-tiles: names, widths, the bytes of them, and the writer that makes them in one pass.
//! A full tile is 256 hashes (8,192 bytes); hashes of level L >= 1 are roots of full tiles below; a partial tile
//! (1 to 255 hashes) is never hashed upwards, and there are no empty tiles. A bundle is, for each entry, a big-endian
//! uint16 length and the bytes. Source: C2SP tlog-tiles, AUDIT_LOG section 5.

use crate::{Digest, limits::ENTRY_BYTES_MAX, tree};

/// Hashes of a full tile.
pub const WIDTH: u64 = 256;
/// Levels that a tree of 2^63 leaves has.
pub const LEVELS_MAX: u32 = 8;

/// Hashes of tile level `level` in a log of `size` entries.
pub const fn hashes_at(size: u64, level: u32) -> u64 {
    if level >= LEVELS_MAX { 0 } else { size >> (8 * level) }
}

/// The tiles of one level: index and width, the partial one last.
pub fn tiles_at(size: u64, level: u32) -> impl Iterator<Item = (u64, u64)> {
    let hashes = hashes_at(size, level);
    (0..hashes.div_ceil(WIDTH)).map(move |index| (index, WIDTH.min(hashes - index * WIDTH)))
}

/// `tile/<level>/<index>[.p/<width>]`.
pub fn path(level: u32, index: u64, width: u64) -> String {
    format!("tile/{level}/{}", index_path(index, width))
}

/// `tile/entries/<index>[.p/<width>]`.
pub fn bundle_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", index_path(index, width))
}

fn index_path(index: u64, width: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH { format!("{text}.p/{width}") } else { text }
}

/// What a path below the log's prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A hash tile.
    Tile {
        /// Its level.
        level: u32,
        /// Its index.
        index: u64,
        /// Its width, 1 to 256.
        width: u64,
    },
    /// A bundle of entries.
    Bundle {
        /// Its index.
        index: u64,
        /// Its width, 1 to 256.
        width: u64,
    },
}

impl Name {
    /// Reads `tile/...`; only the one spelling that [`path`] and [`bundle_path`] print is a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let mut number: u64 = 0;
        for group in index.split('/') {
            let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            number = number.checked_mul(1000)?.checked_add(group)?;
        }
        let name = if level == "entries" {
            Self::Bundle { index: number, width }
        } else {
            Self::Tile { level: level.parse().ok().filter(|level| *level < LEVELS_MAX)?, index: number, width }
        };
        (name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Tile { level, index, width } => f.write_str(&path(level, index, width)),
            Self::Bundle { index, width } => f.write_str(&bundle_path(index, width)),
        }
    }
}

/// The hashes of a tile's bytes; `None` unless they are 1 to 256 hashes.
pub fn hashes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let counted = (1..=256).contains(&chunks.len()) && rest.is_empty();
    counted.then(|| chunks.iter().map(|chunk| Digest::from_bytes(*chunk)).collect())
}

/// The bytes of a tile.
pub fn bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Adds an entry to the bytes of a bundle.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The entries of a bundle; an item is an error where the bytes cannot be cut.
pub fn entries(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], BundleError>> {
    let mut rest = bundle;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = || {
            let (length, after) = rest.split_at_checked(2)?;
            let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
            after.split_at_checked(length).filter(|_| (1..=ENTRY_BYTES_MAX).contains(&length))
        };
        match cut() {
            Some((entry, after)) => {
                rest = after;
                Some(Ok(entry))
            }
            None => {
                rest = &[];
                Some(Err(BundleError))
            }
        }
    })
}

/// A bundle's length prefix does not fit what follows it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("bundle: a length prefix of 1 to {ENTRY_BYTES_MAX} and as many bytes expected")]
pub struct BundleError;

/// A full tile, as it is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Its level.
    pub level: u32,
    /// Its index.
    pub index: u64,
    /// Its 8,192 bytes.
    pub data: Vec<u8>,
    /// The root over its hashes: one hash of the level above.
    pub root: Digest,
}

/// The right edge of the tiles of a growing log: the partial tile of each level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl Edge {
    /// The edge of a log of `size` entries from its partial tiles, level 0 first; `None` where a width is wrong.
    pub fn from_parts(size: u64, levels: Vec<Vec<Digest>>) -> Option<Self> {
        let fits = (0..LEVELS_MAX).all(|level| {
            let held = usize::try_from(level).ok().and_then(|level| levels.get(level)).map_or(0, Vec::len);
            u64::try_from(held) == Ok(hashes_at(size, level) % WIDTH)
        });
        fits.then_some(Self { size, levels })
    }

    /// Number of entries.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The partial tile of `level`: 0 to 255 hashes.
    pub fn partial(&self, level: u32) -> &[Digest] {
        usize::try_from(level).ok().and_then(|level| self.levels.get(level)).map_or(&[], Vec::as_slice)
    }

    /// Appends a leaf; returns the tiles that it fills, lowest level first.
    pub fn push(&mut self, leaf: Digest) -> Vec<FullTile> {
        let mut filled = Vec::new();
        let mut hash = leaf;
        self.size += 1;
        for level in 0..LEVELS_MAX {
            let at = usize::try_from(level).unwrap_or_default();
            if self.levels.len() <= at {
                self.levels.push(Vec::with_capacity(256));
            }
            let Some(tile) = self.levels.get_mut(at) else { break };
            tile.push(hash);
            if tile.len() < 256 {
                break;
            }
            let root = tree::root(tile);
            let index = hashes_at(self.size, level) / WIDTH - 1;
            filled.push(FullTile { level, index, data: bytes(tile), root });
            tile.clear();
            hash = root;
        }
        filled
    }
}

/// Where the hash of a perfect subtree stands among the tiles: `2^(level % 8)` hashes of one tile.
pub fn locate(level: u32, index: u64) -> (u32, u64, std::ops::Range<usize>) {
    let (tile_level, inner) = (level / 8, level % 8);
    let first = index << inner;
    let start = usize::try_from(first % WIDTH).unwrap_or_default();
    (tile_level, first / WIDTH, start..start + (1 << inner))
}
