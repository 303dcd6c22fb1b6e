//! `ingot index`: one name for the container images of several machines.
//!
//! In: archives and layouts of single images. Out: an OCI layout, a tar or a folder, which appears whole or not at all.
//! Never replaces what is there.

use std::path::{Path, PathBuf};

use clap::Args;

use super::say::print_line;
use crate::container::index::{self, IndexOrder};
use crate::error::{Error, Exit, Result};
use crate::host::{file, lock};
use crate::report::{Reporter, Verbosity};

/// Prefix of the folder that is worked in, beside the new file.
const PREFIX: &str = ".ingot-index-";

/// `ingot index`.
#[derive(Debug, Args)]
pub struct IndexArguments {
    /// What is made: a tar if its name ends in .tar, else a folder
    #[arg(value_name = "OUT")]
    pub to: PathBuf,
    /// Docker archives, OCI layouts in tars or folders
    #[arg(long, value_name = "ARCHIVE", num_args = 1.., required = true)]
    pub from: Vec<PathBuf>,
    /// Name and tag; those of the first image where it is missing
    #[arg(long, value_name = "NAME:TAG")]
    pub name: Option<String>,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Makes the index.
pub fn run(arguments: &IndexArguments) -> Result<u8> {
    let to = file::absolute(&arguments.to)?;
    let what = || format!("write {}", arguments.to.display());
    let exists = || Error::cannot(Exit::CannotCreate, what()).because("it exists already");
    if file::exists(&to) {
        return Err(exists());
    }
    if let Some(name) = arguments.name.as_deref().filter(|name| !crate::plan::address::is_reference(name)) {
        return Err(Error::cannot(Exit::Usage, format!("call an image `{}`", name.escape_debug()))
            .because("it is not the name of an image")
            .hint("a name looks like example.org/app:1"));
    }
    let parent = to.parent().unwrap_or(Path::new("/"));
    lock::sweep(parent, PREFIX).map_err(|error| error.with_exit(Exit::CannotCreate))?;
    let (folder, locked) =
        lock::create_locked(parent, PREFIX).map_err(|error| error.within(what()).with_exit(Exit::CannotCreate))?;
    let made = make(arguments, &folder, &to);
    drop(locked);
    let removed = file::remove_tree(&folder);
    if !made? {
        return Err(exists());
    }
    removed?;
    print_line(arguments.to.display())?;
    Ok(0)
}

/// Whether the result could take its place.
fn make(arguments: &IndexArguments, folder: &Path, to: &Path) -> Result<bool> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Steps };
    let reporter = Reporter::new(verbosity, None, super::build::since_1970);
    let step = reporter.step("index");
    let order = IndexOrder { from: &arguments.from, name: arguments.name.as_deref() };
    let artifact = index::write(&order, folder, "index.tar", &step)?;
    let mut result = folder.join("index.tar");
    if to.extension().is_none_or(|end| end != "tar") {
        result = folder.join("layout");
        file::create_folder(&result)?;
        index::unpack(&folder.join("index.tar"), &result)?;
    }
    if file::is_folder(&result) {
        file::sync_tree(&result)?
    } else {
        file::sync_file(&result)?
    }
    step.finish(&format!("{} images, {}", arguments.from.len(), artifact.size));
    file::rename_new(&result, to)
}
