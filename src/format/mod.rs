//! Disk formats.
//!
//! In: a [`RawDisk`]. Out: one file per format, written in one pass, same bytes for the same disk whatever the number
//! of threads. Also the way back: [`open`] reads a written disk again, for the audit. Never follows a reference from an
//! image to another file.

mod compressed;
mod gce;
mod machine;
mod mapped;
mod ova;
mod ovf;
mod packed;
pub mod qcow2;
pub mod raw;
mod reader;
mod stream;
mod tar;
mod vagrant;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
mod vmx;
mod writeback;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::RawDisk;
use crate::error::{Error, Exit, Result};
use crate::host;
use crate::pieces::Pieces;
use crate::plan::{FormatChoice, Seed};
use crate::release::Artifact;
use crate::report::Step;

pub use reader::{DiskReader, is_image, open};

/// Who the image is: what formats write of it beside the disk's content. Time and ids come from here, never from the
/// host.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What ids are derived from.
    pub seed: Seed,
    /// Seconds since 1970, for every time stamp.
    pub epoch: i64,
    /// What people call the image.
    pub name: String,
    /// What names of its files begin with, for files that name one another.
    pub stem: String,
    /// The folder that files which options name are looked up in.
    pub folder: PathBuf,
}

/// One file that is to be written.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// What it will hold.
    pub disk: &'a RawDisk,
    /// `formatoptions`, and what `<machine>` and its like say.
    pub options: &'a BTreeMap<String, String>,
    /// Who the image is.
    pub identity: &'a Identity,
    /// Where the file comes to lie; hidden names are scratch.
    pub folder: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// What is told about progress.
    pub step: &'a Step,
}

/// A disk format that can be written. A new one is a file of its own and a row of [`FORMATS`].
pub trait DiskFormat: Sync {
    /// What `format="..."` calls it.
    fn name(&self) -> &'static str;

    /// What follows the stem of the file's name, without the dot.
    fn extension(&self) -> &'static str;

    /// Refuses options (`formatoptions`) that are not known or make no sense: 65.
    fn check(&self, options: &BTreeMap<String, String>) -> Result<()>;

    /// Options whose value names a file beside the description.
    fn files(&self) -> &'static [&'static str] {
        &[]
    }

    /// Writes the file. 65 for bad options, or where the format cannot hold the disk; 74 where the disk cannot be read or
    /// the file not be written.
    fn write(&self, writing: &Writing<'_>, pieces: &mut Pieces) -> Result<Artifact>;
}

/// Every format that this version writes.
pub static FORMATS: &[&dyn DiskFormat] = &[
    &raw::Raw,
    &qcow2::Qcow2,
    &vhd::Vhd,
    &vhd::VhdFixed,
    &vhdx::Vhdx,
    &vmdk::Vmdk,
    &vdi::Vdi,
    &gce::Gce,
    &ova::Ova,
    &vmx::Vmx,
    &vagrant::Vagrant::Libvirt,
    &vagrant::Vagrant::VirtualBox,
    &compressed::Compressed::Gzip,
    &compressed::Compressed::Xz,
    &compressed::Compressed::Zstd,
];

/// The format of that name; 65 with the known names where there is none.
pub fn find(name: &str) -> Result<&'static dyn DiskFormat> {
    FORMATS.iter().find(|format| format.name() == name).copied().ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
        Error::cannot(Exit::Description, format!("write a disk of format `{name}`"))
            .because(format!("this version writes {}", known.join(", ")))
    })
}

/// The name of the format that a file of that name has: the longest end that fits decides, else what follows its last
/// dot, which is no format then.
pub fn named(file: &str) -> Option<String> {
    let ends =
        |format: &&&dyn DiskFormat| file.strip_suffix(format.extension()).is_some_and(|stem| stem.ends_with('.'));
    let found = FORMATS.iter().filter(ends).max_by_key(|format| format.extension().len());
    let unknown = || file.rsplit_once('.').map(|(_, end)| end.to_string());
    found.map(|format| format.name().to_string()).or_else(unknown)
}

/// Whether a format and its options can be written at all; to be asked before anything is built. 66 where a file is missing
/// that an option names; `folder` is where it is looked for.
pub fn check(choice: &FormatChoice, folder: &Path) -> Result<()> {
    let format = find(&choice.name)?;
    format.check(&choice.options)?;
    for (option, name) in format.files().iter().filter_map(|option| Some((option, choice.options.get(*option)?))) {
        if !host::file::is_file(&folder.join(name)) {
            let error = Error::cannot(Exit::InputMissing, format!("use the format option `{option}={name}`"));
            return Err(error.because(format!("there is no such file in {}", folder.display())));
        }
    }
    Ok(())
}

/// Writes `disk` as `folder/STEM.EXTENSION`; what `pieces` knows is not compressed again.
pub fn write(
    choice: &FormatChoice,
    disk: &RawDisk,
    identity: &Identity,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    step: &Step,
) -> Result<Artifact> {
    let format = find(&choice.name)?;
    format.check(&choice.options)?;
    let name = format!("{stem}.{}", format.extension());
    let writing = Writing { disk, options: &choice.options, identity, folder, name: &name, step };
    let written = format.write(&writing, pieces);
    let written = written.map_err(|error| error.within(format!("write {}", folder.join(&name).display())))?;
    Ok(Artifact { options: choice.options.clone(), ..written })
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

/// The error for a value that an option does not take.
fn unknown_value(format: &str, key: &str, value: &str, known: &[&str]) -> Error {
    Error::cannot(Exit::Description, format!("use the format option `{key}={value}` with {format}"))
        .because(format!("its options are {}", known.join(", ")))
}

/// `on` and `off`, and what else QEMU's options call them.
fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}
