//! The catalog's file.
//!
//! In: a path. Out: records, each change in one transaction. Several processes may write: SQLite lets one at a time,
//! the others wait. Never makes a file in order to read it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::rows;
use super::{Filter, Publication, Record, State, only};
use crate::error::{Error, Exit, Result};
use crate::host::file;

/// Marks the file as ours (`PRAGMA application_id`): "ingt".
const APPLICATION: i64 = 0x696e_6774;
/// Version of the tables (`PRAGMA user_version`).
const VERSION: i64 = 1;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(30);

/// What helps where the file cannot be read.
const DAMAGED: &str = "take it from a backup, or move it away: `ingot publish` finds what is published and records it";

const TABLES: &str = "
CREATE TABLE publication (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    arch TEXT NOT NULL,
    description TEXT NOT NULL,
    packages TEXT NOT NULL,
    artifact TEXT NOT NULL,
    digest TEXT NOT NULL,
    cloud TEXT NOT NULL,
    region TEXT NOT NULL,
    target TEXT NOT NULL,
    id TEXT NOT NULL,
    published INTEGER NOT NULL,
    tool TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('candidate', 'tested', 'current', 'deprecated')),
    replaced_by INTEGER REFERENCES publication,
    UNIQUE (target, digest)
) STRICT;
CREATE UNIQUE INDEX one_current ON publication (name, arch, cloud, region) WHERE state = 'current';
";

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    path: PathBuf,
    connection: Connection,
}

impl Catalog {
    /// Opens it to write; makes it, and the folders above it, where there is none. 78 where the file is no catalog or
    /// a newer ingot made it.
    pub fn open_or_create(path: &Path) -> Result<Catalog> {
        if let Some(folder) = path.parent() {
            file::create_folders(folder)?;
        }
        let mut catalog = Catalog::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        catalog.prepare()?;
        Ok(catalog)
    }

    /// Opens one that exists, and never makes one of an empty file; 66 where there is none.
    pub fn open(path: &Path) -> Result<Catalog> {
        if !file::is_file(path) {
            return Err(Error::cannot(Exit::InputMissing, format!("read the catalog {}", path.display()))
                .because("there is no such file")
                .hint("`ingot publish` makes it; --catalog names another one"));
        }
        let catalog = Catalog::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        match catalog.contents()? {
            Contents::Tables => Ok(catalog),
            Contents::Nothing => Err(Error::cannot(Exit::InputMissing, format!("read the catalog {}", path.display()))
                .because("the file is empty")
                .hint("`ingot publish` makes a catalog of it; --catalog names another one")),
        }
    }

