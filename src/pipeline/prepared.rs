//! What `system prepare` knows of its tree, kept in the tree for `system create`.
//!
//! In: the packages, the date and the described paths of a grown tree. Out: a file in its `/image`, and back. Never a
//! part of an image: `/image` is removed before the tree is scrubbed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container::EmbeddedRecord;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::PackageSet;
use crate::root::RootPath;
use crate::scrub::DescribedPaths;

/// Where it is kept, seen from the tree's root.
const FILE: &str = "image/ingot-prepared.json";

/// What is known of a grown tree, beside the plan.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What was resolved.
    pub packages: PackageSet,
    /// The image's date in seconds since 1970.
    pub epoch: i64,
    /// What the description itself put there.
    pub described: DescribedPaths,
    /// When the builds began that wrote to it, seconds since 1970.
    pub builds_began: Vec<i64>,
    /// Digests of the containers that it began as; empty where there were none.
    pub base: String,
    /// The containers that it holds.
    pub embedded: Vec<EmbeddedRecord>,
}

/// The file; `request` is what the caller needs to make the same plan again.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    /// A file of another version is refused: its fields may mean something else.
    version: String,
    request: R,
    packages: PackageSet,
    epoch: i64,
    described: Vec<Vec<u8>>,
    builds_began: Vec<i64>,
    #[serde(default)]
    base: String,
    #[serde(default)]
    embedded: Vec<EmbeddedRecord>,
}

impl Prepared {
    /// Whether `root` is a tree that [`crate::pipeline::prepare`] made.
    pub fn is_in(root: &Path) -> bool {
        file::is_file(&root.join(FILE))
    }

    /// Writes everything into the tree in `root`, with the caller's own `request`.
    pub fn keep<R: Serialize>(self, root: &Path, request: R) -> Result<()> {
        let described = self.described.iter().map(|path| path.as_bytes().to_vec()).collect();
        let version = env!("CARGO_PKG_VERSION").to_string();
        let Prepared { packages, epoch, builds_began, base, embedded, .. } = self;
        let kept = Kept { version, request, packages, epoch, described, builds_began, base, embedded };
        let text = serde_json::to_vec(&kept);
        let text = text.map_err(|error| Error::cannot(Exit::Bug, format!("write {FILE}")).because(error))?;
        file::create_folders(&root.join("image"))?;
        file::write_atomically(&root.join(FILE), &text)
    }

    /// Reads it back. 66 where `root` is no prepared tree, 65 where another version of ingot prepared it.
    pub fn read<R: for<'a> Deserialize<'a>>(root: &Path) -> Result<(Prepared, R)> {
        let cannot = |exit| Error::cannot(exit, format!("use the tree in {}", root.display()));
        if !Prepared::is_in(root) {
            let error = cannot(Exit::InputMissing).because(format!("there is no {FILE} in it"));
            return Err(error.hint("`system prepare --root` makes such a tree; that of a finished build is none"));
        }
        let text = file::read(&root.join(FILE))?;
        let version = serde_json::from_slice::<serde_json::Value>(&text).ok();
        let version = version.and_then(|kept| Some(kept.get("version")?.as_str()?.to_string())).unwrap_or_default();
        if version != env!("CARGO_PKG_VERSION") {
            return Err(cannot(Exit::Description).because(format!("ingot {version} prepared it")));
        }
        let kept: Kept<R> = serde_json::from_slice(&text).map_err(|error| cannot(Exit::Description).because(error))?;
        let described = kept.described.iter().map(RootPath::new).collect();
        let Kept { packages, epoch, builds_began, request, base, embedded, .. } = kept;
        Ok((Prepared { packages, epoch, described, builds_began, base, embedded }, request))
    }
}
