//! `ingot convert`: a disk image in another format.
//!
//! In: a disk that [`crate::format::open`] reads, a name. Out: one file, which appears whole or not at all. Never follows
//! a reference from an image to another file, never replaces what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::disk::RawDisk;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::{self, DiskReader};
use crate::host::file;
use crate::host::lock;
use crate::pieces::Pieces;
use crate::plan::FormatChoice;
use crate::report::{Reporter, Verbosity};

/// Prefix of the folder that is worked in, beside the new file.
const PREFIX: &str = ".ingot-convert-";

/// `ingot convert`.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// A disk image: raw or qcow2; it is not changed
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
    format::check(&choice)?;
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
    let done = convert(&arguments.from, &folder, &to, &choice, &reporter).map_err(|error| error.within(what()));
    let removed = file::remove_tree(&folder);
    done.and(removed)?;
    println!("{}", arguments.to.display());
    Ok(0)
}

fn choice(arguments: &ConvertArguments) -> Result<FormatChoice> {
    let options: BTreeMap<String, String> = arguments.options.iter().cloned().collect();
    let by_name = arguments.to.extension().map(|end| end.to_string_lossy().into_owned());
    let Some(name) = arguments.format.clone().or(by_name) else {
        return Err(Error::cannot(Exit::Usage, format!("convert to {}", arguments.to.display()))
            .because("neither the name nor --format says which format"));
    };
    Ok(FormatChoice { name, options })
}

fn convert(from: &Path, folder: &Path, to: &Path, choice: &FormatChoice, reporter: &Reporter) -> Result<()> {
    let raw = folder.join("raw");
    let disk = match format::open(from)? {
        DiskReader::Raw(_) => RawDisk::open(from)?,
        mut reader => {
            let step = reporter.step("read");
            reader.expand(&file::create(&raw)?)?;
            step.finish(&format!("{}, {}", reader.format(), reader.size().or_cannot(|| "read the disk")?));
            RawDisk::open(&raw)?
        }
    };
    let step = reporter.step("format");
    let artifact = format::write(choice, &disk, folder, "new", &mut Pieces::ignored(), &step)?;
    let new = folder.join(&artifact.name);
    file::sync_filesystem(&new)?;
    // Nobody else's file is replaced, not even one that came meanwhile.
    if !file::rename_new(&new, to)? {
        return Err(Error::cannot(Exit::CannotCreate, format!("make {}", to.display())).because("it exists"));
    }
    step.finish(&format!("{}, {}  sha256:{:.12}", artifact.format, artifact.size, artifact.sha256));
    Ok(())
}
