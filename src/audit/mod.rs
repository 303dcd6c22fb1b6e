//! Reading a packed artifact back and looking for what a golden image must not carry.
//!
//! In: a disk of any format that is written, a docker archive, an OCI layout, a root tarball, compressed or not, recognised by content.
//! Out: a [`Report`]. Needs no privileges and no kernel: nothing is mounted, no loop device is attached, nothing is
//! unpacked but a compressed disk, into a file without a name. Never trusts the artifact, never changes it.

mod archive;
mod disk;
pub mod ext;
mod fat;
mod layers;
pub mod window;
mod witness;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::{self, DiskReader};
use crate::host::file;
use crate::host::untar::{Compression, decompressed};
use crate::plan::ScrubPreset;
use crate::report::Step;
use crate::scrub::{Auditor, Report, Standard};
pub use archive::{is_tar, kind as kind_of_archive};
pub use disk::{Look, is_disk, look};
pub use layers::Layers;
pub use witness::Witness;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk, or a single filesystem.
    Disk,
    /// A docker archive or an OCI layout.
    Container,
    /// The files of a root filesystem.
    RootTarball,
}

/// How much is read to tell what an artifact is.
const START: usize = 64 << 10;

/// Audits the artifact at `path`. A compressed disk is unpacked in `work_dir`.
///
/// 66 where there is no such file, 65 where it is not an image that this version reads, or a damaged one.
pub fn audit_artifact(path: &Path, work_dir: &Path, step: &Step) -> Result<Report> {
    let audit = || match file::is_folder(path) {
        true => Err(unknown("it is a folder")),
        false => audit_file(path, &[], work_dir, Standard::Artifact, step),
    };
    audit().map_err(|error| error.within(format!("audit {}", path.display())))
}

/// Audits an artifact of a build that has just packed it: by what the description asked for, and for traces of this
/// host. Members of a container archive that are `inherited` are passed over: layers that another build made. Errors as [`audit_artifact`].
pub fn audit_own(
    path: &Path,
    inherited: &[String],
    work_dir: &Path,
    standard: Standard<'_>,
    step: &Step,
) -> Result<Report> {
    audit_file(path, inherited, work_dir, |_| standard, step)
        .map_err(|error| error.within(format!("audit {}", path.display())))
}

/// As [`audit_own`], where the container's new layers were seen while they were written.
pub fn audit_rest(
    path: &Path,
    inherited: &[String],
    layers: Layers<'_>,
    work_dir: &Path,
    step: &Step,
) -> Result<Report> {
    let audit = || {
        let mut auditor = Auditor::new(layers.standard());
        match open(path, work_dir, step)? {
            Opened::Archive(Kind::Container) => {
                archive::see_rest(&file::open(path)?, inherited, layers.into_seen(), &mut auditor)?;
                Ok(auditor.report())
            }
            _ => Err(unknown("it is no container")),
        }
    };
    audit().map_err(|error: Error| error.within(format!("audit {}", path.display())))
}

fn audit_file<'a>(
    path: &Path,
    inherited: &[String],
    work_dir: &Path,
    standard: impl Fn(ScrubPreset) -> Standard<'a>,
    step: &Step,
) -> Result<Report> {
    match open(path, work_dir, step)? {
        Opened::Disk(disk) => disk::audit(disk, standard(ScrubPreset::Vm), step),
        Opened::Archive(kind) => audit_archive(kind, decompressed(file::open(path)?)?, inherited, standard, step),
    }
}

/// An artifact that was recognised.
pub enum Opened {
    /// A disk, or a single filesystem.
    Disk(DiskReader),
    /// A container, as an archive or a folder, or a root tarball.
    Archive(Kind),
}

/// Says what the artifact at `path` is. A compressed disk is unpacked in `work_dir`. Errors as [`audit_artifact`].
pub fn open(path: &Path, work_dir: &Path, step: &Step) -> Result<Opened> {
    if file::is_folder(path) {
        return Ok(Opened::Archive(Kind::Container));
    }
    let start = beginning(file::open(path)?)?;
    if Compression::of(&start) == Compression::None {
        return Ok(match recognise(&start, || file::open(path))? {
            Kind::Disk => Opened::Disk(format::open(path)?),
            kind => Opened::Archive(kind),
        });
    }
    let start = beginning(decompressed(file::open(path)?)?)?;
    Ok(match recognise(&start, || decompressed(file::open(path)?))? {
        Kind::Disk => {
            step.now("decompressing");
            Opened::Disk(DiskReader::Raw(sparse_copy(decompressed(file::open(path)?)?, work_dir)?))
        }
        kind => Opened::Archive(kind),
    })
}

/// Says what begins with these bytes; `again` opens the same content from its start.
fn recognise<R: Read>(start: &[u8], again: impl FnOnce() -> Result<R>) -> Result<Kind> {
    if archive::is_tar(start) {
        return archive::kind(again()?)?
            .ok_or_else(|| unknown("it is a tar archive, and neither a container nor a root filesystem is in it"));
    }
    if format::is_image(start) || disk::is_disk(start) {
        return Ok(Kind::Disk);
    }
    Err(unknown("no image begins like this"))
}

fn unknown(why: &str) -> Error {
    Error::cannot(Exit::Description, "recognise the image")
        .because(why)
        .hint("disks are raw, qcow2, vhd, vhdx, vmdk or vdi, containers docker archives or OCI layouts, root filesystems tarballs")
}

fn beginning(source: impl Read) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(START);
    source.take(START as u64).read_to_end(&mut start).in_artifact()?;
    Ok(start)
}

fn audit_archive<'a>(
    kind: Kind,
    content: impl Read + Send,
    inherited: &[String],
    standard: impl Fn(ScrubPreset) -> Standard<'a>,
    step: &Step,
) -> Result<Report> {
    let preset = if kind == Kind::Container { ScrubPreset::Container } else { ScrubPreset::Vm };
    let mut auditor = Auditor::new(standard(preset));
    step.now("reading the archive");
    match kind {
        Kind::Container => archive::see_container(content, inherited, &mut auditor)?,
        _ => archive::see_root(content, &mut auditor)?,
    }
    Ok(auditor.report())
}

/// The content as a sparse file without a name: compressed disks are mostly holes.
pub fn sparse_copy(mut content: impl Read, folder: &Path) -> Result<File> {
    const PIECE: usize = 64 << 10;
    let mut copy = file::anonymous(folder)?;
    let mut piece = Vec::with_capacity(PIECE);
    let mut length = 0;
    loop {
        piece.clear();
        let read = content.by_ref().take(PIECE as u64).read_to_end(&mut piece).in_artifact()?;
        if read == 0 {
            break;
        }
        let write = |copy: &mut File| match piece.iter().all(|byte| *byte == 0) {
            true => copy.seek(SeekFrom::Current(read as i64)).map(drop),
            false => copy.write_all(&piece),
        };
        write(&mut copy).or_cannot(|| format!("decompress it into {}", folder.display()))?;
        length += read as u64;
    }
    copy.set_len(length).or_cannot(|| "decompress it")?;
    copy.rewind().or_cannot(|| "decompress it")?;
    Ok(copy)
}

/// Errors of streams: the artifact's fault where it is malformed, the host's where it cannot be read.
trait InArtifact<T> {
    fn in_artifact(self) -> Result<T>;
}

impl<T> InArtifact<T> for io::Result<T> {
    fn in_artifact(self) -> Result<T> {
        self.map_err(|error| {
            let malformed = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
            let exit = if malformed || error.raw_os_error().is_none() { Exit::Description } else { Exit::Io };
            Error::cannot(exit, "read the image").because(error)
        })
    }
}
