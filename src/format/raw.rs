//! The raw disk itself, sparse.
//!
//! In: the disk in the workspace. Out: the same file under its name in the result folder, linked where both are on one
//! filesystem, else copied with its holes. Its data is read once, for the digest.

use std::collections::BTreeMap;

use super::{DiskFormat, Writing, unknown_option};
use crate::error::Result;
use crate::host;
use crate::pieces::Pieces;
use crate::release::{Artifact, hash};

/// `format="raw"`.
pub struct Raw;

impl DiskFormat for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn extension(&self) -> &'static str {
        "raw"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        match options.keys().next() {
            Some(key) => Err(unknown_option("raw", key, &[])),
            None => Ok(()),
        }
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, folder, name, step, .. } = *writing;
        let target = folder.join(name);
        let source = host::file::open(disk.path())?;
        // Another filesystem, or one without hard links: a copy always works.
        let linked = host::file::hard_link(disk.path(), &target).is_ok();
        let copy = if linked { None } else { Some(host::file::create(&target)?) };
        let (sha256, size) = hash::file(&source, copy.as_ref(), step)?;
        Ok(Artifact { name: name.into(), format: self.name().into(), sha256, size, options: BTreeMap::new() })
    }
}
