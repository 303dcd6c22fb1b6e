//! The keys that a description names with `<signing key="..."/>`.
//!
//! In: a repository. Out: a [`Keyring`] of what is named, and of nothing else. Never a key that lies beside a repository.

use std::path::{Path, PathBuf};

use super::apt_folder::Transport;
use super::failure;
use super::keyring::Keyring;
use super::repository::Source;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::report::Reporter;

/// Reads them; those with an address are downloaded into `scratch`. 65 for what is no key, 66 for a file that is not there, 75 for
/// a server that fails.
pub fn named(
    source: &Source,
    transport: &dyn Fn() -> Result<Transport>,
    scratch: &Path,
    reporter: &Reporter,
) -> Result<Keyring> {
    let mut keyring = Keyring::default();
    for key in &source.keys {
        let path = match key.split_once("://") {
            Some(("http" | "https", _)) => download(key, source, &transport()?, scratch, reporter)?,
            Some(("file" | "this" | "dir", path)) => PathBuf::from(path),
            _ => PathBuf::from(key),
        };
        let bytes = file::read(&path).map_err(|error| error.at(source.place.clone()))?;
        keyring.add(&bytes).map_err(|why| {
            Error::cannot(Exit::Description, format!("use the signing key {key}")).because(why).at(source.place.clone())
        })?;
    }
    Ok(keyring)
}

/// The same where nobody else's keys would do: 65, with `hint`, where none is named. Servers may have `certificates` beside
/// those that this host trusts.
pub fn only_named(
    source: &Source,
    certificates: &[PathBuf],
    scratch: &Path,
    hint: &str,
    reporter: &Reporter,
) -> Result<Keyring> {
    let transport = || {
        let transport = Transport::prepare(std::slice::from_ref(source), scratch)?;
        transport.trust(certificates)?;
        Ok(transport)
    };
    let keyring = named(source, &transport, scratch, reporter)?;
    match keyring.is_empty() {
        false => Ok(keyring),
        true => Err(Error::cannot(Exit::Description, format!("verify the repository `{}`", source.alias))
            .because("it names no key")
            .at(source.place.clone())
            .hint(hint)),
    }
}

fn download(url: &str, source: &Source, transport: &Transport, scratch: &Path, reporter: &Reporter) -> Result<PathBuf> {
    let path = scratch.join("signing-key");
    file::remove(&path)?;
    let program = transport.helper().arg("download-file").arg(url).arg(&path);
    let line = program.line();
    let ended = program.run_to_end(reporter, |_| {})?;
    if !ended.status.success() {
        let what = format!("fetch the signing key {url}");
        return Err(failure::of_transfer(&what, &line, &ended, &[]).at(source.place.clone()));
    }
    Ok(path)
}
