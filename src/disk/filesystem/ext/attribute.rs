//! Extended attributes: in the inode where they fit, else in one block, shared by all files with the same ones.
//!
//! In: names and values as getxattr(2) gives them. Out: the bytes at the end of an inode and the entries of a block.
//! ACLs are stored in ext4's own form (linux/fs/ext4/acl.h).

use super::checksum::crc32c;
use super::layout::{Checksums, Layout};

/// The attributes of one file, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What follows the fixed part of the inode; empty: nothing.
    pub in_inode: Vec<u8>,
    /// The content of an attribute block without reference count and checksum.
    pub block: Option<Vec<u8>>,
}

/// What cannot be stored, as a sentence about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstorable(pub String);

const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER: usize = 32;
const ENTRY: usize = 16;

struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn entry_length(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4)
    }

    fn length(&self) -> usize {
        self.entry_length() + self.value.len().next_multiple_of(4)
    }

    fn hash(&self) -> u32 {
        let hash = self.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(hash, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Encodes the attributes of one file; `room` is what the inode has for them.
pub fn encode(attributes: &[(Vec<u8>, Vec<u8>)], room: usize, block_size: usize) -> Result<Encoded, Unstorable> {
    let mut all = attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    // Header and end mark.
    let mut left = room.saturating_sub(8);
    for attribute in all {
        if attribute.length() <= left {
            left -= attribute.length();
            inside.push(attribute);
        } else {
            outside.push(attribute);
        }
    }
    let length = outside.iter().map(Attribute::length).sum::<usize>();
    if BLOCK_HEADER + length + 4 > block_size {
        return Err(Unstorable(format!(
            "its extended attributes take {length} bytes and do not fit a block of {block_size}"
        )));
    }
    let mut encoded = Encoded::default();
    if !inside.is_empty() {
        let mut bytes = vec![0; room];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        // Offsets count from the first entry.
        store(&mut bytes[4..], 0, &inside);
        encoded.in_inode = bytes;
    }
    if !outside.is_empty() {
        let mut bytes = vec![0; block_size];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let hash = outside.iter().fold(0_u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash());
        bytes[12..16].copy_from_slice(&hash.to_le_bytes());
        store(&mut bytes, BLOCK_HEADER, &outside);
        encoded.block = Some(bytes);
    }
    Ok(encoded)
}

fn store(area: &mut [u8], begin: usize, attributes: &[Attribute]) {
    let (mut at, mut end) = (begin, area.len());
    for attribute in attributes {
        let padded = attribute.value.len().next_multiple_of(4);
        end -= padded;
        area[end..end + attribute.value.len()].copy_from_slice(&attribute.value);
        let offset = if attribute.value.is_empty() { 0 } else { end as u16 };
        let entry = &mut area[at..at + attribute.entry_length()];
        entry[0] = attribute.name.len() as u8;
        entry[1] = attribute.index;
        entry[2..4].copy_from_slice(&offset.to_le_bytes());
        entry[8..12].copy_from_slice(&(attribute.value.len() as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&attribute.hash().to_le_bytes());
        entry[ENTRY..ENTRY + attribute.name.len()].copy_from_slice(&attribute.name);
        at += attribute.entry_length();
    }
}

/// The finished attribute block for its place in the filesystem, used by `references` files.
pub fn finish_block(mut block: Vec<u8>, place: u64, references: u32, layout: &Layout) -> Vec<u8> {
    block[4..8].copy_from_slice(&references.to_le_bytes());
    if let Checksums::Metadata(seed) = layout.checksums {
        let sum = crc32c(crc32c(seed, &place.to_le_bytes()), &block);
        block[16..20].copy_from_slice(&sum.to_le_bytes());
    }
    block
}

fn attribute(name: &[u8], value: &[u8]) -> Result<Attribute, Unstorable> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    let whole: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];
    for (acl, index) in whole {
        if name == acl {
            let value = acl_of(value).ok_or_else(|| Unstorable(format!("its {} is malformed", shown())))?;
            return Ok(Attribute { index, name: Vec::new(), value });
        }
    }
    let prefixes: [(&[u8], u8); 4] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6), (b"system.", 7)];
    for (prefix, index) in prefixes {
        if let Some(rest) = name.strip_prefix(prefix)
            && rest.len() < 256
        {
            return Ok(Attribute { index, name: rest.to_vec(), value: value.to_vec() });
        }
    }
    Err(Unstorable(format!("ext4 has no place for its extended attribute {}", shown())))
}

/// From the form of the system calls (version 2: tag, permissions, id in each entry) to that of the disk (version 1:
/// an id only where the tag needs one).
fn acl_of(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&2_u32.to_le_bytes())?;
    if !entries.len().is_multiple_of(8) {
        return None;
    }
    let mut stored = 1_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        const USER: u8 = 2;
        const GROUP: u8 = 8;
        let named = entry[1] == 0 && matches!(entry[0], USER | GROUP);
        stored.extend(&entry[..if named { 8 } else { 4 }]);
    }
    Some(stored)
}
