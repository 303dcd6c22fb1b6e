//! What lets an image with an update stack go on by itself: repositories, and the keys that sign them.
//!
//! In: the repositories that the description includes in the image. Out: `/etc/pacman.d/ALIAS.repo`, which the image's
//! pacman.conf(5) includes, and the keys where `pacman-key --populate` finds them. Never a password, never a private key,
//! and never silently a mirror that means nothing outside this host.

use std::collections::BTreeMap;

use super::folder::{fingerprints, level, trust, trusted};
use super::{Pacman, Section};
use crate::error::Result;
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::package::Beneath;
use crate::package::keyring::Keyring;
use crate::package::repository::{ImageUrl, Source, with_authority};
use crate::plan::{RepositoryUse, Warning};
use crate::report::Reporter;

const CONFIGURATION: &str = "/etc/pacman.conf";
const REPOSITORIES: &str = "/etc/pacman.d";
/// Where `pacman-key --populate` looks (pacman-key(8)).
const KEYRINGS: &str = "/usr/share/pacman/keyrings";

impl Pacman {
    /// Writes the image's permanent repositories.
    pub(super) fn write_sources(&self, tree: &Rooted, reporter: &Reporter) -> Result<()> {
        let mut files: BTreeMap<String, Vec<&Section>> = BTreeMap::new();
        for section in self.sections.iter().filter(|section| section.source.used != RepositoryUse::Build) {
            files.entry(file_name(&section.source.alias)).or_default().push(section);
        }
        // A base has its own.
        if files.is_empty() && self.beneath != Beneath::Nothing {
            return Ok(());
        }
        if files.is_empty() {
            let text =
                "the image has an update stack and no source of updates: no repository has imageinclude=\"true\"";
            reporter.warn(Warning { text: text.into(), place: None });
            return Ok(());
        }
        let mut includes = String::new();
        for (name, sections) in files {
            let source = &sections[0].source;
            let warn = |text: String| reporter.warn(Warning { text, place: Some(source.place.clone()) });
            if let ImageUrl::Private(url) = &source.image_url {
                warn(format!("the image's source `{}` is {url}, which may mean nothing elsewhere", source.alias));
            }
            if source.credentials.is_some() {
                warn(format!(
                    "the image's source `{}` needs a password, which is not put into the image",
                    source.alias
                ));
            }
            let mut text: String = sections.iter().map(|section| stanza(section)).collect();
            if source.customize.is_some() {
                text = self.customized(&name, &text, source, reporter)?;
            }
            let path = RootPath::from(REPOSITORIES).join(format!("{name}.repo"));
            write(tree, &path, text.as_bytes())?;
            includes.push_str(&format!("Include = {path}\n"));
            let keyring = trusted(self, sections[0], &self.scratch, reporter)?;
            if !keyring.is_empty() {
                let file = |end: &str| RootPath::from(KEYRINGS).join(format!("{name}{end}"));
                write(tree, &file(".gpg"), keyring.binary())?;
                let owners: String = self.owners(&keyring, reporter)?;
                write(tree, &file("-trusted"), owners.as_bytes())?;
            }
        }
        let before = tree.read_if_there(&CONFIGURATION.into())?.unwrap_or_else(|| b"[options]\n".to_vec());
        let mut text = String::from_utf8_lossy(&before).into_owned();
        for line in includes.lines().filter(|line| !before_has(&before, line)) {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("{line}\n"));
        }
        write(tree, &CONFIGURATION.into(), text.as_bytes())
    }

    /// `FINGERPRINT:4:` of each key: fully trusted, as `pacman-key --populate` takes it.
    fn owners(&self, keyring: &Keyring, reporter: &Reporter) -> Result<String> {
        let folder = self.scratch.join("image-keys");
        trust(&folder, keyring, reporter)?;
        let prints = fingerprints(&folder, reporter)?;
        Ok(prints.iter().map(|print| format!("{print}:4:\n")).collect())
    }

    fn customized(&self, name: &str, text: &str, source: &Source, reporter: &Reporter) -> Result<String> {
        let copy = self.scratch.join(format!("{name}.repo"));
        file::write_private(&copy, text.as_bytes())?;
        source.customize(&copy, reporter)?;
        file::read_text(&copy)
    }
}

/// What a base has already stays as it is there, with its date.
fn write(tree: &Rooted, path: &RootPath, content: &[u8]) -> Result<()> {
    match tree.read_if_there(path)?.is_some_and(|old| old == content) {
        true => Ok(()),
        false => tree.write(path, content, 0o644),
    }
}

fn before_has(before: &[u8], line: &str) -> bool {
    String::from_utf8_lossy(before).lines().any(|other| other.trim() == line)
}

/// The section of pacman.conf(5).
fn stanza(section: &Section) -> String {
    let signed = level(section.source.signed, section.signed_packages);
    format!("[{}]\nSigLevel = {signed}\nServer = {}\n", section.name, with_authority(section.source.permanent_url()))
}

/// A file's name without blanks, which `Include` would take for patterns of several.
fn file_name(alias: &str) -> String {
    let good = |char: char| if char.is_ascii_alphanumeric() || "_-.".contains(char) { char } else { '_' };
    let name: String = alias.chars().map(good).collect();
    name.trim_start_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_becomes_one_name_of_a_file() {
        for (alias, name) in [("core", "core"), ("My Repo/1*", "My_Repo_1_"), ("../x", "_x")] {
            assert_eq!(file_name(alias), name);
        }
    }
}
