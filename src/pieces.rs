//! Compressed pieces of an earlier artifact, found by the digest of what they were compressed from.
//!
//! In: an artifact of an earlier build and its [`Pieces::index`]. Out: what compressing a piece would give, without
//! compressing it, and an index of the new artifact. Who asks always compresses in the same way: codec and level are not
//! part of the digest. Never hands out a piece without reading it through: a damaged one is compressed again.

pub mod content;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// BLAKE3: it is made of everything that is packed, and nobody else compares it.
type Sum = [u8; 32];
/// An entry of an index: digest of the content, digest of the piece, offset, length.
const ENTRY: usize = 32 + 32 + 8 + 4;

/// Pieces of one artifact that is being written.
#[derive(Debug)]
pub struct Pieces {
    search: Search,
    index: Vec<u8>,
    reused: u64,
    made: u64,
}

/// Finds pieces; cloning is cheap, for many threads.
#[derive(Clone, Debug)]
pub struct Search(Option<Arc<Earlier>>);

#[derive(Debug, Default)]
struct Earlier {
    file: Option<File>,
    places: HashMap<Sum, Place>,
    damaged: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sum: Sum,
    offset: u64,
    length: u32,
}

/// The answer of a [`Search`].
#[derive(Debug)]
pub struct Found {
    content: Option<Sum>,
    known: Option<(Sum, Vec<u8>)>,
}

/// What an index says about a piece beside its place.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    content: Sum,
    sum: Sum,
    length: u32,
    reused: bool,
}

impl Mark {
    /// Whether the piece was found.
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Pieces {
    /// Nothing is known, nothing will be, and nothing is hashed.
    pub fn ignored() -> Pieces {
        Pieces::new(Search(None))
    }

    /// Nothing is known yet.
    pub fn unknown() -> Pieces {
        Pieces::new(Search(Some(Arc::default())))
    }

    /// What `index` says is in `file`. An index that is cut off knows less.
    pub fn of(file: File, index: &[u8]) -> Pieces {
        let places = index.chunks_exact(ENTRY).filter_map(read).collect();
        Pieces::new(Search(Some(Arc::new(Earlier { file: Some(file), places, damaged: AtomicBool::new(false) }))))
    }

    /// What was compressed already, without an artifact around it.
    pub fn of_search(search: Search) -> Pieces {
        Pieces::new(search)
    }

    fn new(search: Search) -> Pieces {
        Pieces { search, index: Vec::new(), reused: 0, made: 0 }
    }

    /// For the threads that compress.
    pub fn search(&self) -> Search {
        self.search.clone()
    }

    /// A piece went to `offset` of the new artifact.
    pub fn note(&mut self, mark: Option<Mark>, offset: u64) {
        let Some(Mark { content, sum, length, reused }) = mark else { return };
        *(if reused { &mut self.reused } else { &mut self.made }) += u64::from(length);
        self.index.extend(content);
        self.index.extend(sum);
        self.index.extend(offset.to_le_bytes());
        self.index.extend(length.to_le_bytes());
    }

    /// Where the pieces of the new artifact are, for [`Pieces::of`].
    pub fn index(&self) -> &[u8] {
        &self.index
    }

    /// Whether a piece of the earlier artifact was not what its index says.
    pub fn met_damage(&self) -> bool {
        self.search.0.as_ref().is_some_and(|earlier| earlier.damaged.load(Ordering::Relaxed))
    }

    /// Bytes of pieces that were known, and bytes of those that had to be compressed.
    pub fn reused_and_made(&self) -> (u64, u64) {
        (self.reused, self.made)
    }
}

impl Search {
    /// Looks up what `content` was compressed to.
    pub fn find(&self, content: &[u8]) -> Found {
        self.find_by(|| blake3::hash(content).into())
    }

    /// As [`Search::find`], where something else says what the content is: the same for the same content only. Not asked
    /// where nothing can be known.
    pub fn find_by(&self, content: impl FnOnce() -> [u8; 32]) -> Found {
        let Some(earlier) = &self.0 else { return Found { content: None, known: None } };
        let content = content();
        Found { content: Some(content), known: earlier.read(&content) }
    }
}

impl Earlier {
    fn read(&self, content: &Sum) -> Option<(Sum, Vec<u8>)> {
        let place = self.places.get(content)?;
        let piece = self.file.as_ref().and_then(|file| place.read(file));
        if piece.is_none() {
            self.damaged.store(true, Ordering::Relaxed);
        }
        piece.map(|piece| (place.sum, piece))
    }
}

impl Place {
    fn read(&self, file: &File) -> Option<Vec<u8>> {
        // No piece is larger; a damaged length must not take all memory.
        let mut piece = vec![0; Some(self.length as usize).filter(|length| *length <= 64 << 20)?];
        file.read_exact_at(&mut piece, self.offset).ok()?;
        (Sum::from(blake3::hash(&piece)) == self.sum).then_some(piece)
    }
}

impl Found {
    /// The piece; empty where compressing was of no use.
    pub fn piece(&self) -> Option<&[u8]> {
        self.known.as_ref().map(|(_, piece)| piece.as_slice())
    }

    /// The piece, and what [`Found::mark`] says of it.
    pub fn take(&mut self) -> Option<(Vec<u8>, Option<Mark>)> {
        let mark = self.known.as_ref().and_then(|(_, piece)| self.mark(piece));
        self.known.take().map(|(_, piece)| (piece, mark))
    }

    /// For [`Pieces::note`]; `piece` is what was found, or compressed because nothing was.
    pub fn mark(&self, piece: &[u8]) -> Option<Mark> {
        let (content, length) = (self.content?, u32::try_from(piece.len()).ok()?);
        let known = self.known.as_ref().map(|(sum, _)| *sum);
        let sum = known.unwrap_or_else(|| blake3::hash(piece).into());
        Some(Mark { content, sum, length, reused: known.is_some() })
    }
}

fn read(entry: &[u8]) -> Option<(Sum, Place)> {
    let (content, rest) = entry.split_first_chunk::<32>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    Some((*content, Place { sum: *sum, offset: u64::from_le_bytes(*offset), length }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_piece_is_found_by_its_content_and_only_if_it_is_intact() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"..packed.").unwrap();
        let mut pieces = Pieces::unknown();
        let found = pieces.search().find(b"content");
        assert_eq!(found.piece(), None);
        pieces.note(found.mark(b"packed"), 2);
        let useless = pieces.search().find(b"random");
        pieces.note(useless.mark(b""), 0);
        assert_eq!(pieces.reused_and_made(), (0, 6));

        let mut again = Pieces::of(file.try_clone().unwrap(), pieces.index());
        let found = again.search().find(b"content");
        assert_eq!(found.piece(), Some(b"packed".as_slice()));
        again.note(found.mark(b"packed"), 2);
        assert_eq!(again.reused_and_made(), (6, 0));
        assert_eq!(again.index(), &pieces.index()[..ENTRY]);
        assert_eq!(again.search().find(b"random").piece(), Some(b"".as_slice()));
        assert_eq!(again.search().find(b"other").piece(), None);

        assert!(!again.met_damage());
        file.write_all_at(b"!", 4).unwrap();
        assert_eq!(again.search().find(b"content").piece(), None);
        assert!(again.met_damage());
        file.set_len(3).unwrap();
        assert_eq!(again.search().find(b"content").piece(), None);
        assert_eq!(Pieces::of(file, &pieces.index()[..ENTRY - 1]).search().find(b"content").piece(), None);
        assert!(Pieces::ignored().search().find(b"content").mark(b"packed").is_none());
    }
}
