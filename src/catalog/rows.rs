//! Rows of the catalog's only table.
//!
//! In: a connection or a transaction. Out: records. Never commits.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Result, Row, named_params, params};

use super::{Publication, Record, State};

const SELECT: &str = "
SELECT one.number, one.name, one.version, one.arch, one.description, one.packages, one.artifact, one.digest, one.cloud,
    one.region, one.target, one.id, one.published, one.tool, one.state, other.id
FROM publication AS one LEFT JOIN publication AS other ON other.number = one.replaced_by
";

fn record(row: &Row<'_>) -> Result<Record> {
    let state: String = row.get(14)?;
    let state = State::from_name(&state).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(14, Type::Text, format!("unknown state {state}").into())
    })?;
    Ok(Record {
        number: row.get(0)?,
        publication: Publication {
            name: row.get(1)?,
            version: row.get(2)?,
            arch: row.get(3)?,
            description: row.get(4)?,
            packages: row.get(5)?,
            artifact: row.get(6)?,
            digest: row.get(7)?,
            cloud: row.get(8)?,
            region: row.get(9)?,
            target: row.get(10)?,
            id: row.get(11)?,
            published: row.get(12)?,
            tool: row.get(13)?,
        },
        state,
        replaced_by: row.get(15)?,
    })
}

/// All of them, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<Record>> {
    connection.prepare(&format!("{SELECT} ORDER BY one.number"))?.query_map([], record)?.collect()
}

/// The one with this number.
pub(super) fn numbered(connection: &Connection, number: i64) -> Result<Option<Record>> {
    connection.query_row(&format!("{SELECT} WHERE one.number = ?1"), [number], record).optional()
}

/// What is known of an artifact at a target.
pub(super) fn of(connection: &Connection, target: &str, digest: &str) -> Result<Option<Record>> {
    let query = format!("{SELECT} WHERE one.target = ?1 AND one.digest = ?2");
    connection.query_row(&query, [target, digest], record).optional()
}

/// Adds a candidate; returns its number.
pub(super) fn insert(connection: &Connection, new: &Publication) -> Result<i64> {
    connection.execute(
        "INSERT INTO publication (name, version, arch, description, packages, artifact, digest, cloud, region, target,
            id, published, tool, state)
        VALUES (:name, :version, :arch, :description, :packages, :artifact, :digest, :cloud, :region, :target,
            :id, :published, :tool, 'candidate')",
        named_params! {
            ":name": new.name,
            ":version": new.version,
            ":arch": new.arch,
            ":description": new.description,
            ":packages": new.packages,
            ":artifact": new.artifact,
            ":digest": new.digest,
            ":cloud": new.cloud,
            ":region": new.region,
            ":target": new.target,
            ":id": new.id,
            ":published": new.published,
            ":tool": new.tool,
        },
    )?;
    Ok(connection.last_insert_rowid())
}

/// The same artifact has another id at its target: it was published there anew.
pub(super) fn renew(connection: &Connection, number: i64, new: &Publication) -> Result<()> {
    connection.execute(
        "UPDATE publication SET id = ?2, published = ?3, tool = ?4, state = 'candidate', replaced_by = NULL
        WHERE number = ?1",
        params![number, new.id, new.published, new.tool],
    )?;
    Ok(())
}

/// Deprecates what is current where `by` will be.
pub(super) fn replace_current(connection: &Connection, by: &Record) -> Result<()> {
    let place = &by.publication;
    connection.execute(
        "UPDATE publication SET state = 'deprecated', replaced_by = ?1
        WHERE state = 'current' AND number != ?1 AND name = ?2 AND arch = ?3 AND cloud = ?4 AND region = ?5",
        params![by.number, place.name, place.arch, place.cloud, place.region],
    )?;
    Ok(())
}

/// Another state, in which nothing replaces it.
pub(super) fn set_state(connection: &Connection, number: i64, state: State) -> Result<()> {
    connection.execute(
        "UPDATE publication SET state = ?2, replaced_by = NULL WHERE number = ?1",
        params![number, state.name()],
    )?;
    Ok(())
}

/// Deprecates it; what is known already of its replacement stays where nothing new is said.
pub(super) fn deprecate(connection: &Connection, number: i64, by: Option<i64>) -> Result<()> {
    connection.execute(
        "UPDATE publication SET state = 'deprecated', replaced_by = coalesce(?2, replaced_by) WHERE number = ?1",
        params![number, by],
    )?;
    Ok(())
}
