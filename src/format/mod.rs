//! Disk formats.
//!
//! In: a [`RawDisk`]. Out: one file per format, written in one pass, same bytes for the same disk whatever the number
//! of threads. Also the way back: [`open`] reads a written disk again, for the audit. Never follows a reference from an
//! image to another file.

pub mod qcow2;
pub mod raw;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::bytes::Bytes;
use crate::disk::RawDisk;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::plan::FormatChoice;
use crate::release::Artifact;
use crate::report::Step;

/// A disk format that can be written. A new one is a file of its own and a row of [`FORMATS`].
pub trait DiskFormat: Sync {
    /// What `format="..."` calls it.
    fn name(&self) -> &'static str;

    /// What follows the stem of the file's name, without the dot.
    fn extension(&self) -> &'static str;

    /// Refuses options (`formatoptions`) that are not known or make no sense: 65.
    fn check(&self, options: &BTreeMap<String, String>) -> Result<()>;

    /// Writes `folder/name`. 65 for bad options, 74 where the disk cannot be read or the file not be written.
    fn write(
        &self,
        disk: &RawDisk,
        options: &BTreeMap<String, String>,
        folder: &Path,
        name: &str,
        step: &Step,
    ) -> Result<Artifact>;
}

/// Every format that this version writes.
pub static FORMATS: &[&dyn DiskFormat] = &[&raw::Raw, &qcow2::Qcow2];

/// The format of that name; 65 with the known names where there is none.
pub fn find(name: &str) -> Result<&'static dyn DiskFormat> {
    FORMATS.iter().find(|format| format.name() == name).copied().ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
        Error::cannot(Exit::Description, format!("write a disk of format `{name}`"))
            .because(format!("this version writes {}", known.join(", ")))
    })
}

/// Whether a format and its options can be written at all; to be asked before anything is built.
pub fn check(choice: &FormatChoice) -> Result<()> {
    find(&choice.name)?.check(&choice.options)
}

/// Writes `disk` as `folder/STEM.EXTENSION`.
pub fn write(choice: &FormatChoice, disk: &RawDisk, folder: &Path, stem: &str, step: &Step) -> Result<Artifact> {
    let format = find(&choice.name)?;
    format.check(&choice.options)?;
    let name = format!("{stem}.{}", format.extension());
    format
        .write(disk, &choice.options, folder, &name, step)
        .map_err(|error| error.within(format!("write {}", folder.join(&name).display())))
}

/// The error for an option that a format does not have.
fn unknown_option(format: &str, key: &str, known: &[&str]) -> Error {
    let error = Error::cannot(Exit::Description, format!("use the format option `{key}` with {format}"));
    if known.is_empty() {
        error.because(format!("{format} has no options"))
    } else {
        error.because(format!("its options are {}", known.join(", ")))
    }
}

/// A disk image opened for reading, whatever its format: the virtual disk's bytes, with random access.
pub enum DiskReader {
    /// A raw disk.
    Raw(File),
    /// A qcow2 image.
    Qcow2(Box<qcow2::Reader>),
}

/// Opens a raw or qcow2 disk by its content. 65 where the image is damaged or refers to other files.
pub fn open(path: &Path) -> Result<DiskReader> {
    let mut file = host::file::open(path)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic).or_cannot(|| format!("read {}", path.display()))?;
    if read == 4 && magic == qcow2::MAGIC {
        let reader = qcow2::Reader::open(file);
        return Ok(DiskReader::Qcow2(Box::new(
            reader.map_err(|error| error.within(format!("read {}", path.display())))?,
        )));
    }
    file.rewind().or_cannot(|| format!("read {}", path.display()))?;
    Ok(DiskReader::Raw(file))
}

impl DiskReader {
    /// Size of the virtual disk.
    pub fn size(&self) -> io::Result<Bytes> {
        match self {
            DiskReader::Raw(file) => file.metadata().map(|metadata| Bytes(metadata.len())),
            DiskReader::Qcow2(reader) => Ok(reader.size()),
        }
    }

    /// `raw` or `qcow2`.
    pub fn format(&self) -> &'static str {
        match self {
            DiskReader::Raw(_) => "raw",
            DiskReader::Qcow2(_) => "qcow2",
        }
    }
}

impl Read for DiskReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            DiskReader::Raw(file) => file.read(buffer),
            DiskReader::Qcow2(reader) => reader.read(buffer),
        }
    }
}

impl Seek for DiskReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            DiskReader::Raw(file) => file.seek(to),
            DiskReader::Qcow2(reader) => reader.seek(to),
        }
    }
}
