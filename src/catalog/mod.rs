//! What was published where, and which of it is current.
//!
//! In: a publication that succeeded. Out: its record, which goes from candidate over tested to current and deprecated.
//! Never holds an account's number, a credential or a path of this host; never replaces a catalog of a newer ingot.

pub mod export;
mod rows;
mod store;

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Exit, Result};
pub use store::Catalog;

/// How far an image has come in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Published, and no more known of it.
    Candidate,
    /// Somebody saw it work.
    Tested,
    /// What `ingot id` answers: at most one for each name, architecture, cloud and region.
    Current,
    /// Not to be used any more.
    Deprecated,
}

impl State {
    /// All of them, in order.
    pub const ALL: [State; 4] = [State::Candidate, State::Tested, State::Current, State::Deprecated];

    /// As the catalog and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            State::Candidate => "candidate",
            State::Tested => "tested",
            State::Current => "current",
            State::Deprecated => "deprecated",
        }
    }

    fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is recorded when an image has been published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Publication {
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture: `x86_64`.
    pub arch: String,
    /// SHA-256 of the description: of its file and of all its inputs.
    pub description: String,
    /// SHA-256 of the list of packages, the lock.
    pub packages: String,
    /// File name of the artifact in its release.
    pub artifact: String,
    /// SHA-256 of the artifact.
    pub digest: String,
    /// `aws`, `azure`, `gce`, `openstack` or `registry`.
    pub cloud: String,
    /// Region, or what stands for it: a storage account's container, a project, a cloud's name, a repository.
    pub region: String,
    /// As it was given: `aws:eu-central-1/images`.
    pub target: String,
    /// What the cloud calls the image, without an account's number.
    pub id: String,
    /// Seconds since 1970.
    pub published: i64,
    /// Which version of ingot did it.
    pub tool: String,
}

/// A publication and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its number in this catalog.
    pub number: i64,
    /// What was recorded.
    #[serde(flatten)]
    pub publication: Publication,
    /// How far it has come.
    pub state: State,
    /// The id of the publication that took its place.
    pub replaced_by: Option<String>,
}

/// Which records are meant; an absent part means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The image's name.
    pub name: Option<String>,
    /// The architecture.
    pub arch: Option<String>,
    /// The cloud.
    pub cloud: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The state.
    pub state: Option<State>,
    /// The version.
    pub version: Option<String>,
    /// The id, the record's number, or the beginning (8 digits or more) of the artifact's SHA-256.
    pub id: Option<String>,
}

impl Filter {
    /// Whether this record is meant.
    pub fn takes(&self, record: &Record) -> bool {
        let publication = &record.publication;
        let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let digest = |id: &str| id.len() >= 8 && publication.digest.starts_with(id);
        let id =
            self.id.as_ref().is_none_or(|id| *id == publication.id || *id == record.number.to_string() || digest(id));
        id && is(&self.name, &publication.name)
            && is(&self.arch, &publication.arch)
            && is(&self.cloud, &publication.cloud)
            && is(&self.region, &publication.region)
            && is(&self.version, &publication.version)
            && self.state.is_none_or(|state| state == record.state)
    }
}

/// The one record of several; 66 where there is none, 64 where the choice is open.
pub fn only(mut records: Vec<Record>, what: &str) -> Result<Record> {
    match records.len() {
        1 => Ok(records.remove(0)),
        0 => Err(Error::cannot(Exit::InputMissing, what).because("the catalog has no such publication")),
        many => {
            let shown = records.iter().take(6).map(|record| {
                let publication = &record.publication;
                format!(
                    "{} {} {} in {} {}: {}",
                    publication.name,
                    publication.version,
                    publication.arch,
                    publication.cloud,
                    publication.region,
                    publication.id
                )
            });
            let list = shown.collect::<Vec<_>>().join("\n");
            Err(Error::cannot(Exit::Usage, what)
                .because(format!("{many} publications are meant:\n{list}"))
                .hint("--cloud, --region, --arch and --version tell them apart"))
        }
    }
}
