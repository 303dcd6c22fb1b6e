//! A member of a layer's stream before it is compressed: what goes into it, but not the bytes that are in files.
//!
//! In: headers, and files whose [`Content`](crate::pieces::content::Content) is known. Out: members that end where the content
//! says so, each with a key: the same for the same bytes only. A member that was compressed before is found by its key, and
//! its files are not read. Never takes a file that changed for the one whose content was known.
//!
//! Where a member ends is decided by the block of the stream before it, not by its place: behind a file that became
//! longer, members are as they were, and those of an earlier build are found again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::header::BLOCK;
use super::tar::FileInTree;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::{RootPath, Rooted};
use crate::pieces::content::{CHUNK, Chunk, Content, may_end};

/// What goes into one member, at least and at most.
pub(super) const SHORTEST: usize = 768 << 10;
pub(super) const LONGEST: usize = 2 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Member {
    parts: Vec<Part>,
    length: usize,
}

#[derive(Debug)]
enum Part {
    /// Whole blocks that are nowhere else.
    Blocks(Vec<u8>),
    /// Blocks of a chunk of a file.
    Chunk { chunk: Chunk, held: Held, blocks: std::ops::Range<usize> },
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// In memory.
    Here(Arc<Vec<u8>>),
    /// In a file, from this offset on.
    There(Arc<Place>, u64),
}

/// A file that can be read when it is needed.
#[derive(Debug)]
pub(super) struct Place {
    tree: Arc<Rooted>,
    path: RootPath,
}

/// What is done to a member that is complete.
type Ended<'a> = dyn FnMut(Member) -> Result<()> + 'a;

/// A stream that is divided into members.
#[derive(Debug, Default)]
pub(super) struct Growing {
    member: Member,
    /// The tree again, for whoever reads its files later.
    tree: Option<Arc<Rooted>>,
}

impl Growing {
    /// Adds whole blocks.
    pub fn blocks(&mut self, bytes: &[u8], ended: &mut Ended<'_>) -> Result<()> {
        for block in bytes.as_chunks::<BLOCK>().0 {
            match self.member.parts.last_mut() {
                Some(Part::Blocks(bytes)) => bytes.extend_from_slice(block),
                _ => self.member.parts.push(Part::Blocks(block.to_vec())),
            }
            self.member.length += BLOCK;
            if self.member.length == LONGEST || (self.member.length >= SHORTEST && may_end(block)) {
                ended(std::mem::take(&mut self.member))?;
            }
        }
        Ok(())
    }

    /// Adds a file, filled up to whole blocks. One whose content is known is not read now; what was not known of another one
    /// is returned.
    pub fn content(&mut self, file: &FileInTree<'_>, ended: &mut Ended<'_>) -> Result<Option<Content>> {
        if let Some(content) = file.known() {
            let tree = match &self.tree {
                Some(tree) => Arc::clone(tree),
                None => Arc::clone(self.tree.insert(Arc::new(file.tree().again()?))),
            };
            let place = Arc::new(Place { tree, path: file.entry().path.clone() });
            let chunks = content.chunks().iter().zip((0..).step_by(CHUNK));
            for (chunk, offset) in chunks {
                self.chunk(chunk, &Held::There(Arc::clone(&place), offset), ended)?;
            }
            return Ok(None);
        }
        let (mut reading, mut bytes, mut chunks) = (file.open()?, Vec::new(), Vec::new());
        while reading.next(&mut bytes)? {
            let chunk = Chunk::of(&bytes);
            self.chunk(&chunk, &Held::Here(Arc::new(std::mem::take(&mut bytes))), ended)?;
            chunks.push(chunk);
        }
        Ok(Some(Content::of(chunks)))
    }

    fn chunk(&mut self, chunk: &Chunk, held: &Held, ended: &mut Ended<'_>) -> Result<()> {
        let mut from = 0;
        while from < chunk.blocks() {
            let before = self.member.length / BLOCK;
            let first = from + (SHORTEST / BLOCK).saturating_sub(before + 1);
            let last = from + LONGEST / BLOCK - before - 1;
            let end = chunk.end_from(first).map_or(last, |end| end.min(last)) + 1;
            let blocks = from..end.min(chunk.blocks());
            from = blocks.end;
            self.member.length += blocks.len() * BLOCK;
            self.member.parts.push(Part::Chunk { chunk: chunk.clone(), held: held.clone(), blocks });
            if from == end {
                ended(std::mem::take(&mut self.member))?;
            }
        }
        Ok(())
    }

    /// What was added since the last member ended.
    pub fn rest(&mut self) -> Option<Member> {
        (self.member.length > 0).then(|| std::mem::take(&mut self.member))
    }
}

impl Member {
    /// The same for the same bytes only; the same bytes have another one where they come from another file.
    pub fn key(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        for part in &self.parts {
            match part {
                Part::Blocks(bytes) => {
                    hash.update(b"b").update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
                }
                Part::Chunk { chunk, blocks, .. } => {
                    hash.update(b"c").update(chunk.sum());
                    for number in [chunk.length(), blocks.start, blocks.end] {
                        hash.update(&(number as u64).to_le_bytes());
                    }
                }
            }
        }
        hash.finalize().into()
    }

