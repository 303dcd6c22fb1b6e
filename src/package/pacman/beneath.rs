//! Packages of a container below, for a pacman that decides what is missing.
//!
//! In: the files of the base's package database. Out: pacman's notes of what is installed, as it left them, in a folder that
//! only this build uses; what pacman chooses on top of them. Never makes a package of the base older because a repository has
//! no newer one, and never reads the base's own configuration.

use std::path::Path;

use super::Pacman;
use super::database::{Entry, LOCAL};
use super::folder::PacmanFolder;
use super::request::base_name;
use crate::error::{Result, Warning};
use crate::host::file;
use crate::host::program::Program;
use crate::host::rooted::{RootPath, Rooted};
use crate::package::Beneath;
use crate::report::Reporter;

/// Repository, name and version of each package that pacman would install.
pub(super) type Chosen = Vec<(String, String, String)>;

/// Writes the notes below `database`, the folder that pacman is told.
pub(super) fn lay(beneath: &Beneath, database: &Path) -> Result<()> {
    file::create_folders(database)?;
    let folder = Rooted::open(database)?;
    let above = RootPath::from(LOCAL).parent();
    for (path, content) in beneath.database().filter(|(path, _)| path.is_below(&LOCAL.into())) {
        let path = RootPath::new(&path.as_bytes()[above.as_bytes().len()..]);
        folder.create_folders(&path.parent(), 0o755)?;
        folder.write(&path, content, 0o644)?;
    }
    Ok(())
}

/// What is installed in the base.
pub(super) fn packages(beneath: &Beneath) -> Vec<Entry> {
    let is_entry = |path: &RootPath| path.name() == b"desc" && path.parent().parent() == LOCAL.into();
    let texts = beneath.database().filter(|(path, _)| is_entry(path));
    texts.map(|(_, content)| Entry::parse(&String::from_utf8_lossy(content))).collect()
}

impl Pacman {
    /// Whether the packages of a base are all that is wanted.
    pub(super) fn asks_for_nothing(&self) -> bool {
        self.beneath != Beneath::Nothing && self.named().next().is_none() && !self.request.has_groups()
    }

    /// What pacman would install, and the words that make it do so. pacman would replace a package of the base by an older
    /// one where that is what the repositories have: only a word with a version asks for this.
    pub(super) fn choose(
        &self,
        folder: &PacmanFolder,
        words: &[String],
        reporter: &Reporter,
    ) -> Result<(Vec<String>, Chosen)> {
        let chosen = folder.choose(self, words, reporter)?;
        let mut newer = Vec::new();
        for entry in packages(&self.beneath) {
            let name = entry.text("NAME");
            let Some((.., version)) = chosen.iter().find(|(_, chosen, _)| chosen == name) else { continue };
            if is_older(version, entry.text("VERSION"), reporter)? {
                newer.push((name.to_string(), entry.text("VERSION").to_string(), version));
            }
        }
        let is_plain = |word: &String| !word.contains(['<', '>', '=']);
        let stays = |word: &String| is_plain(word) && newer.iter().any(|(name, ..)| base_name(word) == name);
        let (staying, wanted): (Vec<String>, Vec<String>) = words.iter().cloned().partition(stays);
        for (name, version, older) in
            newer.iter().filter(|(name, ..)| !staying.iter().any(|word| base_name(word) == name))
        {
            let text = format!("`{name}` {version} of the base is replaced by the older {older}");
            reporter.warn(Warning { text, place: None });
        }
        if staying.is_empty() {
            return Ok((wanted, chosen));
        }
        let chosen = if wanted.is_empty() { Vec::new() } else { folder.choose(self, &wanted, reporter)? };
        Ok((wanted, chosen))
    }
}

/// Whether the first version is older than the second one, as pacman compares them (vercmp(8)).
fn is_older(version: &str, other: &str, reporter: &Reporter) -> Result<bool> {
    let compared = Program::new("vercmp").args([version, other]).run(reporter)?;
    Ok(compared.stdout.starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_notes_of_a_base_are_laid_where_pacman_reads_them_and_nothing_else_is() {
        let files = [
            ("/var/lib/pacman/local/ALPM_DB_VERSION", "9\n"),
            ("/var/lib/pacman/local/tiny-1-1/desc", "%NAME%\ntiny\n\n%VERSION%\n1-1\n"),
            ("/var/lib/dpkg/status", "Package: other\n"),
        ];
        let files: BTreeMap<RootPath, Vec<u8>> = files.map(|(path, text)| (path.into(), text.into())).into();
        let beneath = Beneath::Base(files);
        let folder = tempfile::tempdir().unwrap();
        lay(&beneath, folder.path()).unwrap();
        assert_eq!(file::read(&folder.path().join("local/ALPM_DB_VERSION")).unwrap(), b"9\n");
        assert!(file::is_file(&folder.path().join("local/tiny-1-1/desc")));
        assert_eq!(file::names(folder.path()).unwrap(), ["local"]);
        let packages = packages(&beneath);
        assert_eq!((packages.len(), packages[0].text("NAME")), (1, "tiny"));
    }
}
