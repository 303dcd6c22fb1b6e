//! SQLite's write-ahead log, applied (sqlite.org/fileformat2.html, "The Write-Ahead Log").
//!
//! In: a database and its log as two byte strings. Out: one database in rollback mode, which needs neither log nor
//! shared memory beside it. Frames behind the last commit, of an older log or with a wrong checksum are not part of it.

/// Bytes of the log's header.
const HEADER: usize = 32;
/// Bytes before each page in the log.
const FRAME: usize = 24;

/// What was committed to a log.
struct Committed<'a> {
    /// Pages in the order in which they were written: number from 1, content.
    pages: Vec<(usize, &'a [u8])>,
    /// Length of the database after the last commit, in pages.
    length: usize,
    page_size: usize,
}

/// The database with everything that was committed to its log.
pub(super) fn applied(database: &[u8], log: &[u8]) -> Vec<u8> {
    let mut whole = database.to_vec();
    if let Some(committed) = committed(log).filter(|committed| committed.length > 0) {
        whole.resize(committed.length * committed.page_size, 0);
        for (number, content) in committed.pages {
            let at = number.saturating_sub(1) * committed.page_size;
            // A later commit may have made the database shorter again.
            if let Some(page) = whole.get_mut(at..at + content.len()) {
                page.copy_from_slice(content);
            }
        }
    }
    // The versions of the format that writers and readers must know: 2 is with a log, 1 without.
    if let Some(versions) = whole.get_mut(18..20) {
        versions.fill(1);
    }
    whole
}

fn committed(log: &[u8]) -> Option<Committed<'_>> {
    // The last bit of the magic number is the byte order of the checksums.
    let big_endian = match word(log, 0)? {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return None,
    };
    let page_size = word(log, 8)? as usize;
    let mut sum = checksum((0, 0), log.get(..24)?, big_endian);
    if sum != (word(log, 24)?, word(log, 28)?) || !(512..=65536).contains(&page_size) {
        return None;
    }
    let mut committed = Committed { pages: Vec::new(), length: 0, page_size };
    let mut waiting = Vec::new();
    for frame in log[HEADER..].chunks_exact(FRAME + page_size) {
        let (head, content) = frame.split_at(FRAME);
        sum = checksum(checksum(sum, &head[..8], big_endian), content, big_endian);
        // The salt is another one for each log; what an older log left behind does not have it.
        if head[8..16] != log[16..24] || (word(head, 16), word(head, 20)) != (Some(sum.0), Some(sum.1)) {
            break;
        }
        waiting.push((word(head, 0)? as usize, content));
        let length = word(head, 4)? as usize;
        if length > 0 {
            committed.length = length;
            committed.pages.append(&mut waiting);
        }
    }
    Some(committed)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn checksum(start: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let read = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    bytes.chunks_exact(8).fold(start, |(first, second), eight| {
        let first = first.wrapping_add(read(eight)).wrapping_add(second);
        (first, second.wrapping_add(read(&eight[4..])).wrapping_add(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_log_that_nobody_checkpointed_is_part_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a);").unwrap();
        for number in 0..500 {
            writer.execute("INSERT INTO t VALUES (?)", [format!("{number:0>100}")]).unwrap();
        }
        let read = |end: &str| crate::host::file::read(&folder.path().join(format!("a.sqlite{end}"))).unwrap();
        let (database, log) = (read(""), read("-wal"));
        let count = |bytes: &[u8]| {
            let mut copy = Connection::open_in_memory().unwrap();
            copy.deserialize_read_exact("main", bytes, bytes.len(), true).unwrap();
            copy.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).map_err(drop)
        };
        assert_eq!(count(&applied(&database, &[])), Err(()), "everything is in the log");
        assert_eq!(count(&applied(&database, &log)), Ok(500));
        let mut broken = log.clone();
        let middle = log.len() / 2;
        broken[middle] ^= 1;
        let some = count(&applied(&database, &broken)).unwrap();
        assert!(some > 0 && some < 500, "{some}: what follows the damage was never written");
        let damaged = [&log[..40], &[0xff; 3][..]].concat();
        assert_eq!(count(&applied(&database, &damaged)), Err(()));
    }
}
