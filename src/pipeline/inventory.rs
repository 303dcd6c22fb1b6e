//! What is in an image: the packages of its tree, and what is known of where each came from.
//!
//! In: a tree after its last script, and what was resolved. Out: an [`Inventory`]: records for the manifest, bills of
//! materials beside the artifacts, and what takes the place of a package database that goes. Taken before the scrub,
//! which removes that database.

use std::path::Path;

use crate::error::Result;
use crate::host::file;
use crate::package::installed::{self, Installed};
use crate::package::sbom::{self, Component, Documents, Subject, SubjectKind};
use crate::package::{Package, PackageSet};
use crate::plan::{Output, PackageDatabase, Plan};
use crate::release::licence;
use crate::release::manifest::PackageRecord;
use crate::root::{RootPath, RootTree};
use crate::scrub::Database;

/// Where os-release(5) is.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// For the manifest, sorted.
    pub records: Vec<PackageRecord>,
    documents: Option<Documents>,
}

impl Inventory {
    /// Looks through the tree's package database.
    pub fn take(plan: &Plan, tree: &RootTree, packages: &PackageSet, epoch: i64) -> Result<Inventory> {
        let (mut records, mut components) = (Vec::new(), Vec::new());
        for package in installed::read(tree)? {
            let key = (&package.name, &package.version, &package.arch);
            let is_origin = |origin: &&Package| (&origin.name, &origin.version, &origin.arch) == key;
            let origin = packages.packages.iter().find(is_origin);
            let licence = licence_of(tree, &package)?;
            components.push(component(&package, origin, licence.clone()));
            records.push(PackageRecord {
                sha256: origin.map(|package| package.sha256.clone()),
                source: origin.map(|package| format!("{} {}", package.source, package.source_version)),
                licence,
                listed: package.line(),
                name: package.name,
                version: package.version,
                arch: package.arch,
            });
        }
        records.sort();
        let documents = sbom::documents(&subject(plan, tree, epoch)?, components)?;
        Ok(Inventory { records, documents: Some(documents) })
    }

    /// What becomes of the tree's package database.
    pub fn database(&self, plan: &Plan, tree: &RootTree) -> Result<Database> {
        let spdx = || self.documents.as_ref().map(|documents| documents.spdx.clone());
        let by = match plan.package_database {
            PackageDatabase::Keep => return Ok(Database::Kept),
            PackageDatabase::Sbom => {
                spdx().map(|spdx| (RootPath::new(format!("{}/{}.spdx.json", sbom::FOLDER, plan.image.stem())), spdx))
            }
            PackageDatabase::None => None,
        };
        let mut owned = std::collections::BTreeSet::new();
        for package in installed::read(tree)? {
            owned.extend(package.paths(tree)?);
        }
        Ok(Database::Replaced { owned, by })
    }

    /// Writes `STEM.spdx.json` and `STEM.cdx.json`.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<()> {
        let Some(Documents { spdx, cyclonedx }) = &self.documents else { return Ok(()) };
        file::write(&folder.join(format!("{stem}.spdx.json")), spdx)?;
        file::write(&folder.join(format!("{stem}.cdx.json")), cyclonedx)
    }
}

pub(super) fn licence_of(tree: &RootTree, package: &Installed) -> Result<Option<String>> {
    match (package.licence(), package.copyright()) {
        (None, Some(path)) => {
            let copyright = tree.read_if_there(&path)?.unwrap_or_default();
            Ok(licence::from_copyright(&String::from_utf8_lossy(&copyright)))
        }
        (licence, _) => Ok(licence),
    }
}

pub(super) fn component(package: &Installed, origin: Option<&Package>, licence: Option<String>) -> Component {
    Component {
        family: package.family(),
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        source: package.source(),
        sha256: origin.map(|package| package.sha256.clone()),
        licence,
        supplier: package.supplier(),
        summary: package.summary(),
        home_page: package.home_page(),
    }
}

fn subject(plan: &Plan, tree: &RootTree, epoch: i64) -> Result<Subject> {
    let os = Os::of(tree)?;
    Ok(Subject {
        name: plan.image.name.clone(),
        version: plan.image.version.clone(),
        stem: plan.image.stem(),
        kind: match &plan.output {
            Output::Container(_) => SubjectKind::Container,
            Output::Disk(_) | Output::RootTarball => SubjectKind::Machine,
        },
        epoch,
        distribution: os.id,
        release: os.version,
    })
}

/// What os-release(5) calls the system; empty where it does not say.
pub(super) struct Os {
    /// `ID`.
    pub id: String,
    /// `VERSION_ID`.
    pub version: String,
}

impl Os {
    /// Of a tree.
    pub fn of(tree: &RootTree) -> Result<Os> {
        let mut text = String::new();
        for path in OS_RELEASE.map(RootPath::from) {
            if let Some(content) = tree.read_if_there(&path)? {
                text = String::from_utf8_lossy(&content).into_owned();
                break;
            }
        }
        let word = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_string()
        };
        Ok(Os { id: word("ID"), version: word("VERSION_ID") })
    }
}
