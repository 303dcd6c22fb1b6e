//! Reading docker archives, OCI layouts and root tarballs.
//!
//! In: a tar stream, decompressed. Out: every entry of the image with its content. All layers are looked at: what a
//! later layer hides still ships in the earlier one. Nothing is unpacked to disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::layers::Seen;
use super::{InArtifact, Kind as ArtifactKind};
use crate::bytes::Bytes;
use crate::error::Result;
use crate::host::rooted::Kind;
use crate::host::untar::{Compression, Member, Members, What, decompressed};
use crate::parallel::ahead;
use crate::root::RootPath;
use crate::root::tree::Entry;
use crate::scrub::Auditor;

/// Length of a tar block.
const BLOCK: u64 = 512;

/// Folders that only a root filesystem has at its top.
const ROOT_FOLDERS: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// What a tar archive is, by the first name that says so; `None` where nothing does.
pub fn kind(archive: impl Read) -> Result<Option<ArtifactKind>> {
    let mut members = Members::new(archive);
    while let Some(member) = members.next_member().in_artifact()? {
        let path = RootPath::new(&member.name);
        let first = path.relative().split(|byte| *byte == b'/').next().unwrap_or_default();
        let digest = first.split(|byte| *byte == b'.').next().unwrap_or_default();
        let is_digest = digest.len() == 64 && digest.iter().all(u8::is_ascii_hexdigit);
        if matches!(first, b"manifest.json" | b"index.json" | b"oci-layout" | b"repositories" | b"blobs") || is_digest {
            return Ok(Some(ArtifactKind::Container));
        }
        if ROOT_FOLDERS.iter().any(|folder| folder.as_bytes() == first) {
            return Ok(Some(ArtifactKind::RootTarball));
        }
    }
    Ok(None)
}

/// Looks at a root filesystem.
pub fn see_root(archive: impl Read + Send, auditor: &mut Auditor) -> Result<()> {
    ahead(archive, |archive| see_members(archive, auditor, |_| true))
}

/// Looks at one layer.
fn see_layer(archive: impl Read + Send, auditor: &mut Auditor) -> Result<()> {
    ahead(archive, |archive| see_plain_layer(archive, auditor))
}

/// Looks at one layer that somebody else decompresses; whiteouts (`.wh.NAME`) only say what a layer hides.
pub fn see_plain_layer(archive: impl Read, auditor: &mut Auditor) -> Result<()> {
    see_members(archive, auditor, |path| !path.name().starts_with(b".wh."))
}

fn see_members(archive: impl Read, auditor: &mut Auditor, counts: fn(&RootPath) -> bool) -> Result<()> {
    let mut members = Members::new(archive);
    while let Some(member) = members.next_member().in_artifact()? {
        let path = RootPath::new(&member.name);
        if !counts(&path) {
            continue;
        }
        match &member.what {
            What::HardLink(target) => auditor.see_again(&RootPath::new(target), &path),
            What::Is(_) => auditor.see(entry(&member, path), &mut members).in_artifact()?,
        }
    }
    Ok(())
}

/// Looks at all layers of a docker archive or an OCI layout. Members that are no layer (configuration, manifests) are
/// looked at as files, by what they hold.
pub fn see_container(archive: impl Read + Send, inherited: &[String], auditor: &mut Auditor) -> Result<()> {
    let mut members = Members::new(archive);
    while let Some(member) = members.next_member().in_artifact()? {
        see_member(&member, &mut members, inherited, auditor)?;
    }
    Ok(())
}

/// As [`see_container`], of an archive some of whose layers were seen while it was written: what is between and behind them.
pub fn see_rest<'a>(
    file: &File,
    inherited: &[String],
    mut layers: BTreeMap<u64, Seen<'a>>,
    auditor: &mut Auditor<'a>,
) -> Result<()> {
    let mut begin = 0;
    'archive: loop {
        let mut source = file;
        source.seek(SeekFrom::Start(begin)).in_artifact()?;
        let mut members = Members::new(source);
        while let Some(member) = members.next_member().in_artifact()? {
            let at = begin + member.offset;
            let is_plain = member.what == What::Is(Kind::File) && member.segments.is_none();
            match layers.remove(&at) {
                Some(seen) if is_plain && seen.size == member.size => {
                    auditor.take_over(seen.auditor);
                    begin = at + member.size.next_multiple_of(BLOCK);
                    continue 'archive;
                }
                _ => see_member(&member, &mut members, inherited, auditor)?,
            }
        }
        return Ok(());
    }
}

fn see_member(
    member: &Member,
    members: &mut Members<impl Read + Send>,
    inherited: &[String],
    auditor: &mut Auditor,
) -> Result<()> {
    let is_inherited = inherited.iter().any(|name| name.as_bytes() == member.name);
    if member.what != What::Is(Kind::File) || is_inherited {
        return Ok(());
    }
    let mut start = vec![0; 512];
    let length = fill(members, &mut start).in_artifact()?;
    start.truncate(length);
    let mut whole = io::Cursor::new(start.clone()).chain(members);
    if is_tar(&start) || matches!(Compression::of(&start), Compression::Gzip | Compression::Xz | Compression::Zstd) {
        return see_layer(decompressed(whole)?, auditor).map_err(|error| {
            error.within(format!("read the layer {}", String::from_utf8_lossy(&member.name).escape_debug()))
        });
    }
    // Its own place, so that no name in the archive is taken for a path of the image.
    let path = RootPath::from("/(archive)").join(&member.name);
    auditor.see(entry(member, path), &mut whole).in_artifact()
}

/// Whether an archive begins with these bytes: the checksum in its first header fits.
pub fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..512) else { return false };
    let field = header[148..156].split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty());
    let stored =
        field.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| u32::from_str_radix(text, 8).ok());
    let sum: u32 =
        header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    header[0] != 0 && stored == Some(sum)
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn entry(member: &Member, path: RootPath) -> Entry {
    let kind = match &member.what {
        What::Is(kind) => kind.clone(),
        What::HardLink(_) => Kind::File,
    };
    Entry {
        path,
        kind,
        mode: member.mode & 0o7777,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        mtime_nanoseconds: 0,
        size: Bytes(0),
        inode: (0, 0),
        links: 1,
    }
}
