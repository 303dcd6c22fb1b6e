//! rpm's database, read and written without rpm: what is installed, which files it owns, and the same bytes each time.
//!
//! In: the files of a database as they lie in an image. Out: the headers of its packages, and a database that holds the
//! same packages but nothing of the build: no times, no order of installation, no free pages, no log that is not yet
//! applied. Two formats are known: sqlite (`rpmdb.sqlite`) and ndb (`Packages.db`); rpm 4.20's documentation calls
//! everything else read-only or gone. Never runs a program, so that an image without rpm is read as well.

mod header;
mod ndb;
mod sqlite;
mod wal;

pub use header::{File, Header, Shipped};

use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};

/// Folders that may hold the database: `/usr/lib/sysimage/rpm` (SUSE, Fedora) and `/var/lib/rpm` (the older place, and
/// on many systems a symlink to the newer one).
pub const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// The form of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `rpmdb.sqlite`.
    Sqlite,
    /// `Packages.db`, beside `Index.db`, which rpm makes again where it is missing.
    Ndb,
}

impl Format {
    /// The file that holds the packages.
    pub fn file(self) -> &'static str {
        match self {
            Format::Sqlite => "rpmdb.sqlite",
            Format::Ndb => "Packages.db",
        }
    }

    /// The format of a file with this path in an image; `None` for everything that is no rpm database.
    pub fn of(path: &RootPath) -> Option<Format> {
        let folder = path.parent();
        if !FOLDERS.iter().any(|known| folder.as_bytes() == known.as_bytes()) {
            return None;
        }
        [Format::Sqlite, Format::Ndb].into_iter().find(|format| path.name() == format.file().as_bytes())
    }
}

/// Whether it is a database of rpm 4.16 and older in Berkeley DB, which nobody reads here.
pub fn is_berkeley(path: &RootPath) -> bool {
    let folder = path.parent();
    path.name() == b"Packages" && FOLDERS.iter().any(|known| folder.as_bytes() == known.as_bytes())
}

/// Databases in a tree: usually one or none. A symlinked folder counts once, where it leads to.
pub fn find(tree: &Rooted) -> Result<Vec<(RootPath, Format)>> {
    let mut found = Vec::new();
    for folder in FOLDERS.map(RootPath::from) {
        if !tree.entry(&folder)?.is_some_and(|entry| entry.is_folder()) {
            continue;
        }
        for format in [Format::Sqlite, Format::Ndb] {
            let path = folder.join(format.file());
            if tree.entry(&path)?.is_some_and(|entry| entry.is_file()) {
                found.push((path, format));
            }
        }
    }
    Ok(found)
}

/// The packages of all databases in a tree, sorted by name, version and architecture.
pub fn installed(tree: &Rooted) -> Result<Vec<Header>> {
    let mut headers = Vec::new();
    for (path, format) in find(tree)? {
        let log = read_log(tree, &path)?;
        let read = read(format, &tree.read(&path)?, &log);
        headers.extend(read.map_err(|error| error.within(format!("read {path} in the image")))?);
    }
    headers.sort_by_cached_key(Header::identity);
    Ok(headers)
}

/// The write-ahead log beside a database; empty where there is none.
pub fn read_log(tree: &Rooted, database: &RootPath) -> Result<Vec<u8>> {
    Ok(tree.read_if_there(&log_of(database))?.unwrap_or_default())
}

/// Where SQLite keeps the log of a database.
pub fn log_of(database: &RootPath) -> RootPath {
    RootPath::new([database.as_bytes(), b"-wal"].concat())
}

/// The packages in a database, in its own order. `log` is the write-ahead log of an sqlite database, which is part of
/// it until it is checkpointed. 74 for what is damaged.
pub fn read(format: Format, database: &[u8], log: &[u8]) -> Result<Vec<Header>> {
    match format {
        Format::Sqlite => sqlite::read(&wal::applied(database, log)),
        Format::Ndb => Ok(ndb::read(database)?),
    }
}

/// The same packages in a database that was installed at `epoch`, in the order of their names; seconds since 1970.
pub fn normalised(format: Format, database: &[u8], log: &[u8], epoch: i64) -> Result<Vec<u8>> {
    let time = u32::try_from(epoch).map_err(|_| {
        Error::cannot(Exit::Description, format!("date an rpm database {epoch}"))
            .because("rpm counts the seconds from 1970 to 2106")
    })?;
    match format {
        Format::Sqlite => sqlite::normalised(&wal::applied(database, log), time),
        Format::Ndb => ndb::normalised(database, time),
    }
}

/// A database of rpm's own format, `Packages.db`, with these packages in this order; many builds of rpm only know SQLite.
pub fn ndb(packages: Vec<Header>) -> Result<Vec<u8>> {
    ndb::written(packages)
}

/// 74: what is no database, or only the first half of one.
fn damaged(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Io, "read an rpm database").because(why)
}
