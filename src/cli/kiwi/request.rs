//! What `system build` and `system prepare` are asked for, in a form that can be kept with a prepared tree.
//!
//! In: arguments. Out: [`Request`], and from it a [`Plan`]. Never builds anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::arguments::{Common, Globals};
use super::farm;
use super::repository::{key, parse};
use super::settings::Settings;
use crate::cli::plan::decide;
use crate::description::{self, Colour, Description};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;
use crate::plan::overrides::{DescribedRepositories, KeyWords, Overrides, RepositoryWords, UnsignedLocal};
use crate::plan::selection::Selection;
use crate::plan::{Choices, NetworkForScripts, Plan};
use crate::release::kiwi_result::Naming;

/// Everything that a plan follows from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The description's folder or file, absolute.
    pub description: PathBuf,
    /// What the command line says instead of it.
    pub overrides: Overrides,
    /// What it leaves open.
    pub choices: Choices,
}

/// A plan, and what is needed beside it to name its results.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// How a bundle is named.
    pub naming: Naming,
}

impl Request {
    /// Reads the arguments; `warnings` get what is accepted and does nothing.
    pub fn new(
        globals: &Globals,
        common: &Common,
        settings: &Settings,
        warnings: &mut Vec<Warning>,
    ) -> Result<Request> {
        if let (Some(family), true) = (&common.ca_target_distribution, common.ca_cert.is_empty()) {
            let text = format!("--ca-target-distribution {family} is ignored: there is no --ca-cert");
            warnings.push(Warning { text, place: None });
        }
        let credentials = common.add_repo_credentials.iter().map(Some).chain(std::iter::repeat(None));
        let added = common.add_repo.iter().zip(credentials);
        let added = added.map(|(value, login)| parse("--add-repo", value, login.map(String::as_str)));
        let set = common.set_repo.as_ref();
        let set = set.map(|value| parse("--set-repo", value, common.set_repo_credentials.as_deref()));
        let overrides = Overrides {
            type_attributes: common.set_type_attr.clone(),
            repositories: match (common.ignore_repos, common.ignore_repos_used_for_build) {
                (true, _) => DescribedRepositories::Dropped,
                (_, true) => DescribedRepositories::NotForTheBuild,
                _ => DescribedRepositories::Kept,
            },
            set_repository: set.transpose()?,
            add_repositories: added.collect::<Result<Vec<RepositoryWords>>>()?,
            signing_keys: common.signing_key.iter().map(|text| key(text)).collect(),
            packages: common.add_package.clone(),
            bootstrap_packages: common.add_bootstrap_package.clone(),
            delete_packages: common.delete_package.clone(),
            release_version: common.set_release_version.clone(),
            certificates: common.ca_cert.iter().map(|path| certificate(path)).collect::<Result<_>>()?,
            certificates_for: common.ca_target_distribution.clone(),
            container_tag: common.set_container_tag.clone(),
            container_derived_from: common.set_container_derived_from.clone(),
            container_labels: common.add_container_label.clone(),
            build_service: farm::build_service(settings.download_url.as_deref())?,
            unsigned_local: match farm::is_worker() {
                true => UnsignedLocal::Accepted,
                false => UnsignedLocal::Refused,
            },
        };
        Ok(Request {
            description: description_path(globals, &common.description)?,
            overrides,
            choices: choices(globals)?,
        })
    }

    /// The description as it counts.
    pub fn describe(&self, colour: Colour) -> Result<Description> {
        let loaded = description::load(&self.description).map_err(|problems| problems.into_error(colour))?;
        let applied = self.overrides.apply(loaded, &self.choices);
        let mut description = applied.map_err(|problems| problems.into_error(colour))?;
        description.find_boot_scripts();
        Ok(description)
    }

    /// The plan.
    pub fn plan(&self, colour: Colour) -> Result<Planned> {
        let description = self.describe(colour)?;
        let plan = decide(&description, &self.choices).map_err(|problems| problems.into_error(colour))?;
        let selection = Selection::new(&description, &self.choices).map_err(|problems| problems.into_error(colour))?;
        let kind = selection.image_type(&description, self.choices.image_type.as_deref());
        let kind = kind.map_err(|problems| problems.into_error(colour))?;
        let naming = Naming {
            pattern: kind.get("bundle_format").map(|pattern| pattern.to_string()),
            name: plan.image.name.clone(),
            profiles: plan.profiles.join("_"),
            arch: plan.image.arch.clone(),
            image_type: kind.image.to_string(),
            version: plan.image.version.clone(),
        };
        Ok(Planned { plan, naming })
    }
}

/// A file of `--ca-cert`, relative to where kiwi was called.
fn certificate(path: &Path) -> Result<KeyWords> {
    let absolute = file::absolute(path)?;
    Ok(KeyWords { uri: path.display().to_string(), found: file::is_file(&absolute).then_some(absolute) })
}

/// The description's folder, or the file that `--kiwi-file` names in it.
pub fn description_path(globals: &Globals, folder: &std::path::Path) -> Result<PathBuf> {
    file::absolute(&match &globals.kiwi_file {
        Some(name) => folder.join(name),
        None => folder.to_path_buf(),
    })
}

/// What the global options choose. Scripts have the host's network, as KIWI gives it to them.
pub fn choices(globals: &Globals) -> Result<Choices> {
    let host = std::env::consts::ARCH;
    let arch = globals.target_arch.as_deref().unwrap_or(host);
    if arch != host {
        return Err(Error::cannot(Exit::HostLacks, format!("build for {arch}"))
            .because(format!("this host is {host}, and programs of the image run on it")));
    }
    let mut environment: std::collections::BTreeMap<_, _> = globals.environment.iter().cloned().collect();
    let epoch = match environment.remove("SOURCE_DATE_EPOCH") {
        Some(text) => Some(crate::cli::parse_epoch(&text).map_err(|why| {
            Error::new(Exit::Usage, format!("--setenv SOURCE_DATE_EPOCH={text} is no date")).because(why)
        })?),
        None => globals.source_date_epoch,
    };
    Ok(Choices {
        profiles: globals.profiles.clone(),
        image_type: globals.image_type.clone(),
        arch: host.to_string(),
        source_date_epoch: epoch,
        update_stack: None,
        package_database: None,
        targets: Vec::new(),
        scrub_except: Vec::new(),
        network_for_scripts: NetworkForScripts::Host,
        environment,
        layers: None,
        layer_compression: None,
    })
}
