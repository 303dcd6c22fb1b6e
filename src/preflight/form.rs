//! What an artifact is, by its own bytes: its format, and what that format's header says of the disk inside.
//!
//! In: a file. Out: a [`Form`]. Reads headers and footers only; never trusts them, never opens another file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::audit::{is_disk, is_tar, kind_of_archive};
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host::file;
use crate::host::untar::{Compression, decompressed};

/// A format that images come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A raw disk.
    Raw,
    /// qcow2.
    Qcow2,
    /// VHD of fixed size: the raw disk and a footer.
    VhdFixed,
    /// VHD that grows.
    Vhd,
    /// VHDX.
    Vhdx,
    /// VMDK with this `createType`.
    Vmdk(VmdkKind),
    /// VDI.
    Vdi,
    /// A tar.gz with a disk.raw.
    Gce,
    /// A raw disk, compressed.
    CompressedRaw,
    /// An archive with an OVF description.
    Ova,
    /// A docker archive or an OCI layout.
    Container,
    /// A root filesystem in an archive.
    RootTarball,
    /// Nothing that is known.
    Unknown,
}

/// Kinds of VMDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmdkKind {
    /// Grains in any order, tables in front.
    MonolithicSparse,
    /// Compressed grains, to be read from front to back.
    StreamOptimized,
    /// A description of other files, or something else.
    Other,
}

impl Format {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::VhdFixed => "vhd-fixed",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
            Format::Vmdk(VmdkKind::StreamOptimized) => "vmdk (streamOptimized)",
            Format::Vmdk(VmdkKind::MonolithicSparse) => "vmdk (monolithicSparse)",
            Format::Vmdk(VmdkKind::Other) => "vmdk with files beside it",
            Format::Vdi => "vdi",
            Format::Gce => "gce (tar.gz with disk.raw)",
            Format::CompressedRaw => "a compressed raw disk",
            Format::Ova => "ova",
            Format::Container => "a container archive",
            Format::RootTarball => "a root tarball",
            Format::Unknown => "unknown",
        }
    }

    /// Whether a disk is inside.
    pub fn is_disk(self) -> bool {
        !matches!(self, Format::Container | Format::RootTarball | Format::Unknown)
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The format.
    pub format: Format,
    /// Length of the file.
    pub length: Bytes,
    /// The virtual disk's size, where a header or the length says it.
    pub disk: Option<Bytes>,
    /// Another file that the image refers to, as its header says it.
    pub refers_to: Option<String>,
    /// What is wrong with the header, footer or archive itself, a sentence each.
    pub faults: Vec<String>,
}

const START: usize = 128 << 10;
const FOOTER: u64 = 512;

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap_or_default()))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    be32(bytes, at).swap_bytes()
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    be64(bytes, at).swap_bytes()
}

/// Looks at a file. 66 where there is none, 74 where it cannot be read.
pub fn recognise(path: &Path) -> Result<Form> {
    let reading = || format!("read {}", path.display());
    let mut source = file::open(path)?;
    let length = source.metadata().or_cannot(reading)?.len();
    let mut start = Vec::new();
    (&mut source).take(START as u64).read_to_end(&mut start).or_cannot(reading)?;
    source.seek(SeekFrom::Start(0)).or_cannot(reading)?;
    let mut footer = vec![0; FOOTER as usize];
    if length >= FOOTER {
        source.read_exact_at(&mut footer, length - FOOTER).or_cannot(reading)?;
    }
    let form = |format| Form { format, length: Bytes(length), disk: None, refers_to: None, faults: Vec::new() };
    Ok(match () {
        () if start.starts_with(b"QFI\xfb") => qcow2(&start, &source, form(Format::Qcow2)),
        () if start.starts_with(b"KDMV") => vmdk(&start, form(Format::Vmdk(VmdkKind::Other))),
        () if start.starts_with(b"# Disk DescriptorFile") => {
            Form { refers_to: Some("its extents".into()), ..form(Format::Vmdk(VmdkKind::Other)) }
        }
        () if start.starts_with(b"vhdxfile") => form(Format::Vhdx),
        () if start.get(64..68) == Some(&0xbeda_107f_u32.to_le_bytes()) => {
            let parent = le32(&start, 76) == 4;
            let refers_to = parent.then(|| "its parent image".to_string());
            Form { disk: Some(Bytes(le64(&start, 368))), refers_to, ..form(Format::Vdi) }
        }
        () if footer.starts_with(b"conectix") => vhd(&footer, form(Format::Vhd)),
        () if start.starts_with(b"conectix") => {
            let faults = vec!["the footer at its end is missing: it was cut off".into()];
            Form { faults, ..vhd(&start[..512.min(start.len())], form(Format::Vhd)) }
        }
        () if is_tar(&start) => archive(&start, source, form(Format::Unknown))?,
        () if Compression::of(&start) != Compression::None => compressed(path, form(Format::Unknown))?,
        () if is_disk(&start) => Form { disk: Some(Bytes(length)), ..form(Format::Raw) },
        () => form(Format::Unknown),
    })
}

/// The header says where a backing file's name is; bit 2 of its incompatible features means an external data file.
fn qcow2(start: &[u8], file: &File, form: Form) -> Form {
    let (at, length) = (be64(start, 8), be32(start, 16).min(1023));
    let version = be32(start, 4);
    let external = version >= 3 && be64(start, 72) & 4 != 0;
    let refers_to = match at {
        0 if external => Some("an external data file".to_string()),
        0 => None,
        at => {
            let mut name = vec![0; length as usize];
            let read = file.read_exact_at(&mut name, at);
            Some(if read.is_ok() { shown(&name) } else { "a file whose name cannot be read".into() })
        }
    };
    Form { disk: Some(Bytes(be64(start, 24))), refers_to, ..form }
}

