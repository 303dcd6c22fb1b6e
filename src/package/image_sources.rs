//! What lets an image with an update stack go on by itself: signed sources, and which packages were asked for.
//!
//! In: the repositories that the description includes in the image. Out: `/etc/apt/sources.list.d/ALIAS.sources`, the
//! keys they are signed by, `/var/lib/apt/extended_states`. Never a password, and never silently a mirror that means
//! nothing outside this host.

use std::path::{Path, PathBuf};

use super::apt::Apt;
use super::deb822::{self, Stanza};
use super::release_file;
use super::repository::{ImageUrl, Source};
use super::{Beneath, PackageSet, keyring::Keyring, solution};
use crate::error::Result;
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::plan::{RepositoryUse, Signed, Warning};
use crate::report::Reporter;

const SOURCES: &str = "/etc/apt/sources.list.d";
const KEYRINGS: &str = "/etc/apt/keyrings";
const EXTENDED_STATES: &str = "/var/lib/apt/extended_states";
const PACKAGED_KEYRINGS: &str = "/usr/share/keyrings";

impl Apt {
    /// Writes the image's permanent sources.
    pub(super) fn write_sources(&self, tree: &Rooted, reporter: &Reporter) -> Result<()> {
        let permanent =
            self.sources.iter().zip(&self.keyrings).filter(|(source, _)| source.used != RepositoryUse::Build);
        let mut written = 0;
        for (source, keyring) in permanent {
            let warn = |text: String| reporter.warn(Warning { text, place: Some(source.place.clone()) });
            if let ImageUrl::Private(url) = &source.image_url {
                warn(format!(
                    "the image's source `{}` is {url}, which may mean nothing on another machine",
                    source.alias
                ));
            }
            if source.credentials.is_some() {
                warn(format!(
                    "the image's source `{}` needs a password, which is not put into the image",
                    source.alias
                ));
            }
            let name = file_name(&source.alias);
            let signed_by = match source.signed {
                Signed::NotChecked => None,
                Signed::Required => Some(self.signed_by(source, keyring, &name, tree, reporter)?),
            };
            let mut text = source.stanza(source.permanent_url(), signed_by.as_deref()).to_string();
            if source.customize.is_some() {
                text = self.customized(&name, &text, source, reporter)?;
            }
            tree.write(&RootPath::from(SOURCES).join(format!("{name}.sources")), text, 0o644)?;
            written += 1;
        }
        // A base has its own.
        if written == 0 && self.beneath == Beneath::Nothing {
            let text =
                "the image has an update stack and no source of updates: no repository has imageinclude=\"true\"";
            reporter.warn(Warning { text: text.into(), place: None });
        }
        Ok(())
    }

    /// The keyring of a package in the image, which is kept up to date with it, if it holds the key that signed;
    /// else a keyring of the source's own.
    fn signed_by(
        &self,
        source: &Source,
        keyring: &Keyring,
        name: &str,
        tree: &Rooted,
        reporter: &Reporter,
    ) -> Result<String> {
        if source.keys.is_empty()
            && let Some(path) = self.packaged_keyring(source, tree, reporter)?
        {
            return Ok(path);
        }
        let path = RootPath::from(KEYRINGS).join(format!("{name}.gpg"));
        tree.write(&path, keyring.binary(), 0o644)?;
        Ok(path.to_string())
    }

    fn packaged_keyring(&self, source: &Source, tree: &Rooted, reporter: &Reporter) -> Result<Option<String>> {
        let release = self.release_of(source);
        let candidate = self.scratch.join("apt").join("candidate.gpg");
        let folder = RootPath::from(PACKAGED_KEYRINGS);
        for name in tree.names(&folder)? {
            let path = folder.join(&name).to_string();
            let Some((stem, "gpg" | "pgp")) = path.rsplit_once('.') else { continue };
            if !stem.ends_with("archive-keyring") {
                continue;
            }
            let same_as_hosts = source.host_signed_by.as_deref() == Some(path.as_str());
            let trusted = match &release {
                None => same_as_hosts,
                Some(release) => {
                    file::write_private(&candidate, &tree.read(&path.as_str().into())?)?;
                    release_file::is_signed_by(release, &candidate, &Reporter::silent())
                }
            };
            if trusted {
                reporter.log_line(&format!("the image's source {} is signed by {path}", source.alias));
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Where [`Apt::resolve`] kept the signed Release file of a source.
    pub(super) fn release_of(&self, source: &Source) -> Option<PathBuf> {
        let path = release_copy(&self.scratch, source);
        file::is_file(&path).then_some(path)
    }

    fn customized(&self, name: &str, text: &str, source: &Source, reporter: &Reporter) -> Result<String> {
        let copy = self.scratch.join("apt").join(format!("{name}.sources"));
        file::write_private(&copy, text.as_bytes())?;
        source.customize(&copy, reporter)?;
        file::read_text(&copy)
    }

    /// Marks what only dependencies brought, so that `apt-get autoremove` removes nothing that was asked for.
    pub(super) fn write_extended_states(&self, set: &PackageSet, tree: &Rooted) -> Result<()> {
        let mut automatic: Vec<&super::Package> = set.packages.iter().collect();
        automatic.retain(|package| !package.requested && !package.essential && package.name != "apt");
        automatic.sort_by(|left, right| (&left.name, &left.arch).cmp(&(&right.name, &right.arch)));
        let noted = tree.read_if_there(&EXTENDED_STATES.into())?.unwrap_or_default();
        let noted = deb822::parse(&String::from_utf8_lossy(&noted)).unwrap_or_default();
        // What a base noted stays, apart from what this description is about.
        let stays = |stanza: &&Stanza| {
            let name = stanza.text("Package");
            let is_named = self.named().any(|named| solution::base_name(&named.name) == name);
            !is_named && !automatic.iter().any(|package| package.name == name)
        };
        let mut text: String = noted.iter().filter(stays).map(|stanza| format!("{stanza}\n")).collect();
        for package in automatic {
            let arch = if package.arch == "all" { &self.native } else { &package.arch };
            let mut stanza = Stanza::default();
            stanza.set("Package", &package.name);
            stanza.set("Architecture", arch);
            stanza.set("Auto-Installed", "1");
            text.push_str(&format!("{stanza}\n"));
        }
        tree.write(&EXTENDED_STATES.into(), text, 0o644)
    }
}

/// The copy of a source's signed Release file in the scratch folder.
pub(super) fn release_copy(scratch: &Path, source: &Source) -> PathBuf {
    scratch.join("apt").join(format!("{}.InRelease", file_name(&format!("{}-{}", source.alias, source.suite))))
}

/// A file's name as apt accepts it in sources.list.d: letters, digits, `_`, `-`, `.` (sources.list(5)).
fn file_name(alias: &str) -> String {
    let good = |char: char| if char.is_ascii_alphanumeric() || "_-.".contains(char) { char } else { '_' };
    let name: String = alias.chars().map(good).collect();
    name.trim_start_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_becomes_a_name_that_apt_reads() {
        for (alias, name) in [("debian-12.security", "debian-12.security"), ("My Repo/1", "My_Repo_1"), ("../x", "_x")]
        {
            assert_eq!(file_name(alias), name);
        }
    }
}
