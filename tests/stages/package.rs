//! Resolving and fetching packages: the tiny world's repository through a local folder and a mirror that misbehaves.

use std::fs;
use std::path::{Path, PathBuf};

use ingot::bytes::Bytes;
use ingot::cache::PackageStore;
use ingot::error::{Exit, Place, Result};
use ingot::package::{Apt, Mirrors, PackageSet};
use ingot::plan::*;
use ingot::report::Reporter;

use super::support::server::{Fault, Server};
use super::support::world::{self, World};
use super::support::{need, skip};

/// A repository of the tiny world at `source`, signed by `key`.
fn repository(source: &str, key: &Path) -> Repository {
    Repository {
        alias: "tiny".into(),
        source: source.into(),
        distribution: world::SUITE.into(),
        components: vec!["main".into()],
        architectures: Vec::new(),
        priority: None,
        signed: Signed::Required,
        keys: vec![key.display().to_string()],
        used: RepositoryUse::Build,
        credentials: None,
        customize: None,
        place: Place { file: "config.xml".into(), line: 5, column: 3 },
    }
}

fn named(names: &[&str]) -> Vec<Named> {
    let place = |line| Place { file: "config.xml".into(), line, column: 9 };
    names.iter().zip(10..).map(|(name, line)| Named { name: name.to_string(), place: place(line) }).collect()
}

fn plan(repositories: Vec<Repository>, packages: &[&str]) -> Plan {
    let arch = "x86_64".to_string();
    let empty = String::new;
    Plan {
        image: Image {
            name: "tiny".into(),
            display_name: "Tiny".into(),
            version: "1.0.0".into(),
            arch,
            id: None,
            author: empty(),
            contact: empty(),
            specification: empty(),
        },
        profiles: Vec::new(),
        description_dir: PathBuf::from("/nonexistent"),
        description_file: PathBuf::from("config.xml"),
        epoch: Epoch::NewestRelease,
        seed: Seed::new("tiny", "1.0.0", None),
        repositories,
        packages: PackageRequest {
            manager: Manager::Apt,
            bootstrap: Vec::new(),
            image: named(packages),
            ignore: Vec::new(),
            uninstall: Vec::new(),
            delete: Vec::new(),
            recommends: Recommends::No,
            essential: Essential::Kept,
        },
        update_stack: UpdateStack::None,
        root: RootPlan {
            overlays: Vec::new(),
            users: Vec::new(),
            locale: None,
            keytable: None,
            timezone: None,
            bootstrap_archives: Vec::new(),
            archives: Vec::new(),
            files: Vec::new(),
            scripts: Vec::new(),
            variables: Default::default(),
            network: NetworkForScripts::None,
        },
        scrub: ScrubPlan { preset: ScrubPreset::None, except: Vec::new() },
        output: Output::RootTarball,
        warnings: Vec::new(),
    }
}

/// Resolves with a cache and scratch folder below `folder`, whose names have a blank in them.
fn resolve(plan: &Plan, folder: &Path) -> Result<PackageSet> {
    let store = PackageStore::open(&folder.join("a cache"))?;
    let scratch = tempfile::Builder::new().prefix("scratch ").tempdir_in(folder).unwrap();
    Apt::open(plan, &Mirrors::default(), &store, scratch.path())?.resolve(&Reporter::silent())
}

fn names(set: &PackageSet) -> Vec<&str> {
    let mut names: Vec<&str> = set.packages.iter().map(|package| package.name.as_str()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_resolved_fetched_and_verified() {
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let (world, folder) = (World::open(), super::support::scratch());
    let source = format!("dir://{}", world.repository().display());
    let set = resolve(&plan(vec![repository(&source, &world.key())], &["tiny-app"]), folder.path()).unwrap();
    println!("{:?}", names(&set));
    assert!(names(&set).contains(&"tiny-app"));
    assert_eq!(set.newest_release, 1_767_323_045);
    assert_eq!(set.releases.len(), 1);
    assert_eq!(set.releases[0].signed, Signed::Required);
    assert_eq!(set.releases[0].signed_by.as_ref().map(String::len), Some(40));
    for package in &set.packages {
        assert_eq!(world::sha256(&fs::read(&package.archive).unwrap()), package.sha256);
        assert_eq!(Bytes(fs::metadata(&package.archive).unwrap().len()), package.size);
        assert_eq!(package.requested, package.name == "tiny-app");
        assert_eq!(package.repository, "tiny");
    }
}
