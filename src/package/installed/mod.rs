//! What is installed in a tree, whatever kind of packages it has.
//!
//! In: a tree, or the files of its package database. Out: [`Installed`] packages, and the paths that packages own. Never
//! starts a program: the image may have no package manager any more, and the host's may be another one.

mod dpkg;
mod pacman;

use super::database;
use super::deb822::Stanza;
use super::rpmdb::{self, Format, Header};
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
    Dpkg(Box<Stanza>),
    Rpm(Box<Header>),
    Pacman(Box<pacman::Local>),
}

/// Whose packages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Debian and its derivatives.
    Dpkg,
    /// SUSE, Fedora, Red Hat and their derivatives.
    Rpm,
    /// Arch Linux and its derivatives.
    Pacman,
}

/// A file as its package brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippedFile {
    /// Where it is.
    pub path: RootPath,
    /// What its content was.
    pub digest: Digest,
    /// Whether it is there to be changed.
    pub configuration: bool,
}

/// A digest of a file's content in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// dpkg's, and that of old rpms.
    Md5(String),
    /// rpm's and pacman's.
    Sha256(String),
    /// rpm's, where it was built so.
    Sha512(String),
}

/// Every package of the tree, those of each family sorted by name; none where it has no package database. Keys that rpm
/// trusts are no packages.
pub fn read(tree: &Rooted) -> Result<Vec<Installed>> {
    let stanzas = database::status(tree)?.into_iter().filter(database::is_installed);
    let mut found: Vec<Installed> = stanzas.map(of_stanza).collect();
    found.extend(rpmdb::installed(tree)?.into_iter().filter(|header| !header.is_key()).map(of_header));
    found.extend(pacman::read(tree)?.into_iter().map(of_local));
    Ok(found)
}

fn of_stanza(stanza: Stanza) -> Installed {
    let [name, version, arch] = ["Package", "Version", "Architecture"].map(|field| stanza.text(field).to_string());
    Installed { name, version, arch, entry: Entry::Dpkg(Box::new(stanza)) }
}

fn of_header(header: Header) -> Installed {
    let (name, version, arch) = header.identity();
    Installed { name, version, arch, entry: Entry::Rpm(Box::new(header)) }
}

fn of_local(local: pacman::Local) -> Installed {
    let [name, version, arch] = ["NAME", "VERSION", "ARCH"].map(|field| local.text(field).to_string());
    Installed { name, version, arch, entry: Entry::Pacman(Box::new(local)) }
}

impl Installed {
    /// Whose package it is.
    pub fn family(&self) -> Family {
        match &self.entry {
            Entry::Dpkg(_) => Family::Dpkg,
            Entry::Rpm(_) => Family::Rpm,
            Entry::Pacman(_) => Family::Pacman,
        }
    }

    /// Its stanza, where it is dpkg's.
    pub fn stanza(&self) -> Option<&Stanza> {
        match &self.entry {
            Entry::Dpkg(stanza) => Some(stanza),
            Entry::Rpm(_) | Entry::Pacman(_) => None,
        }
    }

    /// KIWI's line of it in `STEM.packages`: name, epoch, version, release, architecture, disturl, licence.
    pub fn line(&self) -> String {
        let Installed { name, version, arch, entry } = self;
        match entry {
            Entry::Dpkg(_) => format!("{name}|None|{version}|None|{arch}|None|None\n"),
            Entry::Rpm(header) => {
                let or_none = |text: String| if text.is_empty() { "(none)".to_string() } else { text };
                let epoch = or_none(header.epoch().map(|epoch| epoch.to_string()).unwrap_or_default());
                let (version, release) = (header.plain_version(), header.release());
                let (url, licence) = (or_none(header.dist_url()), or_none(header.licence()));
                format!("{name}|{epoch}|{version}|{release}|{}|{url}|{licence}\n", or_none(header.arch()))
            }
            Entry::Pacman(_) => {
                let (version, release) = version.split_once('-').unwrap_or((version, ""));
                format!("{name}|None|{version}|{release}|None|None|None\n")
            }
        }
    }

    /// The licence, where the database knows it.
    pub fn licence(&self) -> Option<String> {
        let licence = match &self.entry {
            Entry::Dpkg(_) => return None,
            Entry::Rpm(header) => header.licence(),
            Entry::Pacman(local) => local.words("LICENSE").join(" AND "),
        };
        Some(licence).filter(|licence| !licence.is_empty())
    }

    /// The file that tells the licence, where the database does not know it.
    pub fn copyright(&self) -> Option<RootPath> {
        match &self.entry {
            Entry::Dpkg(_) => Some(RootPath::new(format!("/usr/share/doc/{}/copyright", self.name))),
            Entry::Rpm(_) | Entry::Pacman(_) => None,
        }
    }

