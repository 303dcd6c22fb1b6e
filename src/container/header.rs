//! Headers of tar members: ustar with PAX records where ustar does not reach (POSIX.1-2001, pax(1)).
//!
//! In: a member's metadata. Out: its header blocks. Never an owner's or group's name, never an access or change time.

use crate::host::rooted::Kind;

/// Length of a tar block.
pub const BLOCK: usize = 512;

/// The numbers that fit into ustar's octal fields.
const LARGEST_ID: u64 = 0o777_7777;
const LARGEST_SIZE: u64 = 0o777_7777_7777;

/// What a member is, to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type<'a> {
    /// A thing of its own; a file's data follows the header.
    Is(&'a Kind),
    /// Another name of an earlier member.
    HardLink(&'a [u8]),
}

/// A member's metadata.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// The whole name; folders end in a slash.
    pub name: &'a [u8],
    /// What it is. Sockets have no place in an archive.
    pub what: Type<'a>,
    /// Permission bits (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Length of the data in bytes; counts for files only.
    pub size: u64,
    /// Extended attributes, sorted by name; no `=` in a name.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'_> {
    /// The blocks before the data. The same metadata gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, link, (major, minor)) = match self.what {
            Type::HardLink(target) => (b'1', target, (0, 0)),
            Type::Is(Kind::Symlink(target)) => (b'2', target.as_slice(), (0, 0)),
            Type::Is(Kind::CharDevice { major, minor }) => (b'3', &b""[..], (*major, *minor)),
            Type::Is(Kind::BlockDevice { major, minor }) => (b'4', &b""[..], (*major, *minor)),
            Type::Is(Kind::Folder) => (b'5', &b""[..], (0, 0)),
            Type::Is(Kind::Fifo) => (b'6', &b""[..], (0, 0)),
            Type::Is(Kind::File | Kind::Socket) => (b'0', &b""[..], (0, 0)),
        };
        let size = if kind == b'0' { self.size } else { 0 };
        let mut records = Vec::new();
        let place = split(self.name);
        if place.is_none() {
            text_record(&mut records, b"path", self.name);
        }
        if link.len() > 100 {
            text_record(&mut records, b"linkpath", link);
        }
        for (key, number, largest) in
            [("size", size, LARGEST_SIZE), ("uid", self.uid.into(), LARGEST_ID), ("gid", self.gid.into(), LARGEST_ID)]
        {
            if number > largest {
                record(&mut records, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        let mtime = u64::try_from(self.mtime).ok().filter(|time| *time <= LARGEST_SIZE);
        if mtime.is_none() {
            record(&mut records, b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in self.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }

        let mut blocks = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            let mut block = Block::new(b'x');
            block.put(0..100, b"PaxHeaders");
            block.put_octal(100..108, 0o644);
            block.put_octal(108..116, 0);
            block.put_octal(116..124, 0);
            block.put_octal(124..136, records.len() as u64);
            block.put_octal(136..148, 0);
            blocks.extend_from_slice(&block.finish());
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        let mut block = Block::new(kind);
        let (prefix, name) = place.unwrap_or((b"", &self.name[..self.name.len().min(100)]));
        block.put(0..100, name);
        block.put_octal(100..108, self.mode.into());
        // A reader without PAX gets the nearest number that the field holds.
        block.put_octal(108..116, u64::from(self.uid).min(LARGEST_ID));
        block.put_octal(116..124, u64::from(self.gid).min(LARGEST_ID));
        block.put_octal(124..136, size.min(LARGEST_SIZE));
        block.put_octal(136..148, mtime.unwrap_or(0));
        block.put(157..257, &link[..link.len().min(100)]);
        block.put_octal(329..337, major.into());
        block.put_octal(337..345, minor.into());
        block.put(345..500, prefix);
        blocks.extend_from_slice(&block.finish());
        blocks
    }
}

/// The header of a plain file in exactly one block, for archives that are put together out of order. A length that
/// octal digits do not hold is written in GNU's base 256, which every reader of large archives knows.
pub fn one_block(name: &[u8], size: u64, mtime: i64) -> [u8; BLOCK] {
    let mut block = Block::new(b'0');
    block.put(0..100, &name[..name.len().min(100)]);
    block.put_octal(100..108, 0o644);
    block.put_octal(108..116, 0);
    block.put_octal(116..124, 0);
    if size <= LARGEST_SIZE {
        block.put_octal(124..136, size);
    } else {
        block.put(124..128, &[0x80, 0, 0, 0]);
        block.put(128..136, &size.to_be_bytes());
    }
    block.put_octal(136..148, u64::try_from(mtime).unwrap_or(0).min(LARGEST_SIZE));
    block.finish()
}

/// Prefix and name for a ustar header; `None` where the name is too long for it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The last slash that leaves something behind it, not too far to the right.
    let end = name.len() - 1;
    let slash = (0..end.min(156)).rev().find(|at| name[*at] == b'/')?;
    Some((&name[..slash], &name[slash + 1..])).filter(|(prefix, name)| !prefix.is_empty() && name.len() <= 100)
}

/// A record with a name in it: one that is not UTF-8 is announced, because PAX says that all text is.
fn text_record(records: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    if std::str::from_utf8(text).is_err() && !records.starts_with(b"21 hdrcharset") {
        let announced = [b"21 hdrcharset=BINARY\n".as_slice(), records].concat();
        *records = announced;
    }
    record(records, key, text);
}

/// `LENGTH KEY=VALUE\n`; the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

struct Block([u8; BLOCK]);

impl Block {
    fn new(kind: u8) -> Block {
        let mut block = Block([0; BLOCK]);
        block.0[156] = kind;
        block.put(257..265, b"ustar\x0000");
        block
    }

    fn put(&mut self, field: std::ops::Range<usize>, bytes: &[u8]) {
        self.0[field][..bytes.len()].copy_from_slice(bytes);
    }

    /// Zero-padded digits and a NUL.
    fn put_octal(&mut self, field: std::ops::Range<usize>, number: u64) {
        let digits = field.len() - 1;
        self.put(field, format!("{number:0digits$o}").as_bytes());
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.put(148..156, b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.put(148..156, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::untar::{Members, What};

    #[test]
    fn long_names_are_split_where_ustar_can_hold_them() {
        let long = |folder: usize, name: usize| [vec![b'a'; folder], b"/".to_vec(), vec![b'b'; name]].concat();
        for (name, fits) in [
            (vec![b'a'; 100], true),
            (vec![b'a'; 101], false),
            (long(155, 100), true),
            (long(156, 99), false),
            (long(155, 101), false),
            ([long(100, 50), b"/".to_vec()].concat(), true),
            ([vec![b'/'], vec![b'b'; 100]].concat(), false),
        ] {
            let found = split(&name);
            assert_eq!(found.is_some(), fits, "{}", String::from_utf8_lossy(&name));
            if let Some((prefix, rest)) = found.filter(|(prefix, _)| !prefix.is_empty()) {
                assert_eq!([prefix, b"/", rest].concat(), name);
            }
        }
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in [1, 2, 3, 88, 89, 90, 91, 985, 986, 987, 9990] {
            let mut records = Vec::new();
            record(&mut records, b"key", &vec![b'x'; length]);
            let space = records.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&records[..space]).unwrap().parse::<usize>().unwrap(), records.len());
        }
    }

    #[test]
    fn the_announcement_of_binary_names_has_its_own_length_right() {
        let mut records = Vec::new();
        text_record(&mut records, b"path", b"\xff");
        let mut expected = Vec::new();
        record(&mut expected, b"hdrcharset", b"BINARY");
        assert!(records.starts_with(&expected));
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1_u8..=255, 1..most)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::File),
            Just(Kind::Folder),
            Just(Kind::Fifo),
            bytes(300).prop_map(Kind::Symlink),
            (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
            (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_header_reads_back_as_it_was(
            mut name in bytes(400),
            kind in kind(),
            mode in 0_u32..0o10000,
            (uid, gid) in (0..u32::MAX, 0..u32::MAX),
            mtime in prop_oneof![any::<i32>().prop_map(i64::from), -(1_i64 << 40)..1 << 40],
            size in prop_oneof![Just(0_u64), Just(0o777_7777_7777), Just(1 << 33), 0_u64..1 << 50],
            xattrs in prop::collection::btree_map("[a-z]{1,8}[.][a-zA-Z_ ]{1,20}", prop::collection::vec(any::<u8>(), 0..300), 0..4),
            link in prop::option::of(bytes(200)),
        ) {
            name.retain(|byte| *byte != b'/');
            name.push(b'x');
            if kind == Kind::Folder {
                name.push(b'/');
            }
            let link = link.filter(|_| kind != Kind::Folder);
            let xattrs: Vec<_> = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let what = link.as_ref().map_or(Type::Is(&kind), |link| Type::HardLink(link));
            let header = Header { name: &name, what, mode, uid, gid, mtime, size, xattrs: &xattrs };
            let blocks = header.encode();
            let member = Members::new(&blocks[..]).next_member().unwrap().unwrap();
            prop_assert_eq!(&member.name, &name);
            prop_assert_eq!((member.mode, member.uid, member.gid, member.mtime), (mode, uid, gid, mtime));
            prop_assert_eq!(member.xattrs, xattrs);
            prop_assert_eq!(member.offset, blocks.len() as u64);
            let is_file = link.is_none() && kind == Kind::File;
            prop_assert_eq!(member.size, if is_file { size } else { 0 });
            prop_assert_eq!(member.what, link.map_or(What::Is(kind), What::HardLink));
        }
    }
}
