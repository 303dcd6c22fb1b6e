//! How registries of containers are reached: options that every build has.
//!
//! In: options, or the variables that skopeo and podman know. Out: [`Registries`]. Never reads a credential.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::container::Registries;
use crate::error::{Error, Exit, Result};
use crate::host::file;

/// See the module.
#[derive(Clone, Debug, Default, Args)]
pub struct RegistryArguments {
    /// Credentials for registries of containers, as `skopeo login` writes them
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
    /// Mirrors of registries of containers, and how they are reached (containers-registries.conf)
    #[arg(long, value_name = "FILE", env = "CONTAINERS_REGISTRIES_CONF")]
    pub registries_conf: Option<PathBuf>,
}

impl RegistryArguments {
    /// The files, absolute. 66 where one is missing: skopeo would go on without it.
    pub fn registries(&self) -> Result<Registries> {
        Ok(Registries {
            credentials: self.authfile.as_deref().map(there).transpose()?,
            configuration: self.registries_conf.as_deref().map(there).transpose()?,
        })
    }
}

fn there(path: &Path) -> Result<PathBuf> {
    match file::is_file(path) {
        true => file::absolute(path),
        false => {
            Err(Error::cannot(Exit::InputMissing, format!("use {}", path.display())).because("there is no such file"))
        }
    }
}
