//! What is installed in a tree, whatever kind of packages it has.
//!
//! In: a tree, or the files of its package database. Out: [`Installed`] packages, and the paths that packages own. Never
//! starts a program: the image may have no package manager any more, and the host's may be another one.

use std::collections::BTreeMap;

use super::database::{self, info_path};
use super::deb822::Stanza;
use super::rpmdb::{self, Format};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};

/// dpkg's list of diversions.
pub const DIVERSIONS: &str = "/var/lib/dpkg/diversions";

/// A package that is installed and configured.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version as its family writes it: with epoch and release.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    entry: Entry,
}

/// What the database knows of it.
#[derive(Clone, Debug)]
enum Entry {
    Dpkg(Stanza),
}

/// A file as its package brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedFile {
    /// Where it is.
    pub path: String,
    /// What its content was.
    pub digest: Digest,
    /// Whether it is there to be changed.
    pub configuration: bool,
}

/// A digest of a file's content in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// dpkg's.
    Md5(String),
}

/// Every package of the tree; none where it has no package database.
pub fn read(tree: &Rooted) -> Result<Vec<Installed>> {
    let stanzas = database::status(tree)?.into_iter().filter(database::is_installed);
    Ok(stanzas.map(of_stanza).collect())
}

fn of_stanza(stanza: Stanza) -> Installed {
    let [name, version, arch] = ["Package", "Version", "Architecture"].map(|field| stanza.text(field).to_string());
    Installed { name, version, arch, entry: Entry::Dpkg(stanza) }
}

impl Installed {
    /// KIWI's line of it in `STEM.packages`: name, epoch, version, release, architecture, disturl, licence.
    pub fn line(&self) -> String {
        match &self.entry {
            Entry::Dpkg(_) => format!("{}|None|{}|None|{}|None|None\n", self.name, self.version, self.arch),
        }
    }

    /// The licence, where the database knows it.
    pub fn licence(&self) -> Option<&str> {
        match &self.entry {
            Entry::Dpkg(_) => None,
        }
    }

    /// The file that tells the licence, where the database does not know it.
    pub fn copyright(&self) -> Option<RootPath> {
        match &self.entry {
            Entry::Dpkg(_) => Some(RootPath::new(format!("/usr/share/doc/{}/copyright", self.name))),
        }
    }

    /// Its regular files with their digests, configuration files among them.
    pub fn files(&self, tree: &Rooted) -> Result<Vec<ShippedFile>> {
        match &self.entry {
            Entry::Dpkg(stanza) => {
                let configuration = configuration_files(stanza);
                let sums = tree.read_if_there(&info_path(stanza, "md5sums"))?.unwrap_or_default();
                let sums = String::from_utf8_lossy(&sums).into_owned();
                let shipped = |path: String, sum: &str, configuration| ShippedFile {
                    path,
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
        }
    }

    /// What changed between its versions.
    pub fn changelog(&self, tree: &Rooted) -> Result<Option<Changelog>> {
        match &self.entry {
            Entry::Dpkg(_) => {
                // A native package has no changelog of Debian beside its own.
                for file in ["changelog.Debian.gz", "changelog.gz"] {
                    let path = RootPath::new(format!("/usr/share/doc/{}/{file}", self.name));
                    if let Some(packed) = tree.read_if_there(&path)? {
                        return Ok(Some(Changelog::Gzip(packed)));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The changelog of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changelog {
    /// Packed with gzip.
    Gzip(Vec<u8>),
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

/// Whether a path is a file that says which paths packages own.
pub fn is_file_list(path: &RootPath) -> bool {
    let name = path.name();
    if Format::of(path).is_some() || is_pacman_list(path) {
        return true;
    }
    match path.parent().as_bytes() {
        b"/var/lib/dpkg/info" => name.ends_with(b".list") || name.ends_with(b".md5sums"),
        b"/var/lib/dpkg/status.d" => name.ends_with(b".md5sums"),
        _ => false,
    }
}

/// pacman's list of a package's files: `/var/lib/pacman/local/NAME-VERSION/files`.
fn is_pacman_list(path: &RootPath) -> bool {
    path.name() == b"files" && path.parent().parent().as_bytes() == b"/var/lib/pacman/local"
}

/// The paths that such a file names; `path` tells which kind of list it is. Files that a package answers for and does
/// not bring (rpm's `%ghost`) are not among them, and a damaged rpm database names none.
pub fn owned_paths(path: &RootPath, content: &[u8]) -> Vec<RootPath> {
    if let Some(format) = Format::of(path) {
        let headers = rpmdb::read(format, content, &[]).unwrap_or_default();
        let files = headers.iter().flat_map(|header| header.files());
        return files.filter(|file| !file.is_ghost).map(|file| file.path).collect();
    }
    if is_pacman_list(path) {
        let files = content.split(|byte| *byte == b'\n').skip_while(|line| *line != b"%FILES%").skip(1);
        return files.take_while(|line| !line.is_empty()).map(RootPath::new).collect();
    }
    let md5sums = path.name().ends_with(b".md5sums");
    let lines = content.split(|byte| *byte == b'\n');
    // A .md5sums line is 32 digits, two spaces, the path without its leading slash.
    let names = lines.map(|line| if md5sums { line.get(34..).unwrap_or_default() } else { line });
    names.filter(|name| !name.is_empty() && *name != b"/.").map(RootPath::new).collect()
}
