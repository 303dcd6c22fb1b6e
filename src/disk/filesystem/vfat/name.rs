//! Names in FAT: the short one of eight and three characters, and the long one in front of it.
//!
//! In: a name, the short names that are taken in its folder. Out: directory entries without their metadata. References:
//! Microsoft's FAT specification of 2000, sections 6 and 7.

use std::collections::HashSet;

/// A directory entry has this many bytes.
pub const ENTRY: usize = 32;
/// UTF-16 units in one entry of a long name.
const UNITS: usize = 13;

/// A name as FAT stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The short name, padded with blanks.
    pub short: [u8; 11],
    /// Entries of the long name, in the order in which they stand; empty where the short name says it all.
    pub long: Vec<[u8; ENTRY]>,
}

/// Stores `name`; `taken` are the short names of its folder, and receives this one. `None` where FAT cannot hold it.
pub fn store(name: &[u8], taken: &mut HashSet<[u8; 11]>) -> Option<Stored> {
    let text = std::str::from_utf8(name).ok()?;
    let units: Vec<u16> = text.encode_utf16().collect();
    let forbidden = |char: char| char.is_control() || "\"*/:<>?\\|".contains(char);
    if units.len() > 255 || text.contains(forbidden) || text.ends_with(['.', ' ']) || text.starts_with(' ') {
        return None;
    }
    let upper = text.to_uppercase();
    if let Some(short) = exact(&upper)
        && !taken.contains(&short)
    {
        taken.insert(short);
        let long = if upper == text { Vec::new() } else { long(&units, &short) };
        return Some(Stored { short, long });
    }
    let short = (1..1_000_000).map(|number| numbered(&upper, number)).find(|short| !taken.contains(short))?;
    taken.insert(short);
    Some(Stored { short, long: long(&units, &short) })
}

fn is_short(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(char)
}

/// The short form of an upper-case name that has one.
fn exact(upper: &str) -> Option<[u8; 11]> {
    let (base, extension) = upper.rsplit_once('.').unwrap_or((upper, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3 && !upper.ends_with('.');
    (fits && base.chars().chain(extension.chars()).all(is_short)).then(|| join(base, extension))
}

/// `NAME~1.EXT`.
fn numbered(upper: &str, number: u32) -> [u8; 11] {
    let (base, extension) = upper.rsplit_once('.').unwrap_or((upper, ""));
    let clean = |part: &str, most: usize| part.chars().filter(|char| is_short(*char)).take(most).collect::<String>();
    let tail = format!("~{number}");
    join(&(clean(base, 8 - tail.len()) + &tail), &clean(extension, 3))
}

fn join(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

fn long(units: &[u16], short: &[u8; 11]) -> Vec<[u8; ENTRY]> {
    let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let pieces: Vec<&[u16]> = units.chunks(UNITS).collect();
    let entry = |(index, piece): (usize, &&[u16])| {
        let mut entry = [0; ENTRY];
        let last = if index + 1 == pieces.len() { 0x40 } else { 0 };
        entry[0] = (index as u8 + 1) | last;
        entry[11] = 0x0f;
        entry[13] = checksum;
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        for (index, at) in places.enumerate() {
            // The end is marked once, and then padded.
            let unit = piece.get(index).copied().unwrap_or(if index == piece.len() { 0 } else { 0xffff });
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entry
    };
    let mut entries: Vec<[u8; ENTRY]> = pieces.iter().enumerate().map(entry).collect();
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_short_forms_that_differ() {
        let mut taken = HashSet::new();
        let rows = [
            ("BOOTX64.EFI", "BOOTX64 EFI", 0),
            ("grub.cfg", "GRUB    CFG", 1),
            ("debian", "DEBIAN     ", 1),
            ("a-name-of-some-length.tar.gz", "A-NAME~1GZ ", 3),
            ("a-name-of-some-more.tar.gz", "A-NAME~2GZ ", 2),
            ("grün.txt", "GRN~1   TXT", 1),
            ("x.", "", 0),
            ("a:b", "", 0),
        ];
        for (name, short, entries) in rows {
            let stored = store(name.as_bytes(), &mut taken);
            let found = stored.map(|stored| (String::from_utf8(stored.short.into()).unwrap(), stored.long.len()));
            assert_eq!(found.unwrap_or_default(), (short.to_string(), entries), "{name}");
        }
        assert_eq!(store(b"\xff", &mut taken), None);
    }
}
