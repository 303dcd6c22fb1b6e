//! The images that a container is built on.
//!
//! In: [`BasePlan`]s. Out: a [`Base`]: one pile of layers, kept byte for byte, with what a container of them would see and
//! the configuration that it would have. Several images are piled up in their order; layers that an image shares with
//! those before it from the bottom up are there once. What is not on this host is fetched by skopeo, and kept as one file
//! in the cache, named by its digest. Never trusts a digest that was not computed, never needs a container engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config;
use super::find::{self, Finder, Sought};
use super::layers::Layer;
use super::lower::Lower;
use super::source::{StoredImage, StoredLayer};
use super::unpack;
use crate::error::Result;
use crate::host::file;
use crate::host::rooted::{Kind, RootPath, Rooted};
use crate::host::untar::{Owners, Verdict, What};
use crate::package::installed;
use crate::plan::BasePlan;
use crate::report::Reporter;

/// A pile of layers.
#[derive(Clone, Debug)]
pub struct Base {
    records: Vec<BaseRecord>,
    stored: Vec<StoredLayer>,
    lower: Lower,
    configuration: Value,
}

/// What is pinned of an image that a container is built on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// As the description writes it.
    pub source: String,
    /// Digest of its manifest; of its configuration, where it has no manifest.
    pub digest: String,
    /// Digests of its uncompressed layers, the lowest first.
    pub layers: Vec<String>,
}

impl Base {
    /// Opens the bases of a container; `None` where it has none. The exit codes are those of [`Finder::find`].
    pub fn open(plans: &[BasePlan], finder: Finder<'_>) -> Result<Option<Base>> {
        if plans.is_empty() {
            return Ok(None);
        }
        let step = finder.reporter.step("base");
        let mut base =
            Base { records: Vec::new(), stored: Vec::new(), lower: Lower::default(), configuration: Value::Null };
        for plan in plans {
            step.now(&plan.written);
            let mut open = || -> Result<()> {
                let found =
                    finder.find(Sought { source: &plan.source, digest: plan.digest.as_deref(), called: None })?;
                let configuration = find::configuration(&found)?;
                base.pile(plan, found, configuration);
                Ok(())
            };
            open().map_err(|error| {
                let error = error.within(format!("build on {}", plan.written));
                plan.place.iter().fold(error, |error, place| error.at(place.clone()))
            })?;
        }
        base.lower = Lower::read(&base.stored, file::free_space(finder.scratch)?)
            .map_err(|error| error.within("read the layers of the base"))?;
        let digest: String = base.records.last().map(|last| last.digest.chars().take(19).collect()).unwrap_or_default();
        step.finish(&format!("{} layers, {digest}", base.stored.len()));
        Ok(Some(base))
    }

    fn pile(&mut self, plan: &BasePlan, found: StoredImage, configuration: Value) {
        let shared = self.stored.iter().zip(&found.layers).take_while(|(one, other)| one.diff_id == other.diff_id);
        // Only an image that stands on all that is there already shares it.
        let shared = Some(shared.count()).filter(|shared| *shared == self.stored.len()).unwrap_or(0);
        let layers = found.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        self.records.push(BaseRecord { source: plan.written.clone(), digest: found.digest, layers });
        let count = found.layers.len();
        self.stored.extend(found.layers.into_iter().skip(shared));
        let configuration = config::whole_history(configuration, count);
        self.configuration = match std::mem::take(&mut self.configuration) {
            Value::Null => configuration,
            below => config::piled(below, configuration, shared),
        };
    }

    /// What is pinned of each image.
    pub fn records(&self) -> &[BaseRecord] {
        &self.records
    }

    /// What identifies all of them together.
    pub fn digest(&self) -> String {
        self.records.iter().map(|record| record.digest.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// What a container of the layers would see.
    pub fn lower(&self) -> &Lower {
        &self.lower
    }

    /// Its layers where they are stored.
    pub fn stored(&self) -> &[StoredLayer] {
        &self.stored
    }

    /// The configuration that goes on in the image on top.
    pub fn configuration(&self) -> &Value {
        &self.configuration
    }

    /// When the newest of the images was made, in seconds since 1970, where it says so.
    pub fn created(&self) -> Option<i64> {
        config::seconds(self.configuration["created"].as_str()?)
    }

    /// Its layers, as an archive describes them.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let layer = |stored: &StoredLayer| {
            let hexadecimal = |digest: &str| digest.trim_start_matches("sha256:").to_string();
            let sha256 = match &stored.digest {
                Some(digest) => hexadecimal(digest),
                None => stored.blob.sha256()?,
            };
            Ok(Layer {
                diff_id: hexadecimal(&stored.diff_id),
                sha256,
                size: stored.blob.size,
                compression: stored.blob.compression()?,
                new: None,
            })
        };
        self.stored.iter().map(layer).collect()
    }

    /// The files of the base's own package database, whichever it has.
    pub fn package_database(&self) -> BTreeMap<RootPath, Vec<u8>> {
        let database = self.lower.kept().filter(|(path, _)| installed::is_database(path));
        database.map(|(path, content)| (path.clone(), content.to_vec())).collect()
    }

    /// Lays the files of the base into an empty tree. Devices stay in its layers: no build needs them, and a hostile one
    /// would lead to the host's disks.
    pub fn lay_out(&self, tree: &Rooted, reporter: &Reporter) -> Result<()> {
        let step = reporter.step("base");
        let choose = |member: &crate::host::untar::Member| match &member.what {
            What::Is(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => Verdict::Skip,
            _ => Verdict::Extract,
        };
        let summary = unpack::lay(&self.stored, tree, Owners::FromArchive, choose)
            .map_err(|error| error.within("unpack the base"))?;
        for text in summary.left_out {
            reporter.warn(crate::error::Warning { text, place: None });
        }
        // A layer that puts something into a folder which it does not describe changes that folder's time.
        for (path, below) in self.lower.iter().filter(|(_, below)| below.kind == Kind::Folder) {
            if let (Some(mtime), true) = (below.mtime, tree.is_folder(path)) {
                tree.set_mtime(path, mtime)?;
            }
        }
        let system: Vec<RootPath> = ["/dev", "/proc", "/run", "/sys", "/tmp"].map(RootPath::from).into();
        for path in &system {
            tree.create_folders(path, 0o755)?;
        }
        step.finish(&format!("{} files, {}", summary.members, summary.bytes));
        Ok(())
    }
}
