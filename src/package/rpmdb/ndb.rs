//! rpm's own database format, `Packages.db`: a table of slots, and a blob for each header (librpm's ndb backend).
//!
//! In: the file's bytes. Out: its headers, or a file made anew, whose blobs lie one behind the other in the order of
//! their packages' names, with one date. `Index.db` beside it is made from this file: it belongs to another one then,
//! and rpm makes it again.
//!
//! All numbers are little-endian. The file starts with 32 bytes of header (magic, version, generation, pages of slots,
//! number of the next package), followed by slots of 16 bytes up to the end of a page. Offsets count blocks of 16 bytes.

use super::{Header, damaged};
use crate::error::Result;

const PAGE: usize = 4096;
const BLOCK: usize = 16;
const FILE_HEADER: usize = 32;
const BLOB_HEAD: usize = 16;
const BLOB_TAIL: usize = 12;

pub(super) fn read(database: &[u8]) -> Result<Vec<Header>> {
    Ok(blobs(database)?.into_iter().map(|(_, header)| header).collect())
}

pub(super) fn normalised(database: &[u8], time: u32) -> Result<Vec<u8>> {
    let mut packages = blobs(database)?;
    packages.sort_by_cached_key(|(number, header)| (header.identity(), *number));
    written(packages.into_iter().map(|(_, header)| header.installed_at(time)).collect())
}

/// A file of these packages, in this order.
pub(super) fn written(packages: Vec<Header>) -> Result<Vec<u8>> {
    let pages = (FILE_HEADER + packages.len() * 16).div_ceil(PAGE).max(1);
    let number = |count: usize| u32::try_from(count).map_err(|_| damaged("it is longer than its numbers can say"));
    let count = number(packages.len())?;
    let mut file = Vec::new();
    file.extend(b"RpmP");
    // Each change adds one to the generation: as many as packages, and the one that made the file.
    for word in [0, count + 1, number(pages)?, count + 1] {
        file.extend(word.to_le_bytes());
    }
    file.resize(FILE_HEADER, 0);
    let mut blobs = Vec::new();
    for (index, header) in (1_u32..).zip(packages) {
        let blob = blob(index, &header, header.installed());
        let at = (pages * PAGE + blobs.len()) / BLOCK;
        file.extend(slot(index, number(at)?, number(blob.len() / BLOCK)?));
        blobs.extend(blob);
    }
    while file.len() < pages * PAGE {
        file.extend(slot(0, 0, 0));
    }
    file.extend(blobs);
    Ok(file)
}

fn slot(package: u32, at: u32, blocks: u32) -> Vec<u8> {
    [*b"Slot", package.to_le_bytes(), at.to_le_bytes(), blocks.to_le_bytes()].concat()
}

/// Magic, number, date, length; the header, filled up to a whole block; a checksum of all that, the length, magic.
fn blob(package: u32, header: &Header, time: u32) -> Vec<u8> {
    let length = header.bytes().len();
    let words = [*b"BlbS", package.to_le_bytes(), time.to_le_bytes(), (length as u32).to_le_bytes()];
    let mut blob = [&words.concat(), header.bytes()].concat();
    blob.resize((blob.len() + BLOB_TAIL).next_multiple_of(BLOCK) - BLOB_TAIL, 0);
    let sum = adler32(&blob);
    blob.extend(sum.to_le_bytes());
    blob.extend((length as u32).to_le_bytes());
    blob.extend(b"BlbE");
    blob
}

/// Numbers and headers of all packages, in the order of the slots.
fn blobs(database: &[u8]) -> Result<Vec<(u32, Header)>> {
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(database.get(at..at + 4)?.try_into().ok()?)) };
    if database.get(..4) != Some(b"RpmP") || word(4) != Some(0) {
        return Err(damaged("it does not start as Packages.db does"));
    }
    let pages = word(12).unwrap_or_default() as usize;
    let slots =
        database.get(FILE_HEADER..pages.saturating_mul(PAGE)).ok_or_else(|| damaged("its slots are cut off"))?;
    let mut found = Vec::new();
    for slot in slots.chunks_exact(16) {
        let word = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
        let (package, at, blocks) = (word(4), word(8) as usize * BLOCK, word(12) as usize * BLOCK);
        if &slot[..4] != b"Slot" {
            return Err(damaged("one of its slots is none"));
        }
        if at == 0 {
            continue;
        }
        let header = database.get(at..at.saturating_add(blocks)).and_then(|blob| header(blob, package));
        found.push((package, header.ok_or_else(|| damaged(format!("the header of package {package} is damaged")))?));
    }
    Ok(found)
}

fn header(blob: &[u8], package: u32) -> Option<Header> {
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(blob.get(at..at + 4)?.try_into().ok()?)) };
    let tail = blob.len().checked_sub(BLOB_TAIL)?;
    let length = word(12)?;
    let whole = blob.get(..4)? == b"BlbS"
        && word(4)? == package
        && word(tail)? == adler32(&blob[..tail])
        && word(tail + 4)? == length
        && &blob[tail + 8..] == b"BlbE";
    let content = blob.get(BLOB_HEAD..BLOB_HEAD.checked_add(length as usize)?)?;
    whole.then(|| Header::new(content.to_vec())).flatten()
}

/// RFC 1950, 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    const BASE: u32 = 65521;
    let (mut first, mut second) = (1_u32, 0_u32);
    // So many sums fit into 32 bits.
    for piece in bytes.chunks(5552) {
        for byte in piece {
            first += u32::from(*byte);
            second += first;
        }
        first %= BASE;
        second %= BASE;
    }
    second << 16 | first
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::package;
    use super::*;

    /// A file with a free slot and a hole, as a removed package leaves them.
    fn database() -> Vec<u8> {
        let one = blob(2, &package("busybox", 70), 70);
        let other = blob(3, &package("app", 71), 71);
        let mut file = [b"RpmP".as_slice(), &[0; 28]].concat();
        file[8] = 9;
        file[12] = 1;
        file[16] = 4;
        let start = PAGE / BLOCK + 4;
        file.extend(slot(0, 0, 0));
        file.extend(slot(2, start as u32, (one.len() / BLOCK) as u32));
        file.extend(slot(3, (start + one.len() / BLOCK) as u32, (other.len() / BLOCK) as u32));
        while file.len() < PAGE {
            file.extend(slot(0, 0, 0));
        }
        file.resize(start * BLOCK, 0);
        [file, one, other].concat()
    }

    #[test]
    fn packages_come_in_the_order_of_their_names_and_of_one_date() {
        assert_eq!(read(&database()).unwrap(), [package("busybox", 70), package("app", 71)]);
        let new = normalised(&database(), 1000).unwrap();
        assert_eq!(read(&new).unwrap(), [package("app", 1000), package("busybox", 1000)]);
        assert!(new.len() < database().len() && normalised(&new, 1000).unwrap() == new);
    }

    #[test]
    fn a_changed_byte_of_a_blob_is_noticed() {
        let good = database();
        for at in [PAGE + 4 * BLOCK + 20, good.len() - 1, good.len() - 12] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&bad).unwrap_err().text().contains("damaged"), "{at}");
        }
        assert!(read(&good[..PAGE]).is_err() && read(b"").is_err() && read(&[0; 64]).is_err());
    }

    #[test]
    fn the_checksum_is_adler_32() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }
}