    /// Its bytes. 74 where a file is no longer what it was.
    pub fn read(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.length);
        let mut open: Option<(Arc<Place>, File)> = None;
        let mut whole = Vec::new();
        for part in self.parts {
            match part {
                Part::Blocks(blocks) => bytes.extend_from_slice(&blocks),
                Part::Chunk { chunk, held: Held::Here(here), blocks } => add(&mut bytes, &chunk, &here, blocks),
                Part::Chunk { chunk, held: Held::There(place, offset), blocks } => {
                    let file = match open.take().filter(|(opened, _)| Arc::ptr_eq(opened, &place)) {
                        Some((_, file)) => file,
                        None => place.tree.open_file(&place.path)?,
                    };
                    whole.resize(chunk.length(), 0);
                    let what = || format!("read {} in the image", place.path);
                    file.read_exact_at(&mut whole, offset).or_cannot(what)?;
                    if blake3::hash(&whole).as_bytes() != chunk.sum() {
                        return Err(Error::cannot(Exit::Io, what()).because("it changed after it was audited"));
                    }
                    add(&mut bytes, &chunk, &whole, blocks);
                    open = Some((place, file));
                }
            }
        }
        Ok(bytes)
    }
}

/// Adds blocks of a chunk, the last one filled up.
fn add(bytes: &mut Vec<u8>, chunk: &Chunk, whole: &[u8], blocks: std::ops::Range<usize>) {
    let end = bytes.len() + blocks.len() * BLOCK;
    bytes.extend_from_slice(&whole[blocks.start * BLOCK..(blocks.end * BLOCK).min(chunk.length())]);
    bytes.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::file;
    use crate::pieces::content::Contents;

    /// Bytes without a pattern in their blocks.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * seed) >> 41) as u8).collect()
    }

    /// The ends of members, by their definition.
    fn ends(stream: &[u8]) -> Vec<usize> {
        let (mut ends, mut begin) = (Vec::new(), 0);
        for (number, block) in stream.as_chunks::<BLOCK>().0.iter().enumerate() {
            let end = (number + 1) * BLOCK;
            if end - begin == LONGEST || (end - begin >= SHORTEST && may_end(block)) {
                ends.push(end);
                begin = end;
            }
        }
        ends.extend((begin < stream.len()).then_some(stream.len()));
        ends
    }

    fn members(tree: &Rooted, contents: &Contents) -> Vec<Member> {
        let (mut growing, mut members) = (Growing::default(), Vec::new());
        for entry in tree.walk(&RootPath::root()).unwrap().iter().filter(|entry| entry.is_file()) {
            let ended = &mut |member| {
                members.push(member);
                Ok(())
            };
            growing.blocks(&[7; BLOCK], ended).unwrap();
            growing.content(&FileInTree::new(tree, entry, contents), ended).unwrap();
        }
        members.extend(growing.rest());
        members
    }

    #[test]
    fn members_are_the_same_whether_files_are_read_now_or_later_and_end_where_the_content_says() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = [1, 511, 512, 700_001, CHUNK, CHUNK + 1, 9 << 20, 100, LONGEST - BLOCK, SHORTEST, 5_000_001, 77];
        let mut stream = Vec::new();
        for (number, length) in lengths.into_iter().enumerate() {
            // Nothing ends in a file of zeros but by its length.
            let bytes = if number == 6 { vec![0; length] } else { noise(length, number as u64) };
            file::write(&folder.path().join(format!("file{number:02}")), &bytes).unwrap();
            stream.extend_from_slice(&[7; BLOCK]);
            stream.extend_from_slice(&bytes);
            stream.resize(stream.len().next_multiple_of(BLOCK), 0);
        }
        let tree = Rooted::open(folder.path()).unwrap();
        let read = |entry: &crate::host::rooted::Entry| {
            let bytes = tree.read(&entry.path).unwrap();
            (entry.path.as_bytes().to_vec(), Content::of(bytes.chunks(CHUNK).map(Chunk::of).collect()))
        };
        let entries = tree.walk(&RootPath::root()).unwrap();
        let known: Contents = entries.iter().filter(|entry| entry.is_file()).map(read).collect();
        let (now, later) = (members(&tree, &Contents::default()), members(&tree, &known));
        let keys = |members: &[Member]| members.iter().map(Member::key).collect::<Vec<_>>();
        assert_eq!(keys(&now), keys(&later));
        let mut at = 0;
        let mut found = Vec::new();
        for (now, later) in now.into_iter().zip(later) {
            let (now, later) = (now.read().unwrap(), later.read().unwrap());
            assert!(now == later && stream[at..].starts_with(&now));
            at += now.len();
            found.push(at);
        }
        assert_eq!(found, ends(&stream));
        assert!(found.len() > 9, "{found:?}");
    }

    #[test]
    fn a_key_is_another_one_where_a_byte_is_and_what_changed_meanwhile_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let tree = Rooted::open(folder.path()).unwrap();
        let known = |bytes: &[u8]| {
            file::write(&path, bytes).unwrap();
            let entry = tree.entry(&"/file".into()).unwrap().unwrap();
            [(entry.path.as_bytes().to_vec(), Content::of(bytes.chunks(CHUNK).map(Chunk::of).collect()))]
                .into_iter()
                .collect::<Contents>()
        };
        let bytes = noise(1000, 1);
        let one = members(&tree, &known(&bytes));
        let mut other = bytes.clone();
        other[999] ^= 1;
        let two = members(&tree, &known(&other));
        assert_ne!(one[0].key(), two[0].key());
        // One zero more is the same blocks, and another file.
        let longer = members(&tree, &known(&[bytes.as_slice(), &[0]].concat()));
        assert_ne!(one[0].key(), longer[0].key());
        known(&other);
        let error = one.into_iter().next().unwrap().read().unwrap_err();
        assert_eq!(error.exit(), Exit::Io);
        assert!(error.text().contains("/file"), "{}", error.text());
        known(&bytes[..10]);
        assert_eq!(two.into_iter().next().unwrap().read().unwrap_err().exit(), Exit::Io);
    }
}
