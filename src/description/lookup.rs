//! Finding the description's file, and what lies beside it.
//!
//! In: what the user named. Out: the text, and a [`Beside`]. Never reads more than [`LARGEST`] bytes of a description.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::markup::Language;
use super::problem::{Problem, Problems};
use super::source::{Source, Span};
use crate::host::file;

/// A description may have so many bytes; published ones have some ten thousand.
pub const LARGEST: u64 = 8 << 20;

/// Scripts that KIWI knows, by file name.
pub const SCRIPTS: &[&str] = &["post_bootstrap.sh", "config.sh", "images.sh", "pre_disk_sync.sh", "disk.sh"];

/// Hooks of what is not built here, by file name: of containers that hold a difference only, and of live media.
pub const HOOKS_OF_OTHERS: &[&str] = &[
    "config-overlay.sh",
    "config-host-overlay.sh",
    "config-cdroot.tar",
    "config-cdroot.tar.gz",
    "config-cdroot.tar.xz",
];

/// Overlays packed in one file, in the order in which they are looked for.
const ROOT_TARBALLS: &[&str] = &["root.tar", "root.tar.gz", "root.tar.xz", "root.tar.zst"];

/// What lies beside the description's file. All paths are absolute.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The folder of the file.
    pub folder: PathBuf,
    /// `root/`.
    pub root: Option<PathBuf>,
    /// `root.tar`, `.gz`, `.xz`, `.zst`; only where there is no `root/`.
    pub root_tarball: Option<PathBuf>,
    /// Folders named after profiles.
    pub profiles: BTreeMap<String, PathBuf>,
    /// Scripts by name.
    pub scripts: BTreeMap<String, PathBuf>,
    /// Scripts that `editbootconfig` of a type names, by that name.
    pub boot_scripts: BTreeMap<String, PathBuf>,
    /// Those of [`HOOKS_OF_OTHERS`] that are there, in that order.
    pub hooks_of_others: Vec<&'static str>,
    /// `rootfs-overlays/NAME` that the description names, here or in a folder above.
    pub overlays: BTreeMap<String, PathBuf>,
}

impl Beside {
    /// Looks around in `folder`. `profiles` and `overlays` are the names that the description uses.
    pub fn find<'a>(
        folder: &Path,
        profiles: impl Iterator<Item = &'a str>,
        overlays: impl Iterator<Item = &'a str>,
    ) -> Beside {
        let folder = file::canonical(folder).unwrap_or_else(|_| folder.to_path_buf());
        let is_folder = |path: PathBuf| file::is_folder(&path).then_some(path);
        let is_file = |path: PathBuf| file::is_file(&path).then_some(path);
        let root = is_folder(folder.join("root"));
        let root_tarball = match root {
            Some(_) => None,
            None => ROOT_TARBALLS.iter().find_map(|name| is_file(folder.join(name))),
        };
        let named = |name: &&str| *name != "root" && is_plain(name);
        let profiles =
            profiles.filter(named).filter_map(|name| Some((name.to_string(), is_folder(folder.join(name))?))).collect();
        let scripts = SCRIPTS.iter().filter_map(|name| Some((name.to_string(), is_file(folder.join(name))?))).collect();
        let hooks_of_others =
            HOOKS_OF_OTHERS.iter().copied().filter(|name| file::is_file(&folder.join(name))).collect();
        let overlay =
            |name: &str| folder.ancestors().find_map(|above| is_folder(above.join("rootfs-overlays").join(name)));
        let overlays = overlays
            .filter(|name| is_plain(name))
            .filter_map(|name| Some((name.to_string(), overlay(name)?)))
            .collect();
        let boot_scripts = BTreeMap::new();
        Beside { root, root_tarball, profiles, scripts, boot_scripts, hooks_of_others, overlays, folder }
    }
}

/// One name without folders.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// What a name in a description means as a path.
pub enum Local {
    /// A path; not known whether there is something.
    Path(PathBuf),
    /// It leaves the description's folder by `..`.
    Outside,
}

/// Resolves a relative name against the description's folder; absolute ones stay. `this://` is the folder.
pub fn local(folder: &Path, name: &str) -> Local {
    let name = name.strip_prefix("this://").map_or(name, |rest| rest.trim_start_matches('/'));
    let path = Path::new(name);
    let mut depth = 0;
    for part in path.components() {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        if depth < 0 {
            return Local::Outside;
        }
    }
    Local::Path(folder.join(path))
}

/// The folder that a file stands in.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Finds the description's file in a folder (or takes the file) and reads it.
pub fn read(path: &Path) -> Result<(PathBuf, Arc<Source>), Problems> {
    let file = find(path)?;
    let source = read_file(&file)?;
    Ok((file, source))
}

fn find(path: &Path) -> Result<PathBuf, Problem> {
    let shown = path.display();
    if file::is_file(path) {
        return Ok(path.to_path_buf());
    }
    if !file::is_folder(path) {
        return Err(match file::metadata(path) {
            Some(_) => Problem::missing(format!("{shown} is neither a file nor a folder")),
            None => Problem::missing(format!("there is no {shown}"))
                .hint("name a folder that holds a config.xml or a *.kiwi, or such a file"),
        });
    }
    for name in ["config.xml", "image/config.xml"] {
        if file::is_file(&path.join(name)) {
            return Ok(path.join(name));
        }
    }
    let names = file::names(path).map_err(|error| Problem::missing(error.to_string()))?;
    let extension = |name: &std::ffi::OsString, wanted: &str| Path::new(name).extension().is_some_and(|e| e == wanted);
    if let Some(name) = names.iter().find(|name| extension(name, "kiwi") && file::is_file(&path.join(name))) {
        return Ok(path.join(name));
    }
    let other = names.iter().find(|name| ["yaml", "yml", "toml", "json"].iter().any(|wanted| extension(name, wanted)));
    Err(match other {
        Some(name) => Problem::missing(format!("{shown} holds no config.xml and no *.kiwi"))
            .hint(format!("KIWI looks for no other names: name the file itself, {}", path.join(name).display())),
        None => Problem::missing(format!("{shown} holds no description"))
            .hint("a description is called config.xml, image/config.xml or *.kiwi"),
    })
}

/// Reads a description's file: UTF-8, not too large, by its looks in a language that descriptions are written in.
pub fn read_file(path: &Path) -> Result<Arc<Source>, Problem> {
    let shown = path.display();
    match file::metadata(path) {
        Some(metadata) if metadata.len() > LARGEST => {
            return Err(Problem::invalid(format!("{shown} is larger than {} MB", LARGEST >> 20)));
        }
        Some(metadata) if metadata.is_file() => {}
        _ => return Err(Problem::missing(format!("there is no file {shown}"))),
    }
    let bytes = file::read(path).map_err(|error| Problem::missing(error.to_string()))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Source::new(path, text);
            return Err(Problem::invalid("not UTF-8").at(&Span::new(&source, at, at + 3)).label("this byte"));
        }
    };
    if Language::of(&text).is_none() {
        // Nothing of it is shown: what is no description may be any file of the host.
        return Err(Problem::invalid(format!("{shown} is no description in XML, YAML, TOML or JSON")));
    }
    Ok(Source::new(path, text))
}