/// Text of an artifact for a message: printable, short.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut text: String = text.chars().map(|char| if char.is_control() { '?' } else { char }).take(200).collect();
    if text.is_empty() {
        text.push_str("(nothing)");
    }
    text
}

/// The descriptor inside names the kind and the parent.
fn vmdk(start: &[u8], form: Form) -> Form {
    let (at, size) = (le64(start, 28).saturating_mul(512), le64(start, 36).saturating_mul(512).min(64 << 10));
    let place = usize::try_from(at).ok().and_then(|at| Some(at..at.checked_add(size as usize)?));
    let descriptor = place.and_then(|place| start.get(place)).unwrap_or_default();
    let text = String::from_utf8_lossy(descriptor);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\0']).to_string())
    };
    let kind = match value("createType").as_deref() {
        Some("streamOptimized") => VmdkKind::StreamOptimized,
        Some("monolithicSparse") => VmdkKind::MonolithicSparse,
        _ => VmdkKind::Other,
    };
    let parent = value("parentCID").filter(|parent| !parent.eq_ignore_ascii_case("ffffffff"));
    Form {
        format: Format::Vmdk(kind),
        disk: Some(Bytes(le64(start, 12).saturating_mul(512))),
        refers_to: parent.map(|_| "its parent image".into()),
        ..form
    }
}

/// The VHD specification's footer: kind 2 is fixed, 3 grows, 4 refers to a parent.
fn vhd(footer: &[u8], mut form: Form) -> Form {
    let sum = footer.iter().enumerate().filter(|(at, _)| !(64..68).contains(at));
    let sum = !sum.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    if sum != be32(footer, 64) {
        form.faults.push("the checksum of its footer is wrong".into());
    }
    let size = be64(footer, 48);
    form.disk = Some(Bytes(size));
    match be32(footer, 60) {
        2 => {
            form.format = Format::VhdFixed;
            if size.checked_add(FOOTER) != Some(form.length.0) {
                let data = form.length.0 - FOOTER.min(form.length.0);
                form.faults.push(format!("its footer says {size} bytes, and {data} stand before it"));
            }
        }
        4 => form.refers_to = Some("its parent image".into()),
        _ => {}
    }
    form
}

fn archive(start: &[u8], source: File, form: Form) -> Result<Form> {
    if first_name(start) == b"disk.raw" {
        let faults = vec!["it is not compressed with gzip".into()];
        return Ok(gce(start, Form { faults, ..form }));
    }
    if first_name(start).ends_with(b".ovf") {
        return Ok(Form { format: Format::Ova, ..form });
    }
    let format = match kind_of_archive(source) {
        Ok(Some(crate::audit::Kind::Container)) => Format::Container,
        Ok(Some(crate::audit::Kind::RootTarball)) => Format::RootTarball,
        _ => Format::Unknown,
    };
    Ok(Form { format, ..form })
}

fn first_name(start: &[u8]) -> &[u8] {
    let name = start.get(..100).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    name.strip_prefix(b"./").unwrap_or(name)
}

fn compressed(path: &Path, form: Form) -> Result<Form> {
    let gzip = Compression::of(&beginning(path)?) == Compression::Gzip;
    let Ok(mut source) = decompressed(file::open(path)?) else { return Ok(form) };
    let mut start = Vec::new();
    if (&mut source).take(START as u64).read_to_end(&mut start).is_err() {
        return Ok(form);
    }
    if !is_tar(&start) {
        let format = if is_disk(&start) { Format::CompressedRaw } else { Format::Unknown };
        return Ok(Form { format, ..form });
    }
    if first_name(&start) == b"disk.raw" {
        let faults = if gzip { Vec::new() } else { vec!["it is not compressed with gzip".into()] };
        return Ok(gce(&start, Form { faults, ..form }));
    }
    let format = match kind_of_archive(decompressed(file::open(path)?)?) {
        Ok(Some(crate::audit::Kind::Container)) => Format::Container,
        Ok(Some(crate::audit::Kind::RootTarball)) => Format::RootTarball,
        _ => Format::Unknown,
    };
    Ok(Form { format, ..form })
}

fn beginning(path: &Path) -> Result<[u8; 6]> {
    let mut start = [0; 6];
    let source = file::open(path)?;
    // A shorter file is none of what is looked for.
    let _ = source.read_at(&mut start, 0).or_cannot(|| format!("read {}", path.display()))?;
    Ok(start)
}

/// Google asks for the old GNU form; the size of a sparse member stands behind its first segments.
fn gce(start: &[u8], mut form: Form) -> Form {
    let header = start.get(..512).unwrap_or_default();
    if header.get(257..265) != Some(b"ustar  \0") {
        form.faults.push("its archive is not in the old GNU form (tar --format=oldgnu)".into());
    }
    let sparse = header.get(156) == Some(&b'S');
    let field = header.get(if sparse { 483..495 } else { 124..136 }).unwrap_or_default();
    form.disk = number(field).map(Bytes);
    Form { format: Format::Gce, ..form }
}

/// A numeric field of tar: octal, or base 256 with the first bit set.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let tail = field.get(field.len().checked_sub(8)?..)?;
        return Some(u64::from_be_bytes(tail.try_into().ok()?));
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}
