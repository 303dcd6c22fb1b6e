//! rpm's database in SQLite.
//!
//! In: a database in rollback mode, as bytes. Out: its headers, or a database made anew: packages in the order of their
//! names and numbered from 1, tables in the order of the old one, no free page, no statistics, no log. It stays in
//! rollback mode, so that a reader needs to write nothing beside it; rpm switches to its log when it writes the next
//! time.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, Result as SqlResult};

use super::{Header, damaged};
use crate::error::Result;

/// The table of headers.
const PACKAGES: &str = "Packages";
/// The table whose keys are the time of the transaction, a number in the byte order of the machine.
const INSTALLTID: &str = "Installtid";

pub(super) fn read(database: &[u8]) -> Result<Vec<Header>> {
    let old = open(database).map_err(damaged)?;
    Ok(headers(&old)?.into_iter().map(|(_, header)| header).collect())
}

pub(super) fn normalised(database: &[u8], time: u32) -> Result<Vec<u8>> {
    let old = open(database).map_err(damaged)?;
    let mut headers = headers(&old)?;
    headers.sort_by_cached_key(|(number, header)| (header.identity(), *number));
    copy(&old, &headers, time).map_err(damaged)
}

fn open(database: &[u8]) -> SqlResult<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.deserialize_read_exact("main", database, database.len(), true)?;
    Ok(connection)
}

/// Numbers and headers of all packages.
fn headers(old: &Connection) -> Result<Vec<(i64, Header)>> {
    let rows = || -> SqlResult<Vec<(i64, Vec<u8>)>> {
        let mut select = old.prepare(&format!("SELECT hnum, blob FROM {PACKAGES} ORDER BY hnum"))?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let whole = |(number, blob)| match Header::new(blob) {
        Some(header) => Ok((number, header)),
        None => Err(damaged(format!("the header of package {number} is damaged"))),
    };
    rows().map_err(damaged)?.into_iter().map(whole).collect()
}

/// A row of an index: what is looked up, the package, the place in its header.
type Row = (Value, i64, i64);

fn copy(old: &Connection, headers: &[(i64, Header)], time: u32) -> SqlResult<Vec<u8>> {
    let mut new = Connection::open_in_memory()?;
    for name in ["page_size", "user_version", "application_id"] {
        let value: i64 = old.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
        new.execute_batch(&format!("PRAGMA {name} = {value}"))?;
    }
    let numbers: BTreeMap<i64, i64> = headers.iter().map(|(number, _)| *number).zip(1..).collect();
    let tables = schema(old, "table")?;
    let all = new.transaction()?;
    for (name, sql) in &tables {
        all.execute_batch(sql)?;
        if name == PACKAGES {
            let mut insert = all.prepare(&format!("INSERT INTO {PACKAGES} (hnum, blob) VALUES (?, ?)"))?;
            for (number, header) in headers {
                insert.execute((numbers[number], header.clone().installed_at(time).bytes()))?;
            }
            continue;
        }
        let mut insert = all.prepare(&format!("INSERT INTO '{name}' (key, hnum, idx) VALUES (?, ?, ?)"))?;
        for (key, number, place) in rows(old, name, &numbers)? {
            let key = if name == INSTALLTID { Value::Blob(time.to_ne_bytes().to_vec()) } else { key };
            insert.execute((key, number, place))?;
        }
    }
    for (_, sql) in schema(old, "index")? {
        all.execute_batch(&sql)?;
    }
    all.commit()?;
    new.execute_batch("VACUUM")?;
    Ok(new.serialize("main")?.to_vec())
}

/// Names and statements of all tables, or of all indexes, in the order in which they were made. Those of SQLite itself
/// come by themselves, and its statistics when rpm wants them the next time.
fn schema(old: &Connection, kind: &str) -> SqlResult<Vec<(String, String)>> {
    let mut select = old.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' \
         ESCAPE '\\' ORDER BY rowid",
    )?;
    let rows = select.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// The rows of an index with the new numbers of the packages, in their order. Rows of packages that are gone are left
/// out.
fn rows(old: &Connection, table: &str, numbers: &BTreeMap<i64, i64>) -> SqlResult<Vec<Row>> {
    let mut select = old.prepare(&format!("SELECT key, hnum, idx FROM '{table}' ORDER BY hnum, idx, key, rowid"))?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut rows = rows.collect::<SqlResult<Vec<Row>>>()?;
    rows.retain_mut(|(_, number, _)| match numbers.get(number) {
        Some(new) => {
            *number = *new;
            true
        }
        None => false,
    });
    // Stable: within a package the order stays.
    rows.sort_by_key(|(_, number, place)| (*number, *place));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::package;
    use super::super::{Format, normalised as normalise, read as read_packages};
    use super::*;

    /// A database as rpm lays it out, with packages in this order.
    fn database(packages: &[(&str, u32)], before: &str) -> Vec<u8> {
        let mut made = Connection::open_in_memory().unwrap();
        made.execute_batch(
            "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL);
             CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL);
             CREATE INDEX 'Name_key_idx' ON 'Name'(key ASC);
             CREATE TABLE 'Installtid' (key 'BLOB' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL);",
        )
        .unwrap();
        made.execute_batch(before).unwrap();
        for (name, time) in packages {
            let header = package(name, *time);
            made.execute("INSERT INTO Packages (blob) VALUES (?)", [header.bytes()]).unwrap();
            let number = made.last_insert_rowid();
            made.execute("INSERT INTO Name VALUES (?, ?, 0)", (name, number)).unwrap();
            made.execute("INSERT INTO Installtid VALUES (?, ?, 0)", (time.to_ne_bytes(), number)).unwrap();
        }
        made.serialize("main").unwrap().to_vec()
    }

    #[test]
    fn two_histories_of_the_same_packages_become_the_same_bytes() {
        let one = database(&[("busybox", 70), ("app", 71)], "");
        let noise = "INSERT INTO Packages VALUES (41, x'00'); DELETE FROM Packages; CREATE TABLE x (a); DROP TABLE x;";
        let other = database(&[("app", 5), ("busybox", 5)], noise);
        assert_ne!(one, other);
        let [one, other] = [one, other].map(|bytes| normalise(Format::Sqlite, &bytes, &[], 1000).unwrap());
        assert!(one == other);
        let packages = read_packages(Format::Sqlite, &one, &[]).unwrap();
        assert_eq!(packages, [package("app", 1000), package("busybox", 1000)]);
        let read = open(&one).unwrap();
        let names: String = read.query_row("SELECT group_concat(key || hnum) FROM Name", [], |row| row.get(0)).unwrap();
        assert_eq!(names, "app1,busybox2");
        let tid: Vec<u8> = read.query_row("SELECT DISTINCT key FROM Installtid", [], |row| row.get(0)).unwrap();
        assert_eq!(tid, 1000_u32.to_ne_bytes());
        let next: i64 = read.query_row("SELECT seq FROM sqlite_sequence", [], |row| row.get(0)).unwrap();
        assert_eq!(next, 2, "numbers go on behind the last package");
        assert!(normalise(Format::Sqlite, &one, &[], 1000).unwrap() == one, "once is enough");
    }

    #[test]
    fn a_damaged_database_is_an_error_and_no_empty_one() {
        let good = database(&[("app", 1)], "");
        for bytes in [&good[..100], b"no database at all", b""] {
            let error = normalise(Format::Sqlite, bytes, &[], 1).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::Io, "{}", error.text());
        }
        let cut = database(&[], "INSERT INTO Packages (blob) VALUES (x'0000');");
        assert!(read(&cut).unwrap_err().text().contains("header of package 1 is damaged"));
    }
}
