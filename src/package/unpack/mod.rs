//! The parallel unpacker: what `dpkg --unpack` does, for a whole set at once, on all cores.
//!
//! In: verified archives in installation order and a tree (empty, or one that holds packages already). Out: the same
//! tree with every package in state `unpacked`, files, dpkg's database and maintainer scripts' effects as the real
//! dpkg leaves them, so that one `dpkg --configure -a` in the sandbox finishes everything. Never configures the last
//! batch itself, never writes outside the tree whatever an archive or a symlink in it says, never syncs.
//!
//! Two halves work at the same time. On all cores, [`staging`] decompresses archives into numbered files in the tree;
//! it needs to know nothing of the tree or of other packages. In one thread and in order, [`unpacking`] does what dpkg
//! does, where placing a file is one rename. Whatever dpkg would do differently from the usual (an upgrade, a package
//! that is replaced completely, bzip2) is left to the real dpkg, and the log says so.
//!
//! [`archive::Archive::data`] is the only function that knows how data is compressed: it takes a package that an earlier
//! build unpacked from the store of those, which is several times faster than xz.

mod archive;
mod configuration;
mod conflict;
mod control;
mod database;
mod names;
mod order;
mod overrides;
mod owners;
mod placing;
mod script;
mod staging;
mod sums;
mod triggers;
mod unpacking;
mod workers;

use rayon::prelude::*;

use self::archive::{Archive, Readable};
use self::control::Control;
use self::order::Act;
use self::unpacking::{Subject, Unpacking};
use self::workers::Workers;
use crate::cache::UnpackedStore;
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::Package;
use crate::package::deb822::Stanza;
use crate::report::Step;

/// Where content is staged in the tree while it has no name yet.
const STAGING: &str = "/var/lib/dpkg/ingot.staging";

/// Unpacks `set` (archives in the store, in installation order) into `tree`; `step` advances by one per package.
///
/// # Errors
///
/// 65 for an archive that is broken or hostile and for packages that cannot be installed together, 74 for input and
/// output; a failed `preinst` is reported with its name and the end of what it printed.
pub fn unpack(set: &[Package], tree: &Rooted, sandbox: &Sandbox, store: &UnpackedStore, step: &Step) -> Result<()> {
    let opened = set.par_iter().map(open).collect::<Result<Vec<(Control, Readable)>>>()?;
    let staging = RootPath::new(STAGING);
    let mut unpacking = Unpacking::begin(tree, sandbox, step.reporter(), staging.clone())?;
    let stanzas: Vec<&Stanza> = opened.iter().map(|(control, _)| &control.stanza).collect();
    let acts = order::arrange(&stanzas, &unpacking.configured(), unpacking.state_of_tree());
    if let Some((control, _)) = opened.iter().find(|(control, _)| control.name == "dpkg") {
        unpacking.dpkg_is(&control.version);
    }
    tree.remove(&staging)?;
    tree.create_folders(&staging, 0o700)?;
    step.total(set.len() as u64);
    let subject = |number: usize| {
        let (control, readable) = &opened[number];
        Subject { package: &set[number], control, readable: *readable }
    };
    let workers = Workers::new(set, &opened, tree, &staging, store, &acts);
    workers.run(|staged| {
        for act in &acts {
            match act {
                Act::Place(packages) => {
                    let names: Vec<&str> = packages.iter().map(|number| set[*number].name.as_str()).collect();
                    step.reporter().log_line(&format!("placing the essential packages: {}", names.join(" ")));
                    for number in packages {
                        let (content, folder) = staged.take(*number)?;
                        unpacking.place(&subject(*number), content, &folder)?;
                        staged.done(*number)?;
                    }
                }
                Act::Unpack(number) => {
                    step.now(&set[*number].name);
                    unpacking.unpack(&subject(*number), || staged.take(*number))?;
                    staged.done(*number)?;
                    step.advance(1, set[*number].size.0);
                }
                Act::Configure(packages, dependencies) => {
                    let name = |number: &usize| format!("{}:{}", set[*number].name, set[*number].arch);
                    let names: Vec<String> = packages.iter().map(name).collect();
                    unpacking.configure(&names.iter().map(String::as_str).collect::<Vec<_>>(), *dependencies)?;
                }
            }
        }
        Ok(())
    })?;
    tree.remove(&staging)?;
    store.shrink()?;
    unpacking.write()
}

/// Reads a package's control archive.
fn open(package: &Package) -> Result<(Control, Readable)> {
    let archive = Archive::open(&package.archive)?;
    let name = format!("{}_{}_{}", package.name, package.version, package.arch);
    let control = Control::read(archive.control()?, &name)?;
    if (&control.name, &control.version, &control.arch) != (&package.name, &package.version, &package.arch) {
        return Err(Error::cannot(Exit::Integrity, format!("unpack {name}"))
            .because(format!("the archive is {} {} {}", control.name, control.version, control.arch)));
    }
    Ok((control, archive.readable))
}
