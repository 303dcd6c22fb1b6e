//! `ingot convert`: a disk image in another format.
//!
//! In: a disk that [`crate::format::open`] reads, a name. Out: one file, which appears whole or not at all. Never follows
//! a reference from an image to another file, never replaces what is there.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::say::print_line;
use crate::audit;
use crate::disk::RawDisk;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::{self, DiskReader, Identity};
use crate::host::file;
use crate::host::lock;
use crate::host::untar::Compression;
use crate::pieces::Pieces;
use crate::plan::{FormatChoice, Seed};
use crate::report::{Reporter, Verbosity};

/// Prefix of the folder that is worked in, beside the new file.
const PREFIX: &str = ".ingot-convert-";
/// A partition table and what stands before it lie in so many bytes.
const TABLE: u64 = 64 << 10;

/// `ingot convert`.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// A disk image: raw, qcow2, vhd, vhdx, vmdk or vdi; it is not changed
    #[arg(value_name = "IN")]
    pub from: PathBuf,
    /// The new file; its name's end says the format
    #[arg(value_name = "OUT")]
    pub to: PathBuf,
    /// The format, where the name does not say it
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// An option of the format, as in `formatoptions` (repeat for several)
    #[arg(short = 'O', long = "option", value_name = "NAME=VALUE", value_parser = parse_option)]
    pub options: Vec<(String, String)>,
    /// Date of what the format writes beside the disk, in seconds since 1970; 1970 where it is missing
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS", value_parser = super::parse_epoch)]
    pub source_date_epoch: Option<i64>,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
}

fn parse_option(text: &str) -> std::result::Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("a name, = and a value are needed: compression_type=zstd")?;
    Ok((pair.0.into(), pair.1.into()))
}

/// Converts.
pub fn run(arguments: &ConvertArguments) -> Result<u8> {
    let choice = choice(arguments)?;
    format::check(&choice, &file::absolute(Path::new("."))?)?;
    let what = || format!("convert {}", arguments.from.display());
    let to = file::absolute(&arguments.to)?;
    if file::exists(&to) {
        return Err(Error::cannot(Exit::CannotCreate, what()).because(format!("{} exists", to.display())));
    }
    let parent = to.parent().unwrap_or(Path::new("/"));
    lock::sweep(parent, PREFIX).map_err(|error| error.with_exit(Exit::CannotCreate))?;
    let (folder, _lock) = lock::create_locked(parent, PREFIX)?;
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Steps };
    let reporter = Reporter::new(verbosity, None, || Duration::ZERO);
    let done = convert(arguments, &folder, &to, &choice, &reporter).map_err(|error| error.within(what()));
    let removed = file::remove_tree(&folder);
    done.and(removed)?;
    print_line(arguments.to.display())?;
    Ok(0)
}

fn choice(arguments: &ConvertArguments) -> Result<FormatChoice> {
    let options: BTreeMap<String, String> = arguments.options.iter().cloned().collect();
    let file = arguments.to.file_name().unwrap_or_default().to_string_lossy();
    let Some(name) = arguments.format.clone().or_else(|| format::named(&file)) else {
        return Err(Error::cannot(Exit::Usage, format!("convert to {}", arguments.to.display()))
            .because("neither the name nor --format says which format")
            .hint(format!(
                "known ends are .{}",
                format::FORMATS.iter().map(|format| format.extension()).collect::<Vec<_>>().join(", .")
            )));
    };
    Ok(FormatChoice { name, options })
}

/// Ids are derived from the disk itself: from its partition table, which has one of its own.
fn identity(disk: &RawDisk, arguments: &ConvertArguments, to: &Path) -> Result<Identity> {
    let mut start = Vec::new();
    let read = file::open(disk.path())?.take(TABLE).read_to_end(&mut start);
    read.or_cannot(|| format!("read {}", disk.path().display()))?;
    let stem = to.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = stem.clone();
    let epoch = arguments.source_date_epoch.unwrap_or(0);
    Ok(Identity { seed: Seed::of_disk(&start), epoch, name, stem, folder: file::absolute(Path::new("."))? })
}

/// A packed disk, or an archive, has no disk's first bytes: as a raw disk it would be one that nothing starts from.
fn refuse_what_is_packed(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read = file::open(path)?.take(TABLE).read_to_end(&mut start);
    read.or_cannot(|| format!("read {}", path.display()))?;
    let why = match Compression::of(&start) {
        _ if audit::is_disk(&start) => return Ok(()),
        Compression::None if audit::is_tar(&start) => "it is a tar archive",
        Compression::None => return Ok(()),
        _ => "it is compressed",
    };
    Err(Error::cannot(Exit::Description, "take it for a disk")
        .because(why)
        .hint("unpack it, and convert the disk in it"))
}

fn convert(
    arguments: &ConvertArguments,
    folder: &Path,
    to: &Path,
    choice: &FormatChoice,
    reporter: &Reporter,
) -> Result<()> {
    let from = arguments.from.as_path();
    let raw = folder.join("raw");
    let disk = match format::open(from)? {
        DiskReader::Raw(_) => {
            refuse_what_is_packed(from)?;
            RawDisk::open(from)?
        }
        mut reader => {
            let step = reporter.step("read");
            reader.expand(&file::create(&raw)?)?;
            step.finish(&format!("{}, {}", reader.format(), reader.size().or_cannot(|| "read the disk")?));
            RawDisk::open(&raw)?
        }
    };
    let step = reporter.step("format");
    let identity = identity(&disk, arguments, to)?;
    let artifact = format::write(choice, &disk, &identity, folder, "new", &mut Pieces::ignored(), &step)?;
    let new = folder.join(&artifact.name);
    file::sync_file(&new)?;
    // Nobody else's file is replaced, not even one that came meanwhile.
    if !file::rename_new(&new, to)? {
        return Err(Error::cannot(Exit::CannotCreate, format!("make {}", to.display())).because("it exists"));
    }
    step.finish(&format!("{}, {}  sha256:{:.12}", artifact.format, artifact.size, artifact.sha256));
    Ok(())
}
