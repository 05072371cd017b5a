//! The archive of a set's images: an uncompressed tar of small files, read whole.
//! Errors: [`DatasetError::Member`] names the member. Limits: a member's size is checked before memory is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
};

use vidimus_log::Digest;

use super::{Case, DatasetError, file, read};

/// No reference image here is larger.
pub(super) const MEMBER_BYTES_MAX: u64 = 64 << 20;

/// The members by name; each name once, regular files only.
pub(super) fn members(tar: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, DatasetError> {
    let broken = |source| DatasetError::File { file: file::IMAGES.to_owned(), action: "reading a member of", source };
    let mut archive = tar::Archive::new(tar);
    let mut members = BTreeMap::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let fault = |what| DatasetError::Member { member: member.clone(), what };
        if !entry.header().entry_type().is_file() {
            return Err(fault("not a regular file"));
        }
        if entry.size() > MEMBER_BYTES_MAX {
            return Err(fault("larger than 64 MiB"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if members.insert(member.clone(), bytes).is_some() {
            return Err(fault("twice in the archive"));
        }
    }
    Ok(members)
}

/// The members that the manifest lists, each with its digest checked; nothing more, nothing less.
pub(super) fn verified_members(folder: &Path, cases: &[Case]) -> Result<BTreeMap<String, Vec<u8>>, DatasetError> {
    let members = members(&read(folder, file::IMAGES)?)?;
    let listed: BTreeSet<&str> = cases.iter().map(|case| case.file.as_str()).collect();
    if let Some(member) = members.keys().find(|name| !listed.contains(name.as_str())) {
        return Err(DatasetError::Member { member: member.clone(), what: "not in manifest.jsonl" });
    }
    for case in cases {
        let fault = |what| DatasetError::Member { member: case.file.clone(), what };
        let bytes = members.get(&case.file).ok_or_else(|| fault("missing from the archive"))?;
        if Digest::of(bytes) != case.file_sha256 {
            return Err(fault("bytes differ from the digest in manifest.jsonl"));
        }
    }
    Ok(members)
}

pub(super) fn verify(folder: &Path, cases: &[Case]) -> Result<(), DatasetError> {
    verified_members(folder, cases).map(drop)
}
