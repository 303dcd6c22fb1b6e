//! A repository's table of contents, after the manager accepted it.
//!
//! In: `repomd.xml` and its signature in the manager's cache, and the keys of the repository. Out: a [`ReleaseFile`], its
//! signature checked once more by gpgv, against the keys of this very repository: a manager trusts the keys of all.
//! Never accepts what the manager refused.

use std::path::PathBuf;

use super::Repository;
use super::decision::Metadata;
use super::folder::ManagerFolder;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::{ReleaseFile, release_file};
use crate::plan::Signed;
use crate::report::Reporter;

/// Reads the metadata of one repository.
pub(super) fn read(
    repository: &Repository,
    used: &[&Repository],
    folder: &ManagerFolder,
    reporter: &Reporter,
) -> Result<ReleaseFile> {
    let source = &repository.source;
    let lacking = || {
        Error::cannot(Exit::Bug, format!("find the metadata of `{}`", source.alias))
            .because(format!("there is none in {}", folder.cache.display()))
    };
    let path = find(folder, &repository.id())?.ok_or_else(lacking)?;
    let bytes = file::read(&path)?;
    let signed_by = match source.signed {
        Signed::NotChecked => None,
        Signed::Required => {
            let error = || {
                Error::cannot(Exit::Integrity, format!("trust the repository `{}`", source.alias))
                    .at(source.place.clone())
            };
            let signature = path.with_extension("xml.asc");
            if !file::is_file(&signature) {
                return Err(error().because("nobody signed its metadata"));
            }
            let keyring = folder.binary_keys(&source.alias, used).ok_or_else(|| error().because("it has no key"))?;
            release_file::signer(&path, Some(&signature), &keyring, reporter).map_err(|error| {
                error
                    .within(format!("verify the signature of the repository `{}`", source.alias))
                    .at(source.place.clone())
                    .hint("name the key that signs it with <signing key=.../>")
            })?
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(ReleaseFile {
        repository: source.alias.clone(),
        title: values(&text, "repo").chain(values(&text, "distro")).next().unwrap_or(&source.alias).to_string(),
        date: date(&text),
        sha256: Sha256::of(&bytes).to_string(),
        signed: source.signed,
        signed_by,
    })
}

/// Digests of what is in the manager's cache, whoever signed it; `None` where a repository was not read yet.
pub(super) fn digests(folder: &ManagerFolder, used: &[&Repository]) -> Result<Option<Metadata>> {
    let mut digests = Metadata::new();
    for id in used.iter().map(|repository| repository.id()) {
        let Some(path) = find(folder, &id)? else { return Ok(None) };
        digests.insert(id, Sha256::of(file::read(&path)?).to_string());
    }
    Ok(Some(digests))
}

/// Where the managers keep it: zypper in `raw/ID/repodata`, dnf in `ID-DIGEST/repodata`.
fn find(folder: &ManagerFolder, id: &str) -> Result<Option<PathBuf>> {
    let mut folders = vec![folder.cache.join("raw").join(id)];
    let is_digest = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let rest_of = |name: &str| name.strip_prefix(id)?.strip_prefix('-').map(is_digest);
    let names = file::names(&folder.cache)?.into_iter().filter_map(|name| name.into_string().ok());
    folders.extend(names.filter(|name| rest_of(name) == Some(true)).map(|name| folder.cache.join(name)));
    Ok(folders.into_iter().map(|folder| folder.join("repodata/repomd.xml")).find(|path| file::is_file(path)))
}

/// When the newest of its files was made; seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let newest =
        values(text, "timestamp").filter_map(|value| value.trim().split('.').next()?.parse::<i64>().ok()).max();
    newest.or_else(|| values(text, "revision").find_map(|value| value.trim().parse().ok()))
}

/// The texts of the elements of this name.
fn values<'a>(text: &'a str, element: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (value, after) = after.split_once(close.as_str())?;
        rest = after;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_as_old_as_its_newest_file() {
        let text = "<repomd><revision>7</revision><data><timestamp>12</timestamp></data>\
                    <data><timestamp>30.5</timestamp></data></repomd>";
        assert_eq!(date(text), Some(30));
        assert_eq!(date("<repomd><revision>1700000000</revision></repomd>"), Some(1_700_000_000));
        assert_eq!(date("<repomd><revision>today</revision></repomd>"), None);
    }
}
