//! Laying a container archive or root tarball into a folder, for the audit and for images that are built on others.
//!
//! In: a Docker archive, an OCI layout, or a tarball, compressed or not, from anywhere. Out: the files that a container
//! started from it would see, in a folder. Every digest that the archive states is checked. Never leaves the folder (see
//! [`untar`]), never needs more memory than the names of a layer.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::source::{Store, StoredLayer, Wanted, malformed};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::untar::{self, Folders, Member, Owners, Policy, Replace, Summary, Verdict};

/// What an archive turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Docker archive.
    Docker,
    /// An OCI image layout.
    Oci,
    /// Just files.
    Tarball,
}

/// An archive that was laid into a folder.
#[derive(Debug)]
pub struct Unpacked {
    /// What it was.
    pub form: Form,
    /// The image's configuration; `Null` for a tarball.
    pub configuration: Value,
    /// How many layers there were.
    pub layers: usize,
    /// What was extracted, all layers together.
    pub summary: Summary,
}

/// Lays the content of the archive at `path` into `into`, an empty folder.
///
/// 65 where the archive is malformed, 76 where a digest does not match, 74 where the folder is full.
pub fn unpack(path: &Path, into: &Rooted, owners: Owners) -> Result<Unpacked> {
    unpack_chosen(path, into, owners, |_| Verdict::Extract)
}

/// The same; `choose` may pass over members.
pub fn unpack_chosen(
    path: &Path,
    into: &Rooted,
    owners: Owners,
    choose: impl Fn(&Member) -> Verdict,
) -> Result<Unpacked> {
    let store = Store::open(path, into.host_path());
    let store = store.map_err(|error| error.within(format!("open {}", path.display())))?;
    let unpack = || -> Result<Unpacked> {
        if let (None, Some(whole)) = (store.form()?, store.whole()) {
            let policy = Policy { owners, folders: Folders::Updated, replace: Replace::Everything };
            let summary =
                untar::extract_chosen(whole.reader(), into, &RootPath::root(), policy, |member: &mut Member| {
                    Ok(choose(member))
                })?;
            return Ok(Unpacked { form: Form::Tarball, configuration: Value::Null, layers: 0, summary });
        }
        let image = store.image(&Wanted::default())?;
        let configuration = serde_json::from_slice(&image.configuration).map_err(malformed)?;
        let summary = lay(&image.layers, into, owners, choose)?;
        Ok(Unpacked { form: image.form, configuration, layers: image.layers.len(), summary })
    };
    unpack().map_err(|error| error.within(format!("unpack {}", path.display())))
}

/// Lays layers over each other, the lowest first; `choose` may pass over members.
pub fn lay(
    layers: &[StoredLayer],
    into: &Rooted,
    owners: Owners,
    choose: impl Fn(&Member) -> Verdict,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for layer in layers {
        let done = layer.read(|plain| lay_one(plain, into, owners, &choose))?;
        summary.members += done.members;
        summary.bytes += done.bytes;
        summary.left_out.extend(done.left_out);
    }
    Ok(summary)
}

/// Extracts one layer; its whiteouts (`.wh.NAME`, `.wh..wh..opq`) remove what lower layers brought, never its own.
fn lay_one(layer: impl Read, into: &Rooted, owners: Owners, choose: &impl Fn(&Member) -> Verdict) -> Result<Summary> {
    let policy = Policy { owners, folders: Folders::Updated, replace: Replace::Everything };
    let mut own: HashSet<RootPath> = HashSet::new();
    untar::extract_chosen(layer, into, &RootPath::root(), policy, |member: &mut Member| {
        let path = RootPath::new(&member.name);
        let Some(hidden) = path.name().strip_prefix(b".wh.") else {
            let mut path = path;
            while path != RootPath::root() && own.insert(path.clone()) {
                path = path.parent();
            }
            return Ok(choose(member));
        };
        match hidden {
            b".wh..opq" => hide_lower(into, &path.parent(), &own)?,
            // Other names of this form are bookkeeping of aufs.
            name if name.starts_with(b".wh.") => {}
            b"" | b"." | b".." => return Err(malformed(format!("its whiteout {path} names no file"))),
            name => {
                let target = path.parent().join(name);
                if own.contains(&target) {
                    hide_lower(into, &target, &own)?;
                } else {
                    into.remove(&target)?;
                }
            }
        }
        Ok(Verdict::Skip)
    })
}

/// Removes what is in a folder, apart from what the layer itself put there.
fn hide_lower(into: &Rooted, folder: &RootPath, own: &HashSet<RootPath>) -> Result<()> {
    if !into.entry(folder)?.is_some_and(|entry| entry.is_folder()) {
        return Ok(());
    }
    for name in into.names(folder)? {
        let path = folder.join(&name);
        if own.contains(&path) {
            hide_lower(into, &path, own)?;
        } else {
            into.remove(&path)?;
        }
    }
    Ok(())
}
