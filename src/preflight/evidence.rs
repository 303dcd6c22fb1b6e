//! What is known of an artifact before any rule judges it.
//!
//! In: a file. Out: [`Evidence`]. Each part is either there or says why not, so that no rule takes what could not be read
//! for good. Never changes the artifact, never mounts anything.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::Own;
use super::boot_code::{self, BootCode};
use super::command_line::{self, BootEntry};
use super::container::Archive;
use super::files::Files;
use super::form::{self, Form, Format};
use super::gce::from_archive;
use crate::audit;
use crate::bytes::Bytes;
use crate::disk::copies::{self, Copies};
use crate::disk::table::{Listed, read_partitions};
use crate::error::{Error, Exit, Result};
use crate::format::{self, DiskReader};
use crate::host::file;
use crate::host::untar::decompressed;
use crate::plan::ScrubPreset;
use crate::report::Step;
use crate::scrub::{self, Standard};

/// See the module.
#[derive(Debug)]
pub struct Evidence {
    /// Of the file itself.
    pub form: Form,
    /// Of the disk's sectors.
    pub disk: Result<DiskEvidence, String>,
    /// Of the files in its filesystems.
    pub files: Result<FileEvidence, String>,
    /// Of a container's archive.
    pub container: Result<Archive, String>,
    /// What the audit found.
    pub audit: Result<scrub::Report, String>,
}

/// What the sectors say.
#[derive(Debug)]
pub struct DiskEvidence {
    /// The virtual disk's size.
    pub size: Bytes,
    /// Its partitions, or what is wrong with the table.
    pub partitions: Result<Vec<Listed>, String>,
    /// Both copies of a GPT; `None`: the disk has an MBR, or none.
    pub gpt: Option<Copies>,
    /// What a BIOS would start.
    pub boot_code: BootCode,
}

/// What the files say.
#[derive(Debug)]
pub struct FileEvidence {
    /// The files of all filesystems that were read.
    pub files: Files,
    /// Kernels that the boot loader's configuration offers, what it starts first in front.
    pub boot: Vec<BootEntry>,
    /// Whether the root filesystem is among them.
    pub has_root: bool,
    /// Partitions that were not read, and why.
    pub unread: Vec<String>,
}

/// Reads an artifact once. `own` judges what the audit finds; `None`: as an artifact from anywhere.
/// 66 where there is none.
pub fn gather(path: &Path, own: Option<Own<'_>>, work_dir: &Path, step: &Step) -> Result<Evidence> {
    step.now("looking at the file");
    let form = form::recognise(path)?;
    let unknown = |what: &str| format!("{} holds no {what}", form.format.name());
    let mut evidence = Evidence {
        disk: Err(unknown("disk")),
        files: Err(unknown("disk")),
        container: Err(unknown("container")),
        audit: Err(unknown("image that can be audited")),
        form: form.clone(),
    };
    match form.format {
        Format::Container => {
            step.now("reading the archive");
            evidence.container = Archive::read(path).map_err(|error| told(&error));
            let audited = match own {
                Some(own) => audit::audit_own(path, own.inherited, work_dir, own.standard, step),
                None => audit::audit_artifact(path, work_dir, step),
            };
            evidence.audit = audited.map_err(|error| told(&error));
        }
        format if format.is_disk() => {
            let standard = own.map_or(Standard::Artifact(ScrubPreset::Vm), |own| own.standard);
            match open(path, &form, work_dir, step) {
                Err(error) => {
                    let why = told(&error);
                    (evidence.disk, evidence.files, evidence.audit) = (Err(why.clone()), Err(why.clone()), Err(why));
                }
                Ok(mut disk) => {
                    evidence.disk = sectors(&mut disk).map_err(|error| told(&error));
                    step.now("reading the filesystems");
                    read_files(disk, standard, step, &mut evidence);
                }
            }
        }
        _ => {}
    }
    Ok(evidence)
}

/// An error in one line.
fn told(error: &Error) -> String {
    let causes = error.causes();
    if causes.is_empty() { error.what().to_string() } else { causes.join(": ") }
}

/// The virtual disk, whatever is around it.
fn open(path: &Path, form: &Form, work_dir: &Path, step: &Step) -> Result<DiskReader> {
    let refuse = |why: String| Err(Error::cannot(Exit::Description, "read the disk").because(why));
    if let Some(other) = &form.refers_to {
        return refuse(format!("it refers to {other}"));
    }
    match form.format {
        Format::CompressedRaw => {
            step.now("decompressing");
            Ok(DiskReader::Raw(audit::sparse_copy(decompressed(file::open(path)?)?, work_dir)?))
        }
        Format::Gce => {
            step.now("decompressing");
            Ok(DiskReader::Raw(from_archive(path, work_dir)?))
        }
        other => {
            let disk = format::open(path)?;
            // Anything begins like a raw disk for those who do not know better.
            if other != Format::Raw && disk.format() == "raw" {
                return refuse(format!("this version does not read the disk in {}", other.name()));
            }
            Ok(disk)
        }
    }
}

fn sectors(disk: &mut DiskReader) -> Result<DiskEvidence> {
    let cannot = |error: std::io::Error| Error::cannot(Exit::Io, "read the disk").because(error);
    let size = disk.size().map_err(cannot)?;
    let partitions = read_partitions(disk, size);
    let gpt = copies::examine(disk, size)?;
    let boot_code = boot_code::look(disk, size, partitions.as_deref().unwrap_or_default());
    disk.seek(SeekFrom::Start(0)).map_err(cannot)?;
    Ok(DiskEvidence { size, partitions: partitions.map_err(|error| told(&error)), gpt, boot_code })
}

fn read_files(disk: DiskReader, standard: Standard<'_>, step: &Step, evidence: &mut Evidence) {
    let mut files = Files::default();
    match audit::look(disk, standard, &mut files, step) {
        Err(error) => {
            let why = told(&error);
            (evidence.files, evidence.audit) = (Err(why.clone()), Err(why));
        }
        Ok(look) => {
            let boot = command_line::entries(&files);
            evidence.audit = if look.has_root { Ok(look.report) } else { Err(no_root(&look.unread)) };
            evidence.files = Ok(FileEvidence { files, boot, has_root: look.has_root, unread: look.unread });
        }
    }
}

/// Why there is no root filesystem.
pub fn no_root(unread: &[String]) -> String {
    match unread {
        [] => "there is no root filesystem on the disk".into(),
        unread => unread.join("; "),
    }
}

/// A disk as a plain file that can be changed, for `--fix`: sparse, in `target`.
pub(super) fn expand(path: &Path, form: &Form, work_dir: &Path, target: &File, step: &Step) -> Result<()> {
    open(path, form, work_dir, step)?.expand(target)
}

/// Reads exactly; what lies behind the end is nothing.
pub(super) fn read_at(disk: &mut (impl Read + Seek), offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut read = || {
        disk.seek(SeekFrom::Start(offset))?;
        disk.read_exact(&mut bytes)
    };
    if read().is_ok() { bytes } else { Vec::new() }
}
