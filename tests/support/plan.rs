//! Plans made by hand, for tests of stages that come after planning.
//!
//! In: repositories and packages. Out: a [`Plan`] with everything else empty. Never reads a description.

use std::path::{Path, PathBuf};

use ingot::error::Place;
use ingot::plan::*;

use super::world;

/// A repository of the tiny world at `source`, signed by `key`.
pub fn repository(source: &str, key: &Path) -> Repository {
    Repository {
        alias: "tiny".into(),
        source: source.into(),
        distribution: world::SUITE.into(),
        components: vec!["main".into()],
        architectures: Vec::new(),
        priority: None,
        signed: Signed::Required,
        signed_packages: Signed::NotChecked,
        address: Default::default(),
        keys: vec![key.display().to_string()],
        used: RepositoryUse::Build,
        credentials: None,
        customize: None,
        place: Place { file: "config.xml".into(), line: 5, column: 3 },
    }
}

/// Names at lines 10, 11, ... of `config.xml`.
pub fn named(names: &[&str]) -> Vec<Named> {
    let place = |line| Place { file: "config.xml".into(), line, column: 9 };
    names.iter().zip(10..).map(|(name, line)| Named { name: name.to_string(), place: place(line) }).collect()
}

/// A plan for an image without update stack that holds these packages.
pub fn plan(repositories: Vec<Repository>, packages: &[&str]) -> Plan {
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
        included: Vec::new(),
        epoch: Epoch::NewestRelease,
        seed: Seed::new("tiny", "1.0.0", None),
        repositories,
        packages: PackageRequest {
            manager: Manager::Apt,
            bootstrap_groups: Default::default(),
            image_groups: Default::default(),
            modules: Vec::new(),
            rpm: Default::default(),
            bootstrap: Vec::new(),
            image: named(packages),
            ignore: Vec::new(),
            withdrawn: Vec::new(),
            uninstall: Vec::new(),
            delete: Vec::new(),
            recommends: Recommends::No,
            essential: Essential::Kept,
        },
        update_stack: UpdateStack::None,
        package_database: PackageDatabase::Keep,
        root: RootPlan {
            overlays: Vec::new(),
            users: Vec::new(),
            locale: None,
            keytable: None,
            timezone: None,
            bootstrap_archives: Vec::new(),
            archives: Vec::new(),
            containers: Vec::new(),
            files: Vec::new(),
            trust: None,
            scripts: Vec::new(),
            variables: Default::default(),
            environment: std::collections::BTreeMap::new(),
            network: NetworkForScripts::None,
        },
        scrub: ScrubPlan { preset: ScrubPreset::None, except: Vec::new() },
        output: Output::RootTarball,
        targets: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A Debian suite with its security updates, from this host's own mirror.
pub fn debian(codename: &str) -> Vec<Repository> {
    let one = |alias: &str, source: &str, suite: String| Repository {
        alias: alias.into(),
        distribution: suite,
        keys: Vec::new(),
        ..repository(source, Path::new(""))
    };
    vec![
        one("debian", "mirror://debian", codename.to_string()),
        one("updates", "mirror://debian", format!("{codename}-updates")),
        one("security", "mirror://debian-security", format!("{codename}-security")),
    ]
}
