//! What dpkg's database says of a package.
//!
//! In: its stanza in the status file, and its files in `/var/lib/dpkg/info`. Out: digests, changelog, source. Never
//! counts a configuration file that was never written, or one that is obsolete.

use std::collections::BTreeMap;

use super::{Changelog, Digest, ShippedFile};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::package::database::info_path;
use crate::package::deb822::Stanza;

/// Its regular files with their digests, configuration files among them.
pub(super) fn files(stanza: &Stanza, tree: &Rooted) -> Result<Vec<ShippedFile>> {
    let configuration = configuration_files(stanza);
    let sums = tree.read_if_there(&info_path(stanza, "md5sums"))?.unwrap_or_default();
    let sums = String::from_utf8_lossy(&sums).into_owned();
    let shipped = |path: String, sum: &str, configuration| ShippedFile {
        path: RootPath::from(path.as_str()),
        digest: Digest::Md5(sum.to_string()),
        configuration,
    };
    let plain = sums.lines().filter_map(|line| line.split_once("  "));
    let plain = plain.map(|(sum, path)| (format!("/{path}"), sum));
    let plain = plain.filter(|(path, _)| !configuration.contains_key(path.as_str()));
    let mut files: Vec<ShippedFile> = plain.map(|(path, sum)| shipped(path, sum, false)).collect();
    files.extend(configuration.iter().map(|(path, sum)| shipped(path.to_string(), sum, true)));
    Ok(files)
}

/// Paths and MD5 sums of the field `Conffiles`, without obsolete ones and those that were never written.
fn configuration_files(stanza: &Stanza) -> BTreeMap<&str, &str> {
    let lines = stanza.text("Conffiles").lines();
    lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (path, sum, rest) = (words.next()?, words.next()?, words.next());
            (rest.is_none() && sum.len() == 32).then_some((path, sum))
        })
        .collect()
}

/// What changed between its versions.
pub(super) fn changelog(name: &str, tree: &Rooted) -> Result<Option<Changelog>> {
    // A native package has no changelog of Debian beside its own.
    for file in ["changelog.Debian.gz", "changelog.gz"] {
        let path = RootPath::new(format!("/usr/share/doc/{name}/{file}"));
        if let Some(packed) = tree.read_if_there(&path)? {
            return Ok(Some(Changelog::Gzip(packed)));
        }
    }
    Ok(None)
}

/// Its source package and that one's version: `Source: name (version)`, and nothing where both are its own.
pub(super) fn source(stanza: &Stanza) -> (String, String) {
    let written = stanza.text("Source");
    let (name, version) = written.split_once(" (").unwrap_or((written, ""));
    let or = |text: &str, other: &str| if text.is_empty() { other.to_string() } else { text.to_string() };
    (or(name, stanza.text("Package")), or(version.trim_end_matches(')'), stanza.text("Version")))
}
