//! Finding an image: on this host's disk, in the cache, or through skopeo.
//!
//! In: an address, and the digest that is pinned. Out: the [`StoredImage`] for this machine. Never hands out one whose
//! digest is another, or one for another machine.

use std::path::Path;

use serde_json::Value;

use super::config;
use super::fetch::{self, Registries};
use super::source::{Store, StoredImage, Wanted};
use crate::error::{Error, Exit, Result};
use crate::plan::{Image, ImageAddress};
use crate::report::Reporter;

/// Where images are looked for, and which machine they are for.
#[derive(Clone, Copy)]
pub struct Finder<'a> {
    /// What is built.
    pub image: &'a Image,
    /// A folder of this build.
    pub scratch: &'a Path,
    /// Where fetched images are kept.
    pub kept: &'a Path,
    /// How registries are reached.
    pub registries: &'a Registries,
    /// Who hears of it.
    pub reporter: &'a Reporter,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Where.
    pub source: &'a ImageAddress,
    /// The digest that it must have.
    pub digest: Option<&'a str>,
    /// What it is called where the address does not say it; an only image may have another name.
    pub called: Option<&'a str>,
}

impl Finder<'_> {
    /// Finds it. 65 for one that is malformed or for another machine, 66 where there is none, 69 where skopeo is missing,
    /// 75 where a registry does not answer, 76 where the digest is another one.
    pub fn find(&self, sought: Sought<'_>) -> Result<StoredImage> {
        let (architecture, variant) = config::platform(&self.image.arch);
        let platform = Some((architecture.to_string(), variant.map(str::to_string)));
        let wanted = |name: Option<&str>| Wanted { name: name.map(str::to_string), platform: platform.clone() };
        let found = match sought.source {
            ImageAddress::Local { path, name } => {
                let store = Store::open(path, self.scratch)?;
                let named = match (name, sought.called) {
                    (None, Some(called)) => store.image(&wanted(Some(called))).ok(),
                    _ => None,
                };
                let found = named.map_or_else(|| store.image(&wanted(name.as_deref())), Ok)?;
                compare(&found, sought.digest)?;
                found
            }
            ImageAddress::Fetched(reference) => {
                let request = fetch::Request {
                    reference,
                    digest: sought.digest,
                    architecture,
                    variant,
                    registries: self.registries,
                };
                let archive = fetch::fetch(&request, self.scratch, self.kept, self.reporter)?;
                // skopeo chose the machine, and compared the digest of the index.
                let found = Store::open(&archive.path, self.scratch)?.image(&wanted(None))?;
                StoredImage { digest: archive.digest, ..found }
            }
        };
        check_platform(&configuration(&found)?, architecture)?;
        Ok(found)
    }
}

/// Its configuration.
pub fn configuration(image: &StoredImage) -> Result<Value> {
    serde_json::from_slice(&image.configuration)
        .map_err(|error| Error::cannot(Exit::Description, "read its configuration").because(error))
}

fn compare(found: &StoredImage, pinned: Option<&str>) -> Result<()> {
    let is = |digest: &String| pinned == Some(digest.as_str());
    match pinned {
        Some(wanted) if !is(&found.digest) && !found.indexes.iter().any(is) => {
            let why = "its digest is not the one of the description";
            Err(Error::cannot(Exit::Integrity, "use this image")
                .because(format!("{why}\nwanted: {wanted}\nfound:  {}", found.digest)))
        }
        _ => Ok(()),
    }
}

fn check_platform(configuration: &Value, architecture: &str) -> Result<()> {
    let word = |name: &str| configuration[name].as_str().unwrap_or_default().to_string();
    let (os, found) = (word("os"), word("architecture"));
    if os == "linux" && found == architecture {
        return Ok(());
    }
    Err(Error::cannot(Exit::Description, "use this image")
        .because(format!("it is for {os}/{found}, and the image is for linux/{architecture}").escape_debug()))
}
