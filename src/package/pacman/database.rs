//! What pacman knows of packages: its paragraphs of `%FIELD%` and values.
//!
//! In: a repository's database (a tar archive of `NAME-VERSION/desc`), or the folder of what is installed. Out: the
//! packages that are [`Offered`], and each [`Entry`] that is installed. Never believes a database that is no archive.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::untar::{Members, decompressed};

/// Where what is installed is described, below pacman's folder.
pub(super) const LOCAL: &str = "/var/lib/pacman/local";
/// Longest paragraph that is read.
const LONGEST: u64 = 4 << 20;

/// A package in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub name: String,
    pub version: String,
    /// The archive's name beside the database.
    pub file: String,
    pub digest: Sha256,
    pub size: Bytes,
    /// When it was built, seconds since 1970.
    pub built: Option<i64>,
    pub groups: Vec<String>,
    pub provides: Vec<String>,
}

/// The fields of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry(Vec<(String, Vec<String>)>);

impl Entry {
    /// `%NAME%`, one value a line, an empty line.
    pub fn parse(text: &str) -> Entry {
        let mut fields: Vec<(String, Vec<String>)> = Vec::new();
        let mut inside = false;
        for line in text.lines() {
            match line.strip_prefix('%').and_then(|line| line.strip_suffix('%')) {
                Some(name) if !inside => {
                    fields.push((name.to_string(), Vec::new()));
                    inside = true;
                }
                _ if line.is_empty() => inside = false,
                _ => fields.last_mut().into_iter().for_each(|(_, values)| values.push(line.to_string())),
            }
        }
        Entry(fields)
    }

    /// All values of a field.
    pub fn words(&self, field: &str) -> &[String] {
        self.0.iter().find(|(name, _)| name == field).map(|(_, values)| values.as_slice()).unwrap_or_default()
    }

    /// The first value; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.words(field).first().map(String::as_str).unwrap_or_default()
    }

    /// Whether it is there because something needs it, not because somebody asked for it.
    pub fn is_dependency(&self) -> bool {
        self.text("REASON") == "1"
    }

    /// Whether it is this one, installed.
    pub fn is(&self, offered: &Offered) -> bool {
        self.text("NAME") == offered.name && self.text("VERSION") == offered.version
    }
}

/// The packages of a repository's database; those without a name, a file, a size or a SHA-256 are not among them.
pub(super) fn read(path: &Path, name: &str) -> Result<Vec<Offered>> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::cannot(Exit::Integrity, format!("read the database `{name}` of packages")).because(error)
    };
    let archive = decompressed(file::open(path)?).map_err(|error| broken(&error))?;
    let mut members = Members::new(archive);
    let mut found = Vec::new();
    while let Some(member) = members.next_member().map_err(|error| broken(&error))? {
        if !member.name.ends_with(b"/desc") {
            continue;
        }
        let mut text = Vec::new();
        (&mut members).take(LONGEST).read_to_end(&mut text).map_err(|error| broken(&error))?;
        found.extend(offered(&Entry::parse(&String::from_utf8_lossy(&text))));
    }
    Ok(found)
}

fn offered(entry: &Entry) -> Option<Offered> {
    let file = entry.text("FILENAME");
    if entry.text("NAME").is_empty() || file.is_empty() || file.contains('/') {
        return None;
    }
    Some(Offered {
        name: entry.text("NAME").to_string(),
        version: entry.text("VERSION").to_string(),
        file: file.to_string(),
        digest: entry.text("SHA256SUM").parse().ok()?,
        size: Bytes(entry.text("CSIZE").parse().ok()?),
        built: entry.text("BUILDDATE").parse().ok(),
        groups: entry.words("GROUPS").to_vec(),
        provides: entry.words("PROVIDES").to_vec(),
    })
}

/// What is installed in a tree, sorted by name.
pub(super) fn installed(tree: &Rooted) -> Result<Vec<Entry>> {
    let folder = RootPath::from(LOCAL);
    let mut entries = Vec::new();
    for name in tree.names(&folder)? {
        if let Some(text) = tree.read_if_there(&folder.join(&name).join("desc"))? {
            entries.push(Entry::parse(&String::from_utf8_lossy(&text)));
        }
    }
    entries.sort_by(|a, b| a.text("NAME").cmp(b.text("NAME")));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_has_its_values_and_a_value_may_look_like_a_name() {
        let entry = Entry::parse("%NAME%\nx\n\n%DEPENDS%\na>=1\n%b%\n\n%REASON%\n1\n");
        assert_eq!(entry.text("NAME"), "x");
        assert_eq!(entry.words("DEPENDS"), ["a>=1", "%b%"]);
        assert!(entry.is_dependency() && entry.words("GROUPS").is_empty());
    }

    #[test]
    fn what_is_offered_has_a_digest_and_a_file_beside_the_database() {
        let digest = Sha256::of("x");
        let text = |file: &str| {
            format!("%NAME%\nx\n\n%VERSION%\n1-1\n\n%FILENAME%\n{file}\n\n%CSIZE%\n7\n\n%SHA256SUM%\n{digest}\n")
        };
        let good = offered(&Entry::parse(&text("x-1-1-any.pkg.tar.zst"))).unwrap();
        assert_eq!((good.name.as_str(), good.size, good.digest), ("x", Bytes(7), digest));
        assert_eq!(offered(&Entry::parse(&text("../x"))), None);
        assert_eq!(offered(&Entry::parse("%NAME%\nx\n")), None);
    }
}
