//! Which solver of this host decides: another one may decide something else.
//!
//! In: the program, and the names of the libraries and folders of code that decide for it. Out: a line for each of their
//! files, with its length and the time of its last change. Never starts the program; nothing where a library is not found
//! in the usual folders, so that what it decides is not remembered.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::Result;
use crate::host::file;

/// A solver, in parts.
#[derive(Clone, Copy, Debug)]
pub struct HostSolver<'a> {
    /// The program, by its path.
    pub program: &'a str,
    /// Beginnings of the names of its shared libraries: `libsolv.so`.
    pub libraries: &'a [&'a str],
    /// Its modules for Python.
    pub modules: &'a [&'a str],
}

impl HostSolver<'_> {
    /// All its parts that are on this host; `None` where one is not found.
    pub fn identity(&self) -> Result<Option<String>> {
        let mut lines = Vec::new();
        lines.extend(line(Path::new(self.program)));
        if lines.is_empty() {
            return Ok(None);
        }
        let folders = library_folders()?;
        for library in self.libraries {
            let before = lines.len();
            for folder in &folders {
                lines.extend(files(folder, library)?);
            }
            if lines.len() == before {
                return Ok(None);
            }
        }
        let folders = module_folders(&folders)?;
        for module in self.modules {
            let before = lines.len();
            for folder in folders.iter().map(|folder| folder.join(module)).filter(|folder| file::is_folder(folder)) {
                lines.extend(files(&folder, "")?);
            }
            if lines.len() == before {
                return Ok(None);
            }
        }
        Ok(Some(lines.join("\n")))
    }
}

/// The usual folders of a distribution, those for one kind of machine among them.
fn library_folders() -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = ["/usr/lib64", "/usr/lib"].map(PathBuf::from).into();
    folders.retain(|folder| file::is_folder(folder));
    for name in names(Path::new("/usr/lib"))? {
        if name.contains("-linux-gnu") || name.contains("-linux-musl") {
            folders.push(Path::new("/usr/lib").join(name));
        }
    }
    Ok(folders)
}

fn module_folders(libraries: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in libraries {
        for name in names(folder)?.into_iter().filter(|name| name.starts_with("python3")) {
            found.extend(["site-packages", "dist-packages"].map(|packages| folder.join(&name).join(packages)));
        }
    }
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    if !file::is_folder(folder) {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> = file::names(folder)?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The files in a folder whose names begin so.
fn files(folder: &Path, start: &str) -> Result<Vec<String>> {
    let names = names(folder)?.into_iter().filter(|name| name.starts_with(start));
    Ok(names.filter_map(|name| line(&folder.join(name))).collect())
}

fn line(path: &Path) -> Option<String> {
    let metadata = file::metadata(path).filter(std::fs::Metadata::is_file)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(format!("{} {} {}", path.display(), metadata.len(), changed.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solver_is_known_by_all_its_parts() {
        let shell = HostSolver { program: "/bin/sh", libraries: &["libc.so"], modules: &[] };
        let identity = shell.identity().unwrap().unwrap();
        assert!(identity.contains("/bin/sh ") && identity.contains("/libc.so"), "{identity}");
        for missing in [
            HostSolver { program: "/nowhere", ..shell },
            HostSolver { libraries: &["libc.so", "libnowhere.so"], ..shell },
            HostSolver { modules: &["nowhere"], ..shell },
        ] {
            assert_eq!(missing.identity().unwrap(), None);
        }
    }
}