    /// Name and version of what it was built from.
    pub fn source(&self) -> (String, String) {
        match &self.entry {
            Entry::Dpkg(stanza) => dpkg::source(stanza),
            Entry::Rpm(header) => {
                let file = header.source();
                let stem = [".nosrc.rpm", ".src.rpm"].into_iter().find_map(|end| file.strip_suffix(end));
                let mut parts = stem.unwrap_or_default().rsplitn(3, '-');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(release), Some(version), Some(name)) => (name.to_string(), format!("{version}-{release}")),
                    _ => (self.name.clone(), self.version.clone()),
                }
            }
            Entry::Pacman(local) => {
                let base = local.text("BASE");
                (if base.is_empty() { self.name.clone() } else { base.to_string() }, self.version.clone())
            }
        }
    }

    /// One line about it; empty where there is none.
    pub fn summary(&self) -> String {
        match &self.entry {
            Entry::Dpkg(stanza) => stanza.text("Description").lines().next().unwrap_or_default().to_string(),
            Entry::Rpm(header) => header.summary(),
            Entry::Pacman(local) => local.text("DESC").to_string(),
        }
    }

    /// Its home page; empty where there is none.
    pub fn home_page(&self) -> String {
        match &self.entry {
            Entry::Dpkg(stanza) => stanza.text("Homepage").to_string(),
            Entry::Rpm(header) => header.url(),
            Entry::Pacman(local) => local.text("URL").to_string(),
        }
    }

    /// Who made the package; empty where it does not say.
    pub fn supplier(&self) -> String {
        match &self.entry {
            Entry::Dpkg(stanza) => stanza.text("Maintainer").to_string(),
            Entry::Rpm(header) => header.vendor(),
            Entry::Pacman(local) => local.text("PACKAGER").to_string(),
        }
    }

    /// Every path that it owns, as the package names it.
    pub fn paths(&self, tree: &Rooted) -> Result<Vec<RootPath>> {
        match &self.entry {
            Entry::Dpkg(stanza) => database::files(tree, stanza),
            Entry::Rpm(header) => Ok(header.files().into_iter().map(|file| file.path).collect()),
            Entry::Pacman(local) => local.paths(tree),
        }
    }

    /// Its regular files with their digests, configuration files among them.
    pub fn files(&self, tree: &Rooted) -> Result<Vec<ShippedFile>> {
        match &self.entry {
            Entry::Dpkg(stanza) => dpkg::files(stanza, tree),
            Entry::Rpm(header) => Ok(header.shipped().into_iter().filter_map(of_shipped).collect()),
            Entry::Pacman(local) => local.files(tree),
        }
    }

    /// What changed between its versions.
    pub fn changelog(&self, tree: &Rooted) -> Result<Option<Changelog>> {
        match &self.entry {
            Entry::Dpkg(_) => dpkg::changelog(&self.name, tree),
            Entry::Rpm(header) => {
                Ok(Some(header.changelog()).filter(|text| !text.is_empty()).map(|text| Changelog::Plain(text.into())))
            }
            Entry::Pacman(local) => local.changelog(tree),
        }
    }
}

/// A file whose digest is of a kind that can be compared; rpm names the others among what it supports and uses none.
fn of_shipped(shipped: rpmdb::Shipped) -> Option<ShippedFile> {
    let digest = match shipped.algorithm {
        1 => Digest::Md5(shipped.digest),
        8 => Digest::Sha256(shipped.digest),
        10 => Digest::Sha512(shipped.digest),
        _ => return None,
    };
    Some(ShippedFile { path: shipped.path, digest, configuration: shipped.is_configuration })
}

/// The changelog of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changelog {
    /// Packed with gzip.
    Gzip(Vec<u8>),
    /// As it is.
    Plain(Vec<u8>),
}

/// Whether a path is part of a package database: what a package manager must see to know what is installed.
pub fn is_database(path: &RootPath) -> bool {
    let log = path.as_bytes().strip_suffix(b"-wal").map(RootPath::new);
    let of_dpkg = ["/var/lib/dpkg/status", "/var/lib/apt/extended_states"].map(RootPath::from).contains(path);
    of_dpkg
        || [Some(path.clone()), log].into_iter().flatten().any(|path| Format::of(&path).is_some())
        || path.is_below(&pacman::LOCAL.into())
        || rpmdb::is_berkeley(path)
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

/// The packages that such a file describes, each with the regular files that it brought; where another file beside it
/// says the same, none.
pub fn brought(path: &RootPath, content: &[u8]) -> Vec<(String, Vec<RootPath>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(format) = Format::of(path) {
        let headers = rpmdb::read(format, content, &[]).unwrap_or_default();
        let files = |header: &Header| header.shipped().into_iter().map(|file| file.path).collect();
        return headers.iter().map(|header| (header.name(), files(header))).collect();
    }
    if is_pacman_list(path) {
        let lines = content.split(|byte| *byte == b'\n').skip_while(|line| *line != b"%FILES%").skip(1);
        let lines = lines.take_while(|line| !line.is_empty()).filter(|line| !line.ends_with(b"/"));
        return vec![(text(path.parent().name()), lines.map(RootPath::new).collect())];
    }
    match path.name().strip_suffix(b".md5sums") {
        Some(name) => vec![(text(name), owned_paths(path, content))],
        None => Vec::new(),
    }
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