    /// Sees whether a publication can be recorded, before one is made: 77 where the file is read-only, 76 where it is
    /// damaged.
    pub fn ready(&mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| wrong(&path, "write", &error);
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let said = change.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)).map_err(failed)?;
        if said != "ok" {
            let error = Error::cannot(Exit::Integrity, format!("write the catalog {}", path.display())).because(said);
            return Err(error.hint(DAMAGED));
        }
        change.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        change.rollback().map_err(failed)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Catalog> {
        let open = || {
            let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| wrong(path, "open", &error))?;
        Ok(Catalog { path: path.to_path_buf(), connection })
    }

    /// Makes the tables of a new file; refuses what is not ours.
    fn prepare(&mut self) -> Result<()> {
        // Who only reads takes no lock to write.
        if self.contents()? == Contents::Tables {
            return Ok(());
        }
        self.change("open", |change| {
            let contents = match contents(change)? {
                Ok(contents) => contents,
                Err(error) => return Ok(Err(error)),
            };
            if contents == Contents::Nothing {
                change.execute_batch(TABLES)?;
                change.pragma_update(None, "application_id", APPLICATION)?;
                change.pragma_update(None, "user_version", VERSION)?;
            }
            Ok(Ok(()))
        })
    }

    fn contents(&self) -> Result<Contents> {
        // One look: another process may be making the tables.
        let look = || contents(&*self.connection.unchecked_transaction()?);
        let contents = look().map_err(|error| wrong(&self.path, "read", &error))?;
        contents.map_err(|error| error.because(self.path.display()))
    }

    /// Records a publication as a candidate. What is recorded already (the same artifact at the same target) stays as
    /// it is, unless its id is another one: then the image was made anew there, and is a candidate again.
    pub fn record(&mut self, publication: &Publication) -> Result<Record> {
        self.change("write", |change| {
            let earlier = rows::of(change, &publication.target, &publication.digest)?;
            let number = match earlier {
                Some(earlier) if earlier.publication.id == publication.id => earlier.number,
                Some(earlier) => {
                    rows::renew(change, earlier.number, publication)?;
                    earlier.number
                }
                None => rows::insert(change, publication)?,
            };
            Ok(rows::numbered(change, number)?.ok_or_else(|| lost(number)))
        })
    }

    /// What is recorded of an artifact at a target.
    pub fn find(&self, target: &str, digest: &str) -> Result<Option<Record>> {
        rows::of(&self.connection, target, digest).map_err(|error| wrong(&self.path, "read", &error))
    }

    /// The records that are meant, oldest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Record>> {
        let all = rows::all(&self.connection).map_err(|error| wrong(&self.path, "read", &error))?;
        Ok(all.into_iter().filter(|record| filter.takes(record)).collect())
    }

    /// Gives the one record that is meant another state. What was current in its place until then is deprecated, and
    /// replaced by it.
    pub fn promote(&mut self, filter: &Filter, to: Option<State>) -> Result<Record> {
        self.change("write", |change| {
            let meant = rows::all(change)?.into_iter().filter(|record| filter.takes(record)).collect();
            let record = match only(meant, "promote a publication") {
                Ok(record) => record,
                Err(error) => return Ok(Err(error)),
            };
            let to = match (to, record.state) {
                (Some(to), _) => to,
                (None, State::Candidate) => State::Tested,
                (None, State::Tested | State::Current) => State::Current,
                (None, State::Deprecated) => {
                    return Ok(Err(Error::cannot(Exit::Usage, format!("promote {}", record.publication.id))
                        .because("it is deprecated")
                        .hint("--to candidate, tested or current takes it back")));
                }
            };
            if to == State::Current {
                rows::replace_current(change, &record)?;
            }
            rows::set_state(change, record.number, to)?;
            Ok(rows::numbered(change, record.number)?.ok_or_else(|| lost(record.number)))
        })
    }

    /// Deprecates the records that are meant; `by` is the id of what replaces them. 66 where there is none.
    pub fn deprecate(&mut self, filter: &Filter, by: Option<&str>) -> Result<Vec<Record>> {
        self.change("write", |change| {
            let all = rows::all(change)?;
            let by = match by.map(|id| all.iter().find(|record| record.publication.id == id).ok_or(id)) {
                Some(Err(id)) => {
                    return Ok(Err(Error::cannot(Exit::InputMissing, format!("deprecate in favour of {id}"))
                        .because("the catalog has no such publication")));
                }
                Some(Ok(record)) => Some(record.number),
                None => None,
            };
            let meant: Vec<&Record> = all.iter().filter(|record| filter.takes(record)).collect();
            if let ([one], Some(by)) = (&meant[..], by)
                && one.number == by
            {
                let id = &one.publication.id;
                return Ok(Err(Error::cannot(Exit::Usage, format!("deprecate {id}"))
                    .because("it would be replaced by itself")
                    .hint("--replaced-by names another publication")));
            }
            if meant.is_empty() {
                return Ok(Err(Error::cannot(Exit::InputMissing, "deprecate a publication")
                    .because("the catalog has no such publication")));
            }
            for record in &meant {
                rows::deprecate(change, record.number, by.filter(|by| *by != record.number))?;
            }
            let numbers: Vec<i64> = meant.iter().map(|record| record.number).collect();
            Ok(Ok(rows::all(change)?.into_iter().filter(|record| numbers.contains(&record.number)).collect()))
        })
    }

    /// One transaction, which begins as a writer, so that two of them never wait for each other. An error undoes it.
    fn change<T>(
        &mut self,
        verb: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| wrong(&path, verb, &error);
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = work(&change).map_err(failed)?.map_err(|error| error.because(path.display()))?;
        change.commit().map_err(failed)?;
        Ok(done)
    }
}

/// What a file that can be used holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// It is new.
    Nothing,
    /// Our tables.
    Tables,
}

/// 78 where it is another program's, or of a newer ingot.
fn contents(connection: &Connection) -> rusqlite::Result<Result<Contents>> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let cannot = |why: &str| Error::cannot(Exit::Configuration, "use the catalog").because(why);
    Ok(match (tables, number("application_id")?, number("user_version")?) {
        (0, 0, 0) => Ok(Contents::Nothing),
        (_, APPLICATION, VERSION) => Ok(Contents::Tables),
        (_, APPLICATION, version) => {
            let why = format!("its tables have version {version}, and this ingot knows version {VERSION}");
            Err(cannot(&why).hint("use the ingot that wrote it; it is not changed"))
        }
        _ => Err(cannot("it is a database of another program")),
    })
}

fn lost(number: i64) -> Error {
    Error::cannot(Exit::Bug, format!("find record {number}, which was just written"))
}

/// What SQLite says, with our exit code.
fn wrong(path: &Path, verb: &str, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let exit = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Exit::Temporary,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Exit::Permission,
        Some(ErrorCode::NotADatabase) => Exit::Configuration,
        Some(ErrorCode::CannotOpen) => Exit::CannotCreate,
        Some(ErrorCode::DatabaseCorrupt) => Exit::Integrity,
        _ => Exit::Io,
    };
    let shown = Error::cannot(exit, format!("{verb} the catalog {}", path.display())).because(error);
    match exit {
        Exit::Configuration | Exit::Integrity => shown.hint(DAMAGED),
        Exit::Permission | Exit::CannotCreate => shown.hint("--catalog FILE or INGOT_CATALOG names another one"),
        _ => shown,
    }
}
