//! What has to be known of a file, so that a piece which it is a part of is found without reading it again.
//!
//! In: a file's bytes, once. Out: the digest of each chunk of it, and which of its blocks may end a piece. Never the bytes.

use std::collections::HashMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// What pieces are made of: a block of a tar archive.
pub const BLOCK: usize = 512;
/// What has a digest of its own; whole blocks.
pub const CHUNK: usize = 256 << 10;
/// One in so many blocks may end a piece.
const ONE_IN: u32 = 1 << 10;

/// A chunk of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    sum: [u8; 32],
    length: u32,
    /// Numbers of the blocks that may end a piece, ascending.
    ends: Box<[u16]>,
}

/// Everything that is known of a file's content: its chunks. Its text has a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Content {
    chunks: Box<[Chunk]>,
}

impl Chunk {
    /// Of no more than [`CHUNK`] bytes.
    pub fn of(bytes: &[u8]) -> Chunk {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut ends: Vec<u16> =
            blocks.iter().enumerate().filter(|(_, block)| may_end(block)).map(|(number, _)| number as u16).collect();
        if !rest.is_empty() {
            // Zeros follow up to the end of the block.
            let mut last = [0; BLOCK];
            last[..rest.len()].copy_from_slice(rest);
            ends.extend(may_end(&last).then_some(blocks.len() as u16));
        }
        Chunk { sum: blake3::hash(bytes).into(), length: bytes.len() as u32, ends: ends.into() }
    }

    /// BLAKE3 of its bytes.
    pub fn sum(&self) -> &[u8; 32] {
        &self.sum
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Its length in blocks, the last one filled up with zeros.
    pub fn blocks(&self) -> usize {
        self.length().div_ceil(BLOCK)
    }

    /// The first block from `first` on that may end a piece.
    pub fn end_from(&self, first: usize) -> Option<usize> {
        let at = self.ends.partition_point(|end| usize::from(*end) < first);
        self.ends.get(at).map(|end| usize::from(*end))
    }
}

impl Content {
    /// Of chunks that follow each other; all but the last have [`CHUNK`] bytes.
    pub fn of(chunks: Vec<Chunk>) -> Content {
        Content { chunks: chunks.into() }
    }

    /// The chunks in their order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The file's length.
    pub fn length(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }
}

impl From<Content> for String {
    fn from(content: Content) -> String {
        let mut text = String::new();
        for Chunk { sum, length, ends } in &content.chunks {
            let sum = blake3::Hash::from_bytes(*sum);
            // Writing to a text does not fail.
            let _ = write!(text, "{} {length}", sum.to_hex());
            for end in ends {
                let _ = write!(text, " {end}");
            }
            text.push('\n');
        }
        text
    }
}

impl TryFrom<String> for Content {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Content, &'static str> {
        let chunk = |line: &str| {
            let mut words = line.split(' ');
            let sum = *blake3::Hash::from_hex(words.next()?).ok()?.as_bytes();
            let length = words.next()?.parse().ok().filter(|length| *length as usize <= CHUNK)?;
            let ends = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
            Some(Chunk { sum, length, ends })
        };
        let chunks: Option<Vec<Chunk>> = text.lines().map(chunk).collect();
        chunks.map(Content::of).ok_or("this is no content of a file")
    }
}

/// What is known of the files of a tree, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Contents(HashMap<Vec<u8>, Content>);

impl Contents {
    /// What is known of a file of this length.
    pub fn get(&self, path: &[u8], length: u64) -> Option<&Content> {
        self.0.get(path).filter(|content| content.length() == length)
    }
}

impl FromIterator<(Vec<u8>, Content)> for Contents {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Content)>>(contents: I) -> Contents {
        Contents(contents.into_iter().collect())
    }
}

/// Whether a piece that is long enough ends with this block: decided by what is in it, so that behind something that was put
/// in, pieces are as they were.
pub fn may_end(block: &[u8; BLOCK]) -> bool {
    crc32fast::hash(block) % ONE_IN == ONE_IN - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_those_of_the_blocks_and_the_last_block_is_filled_up() {
        let bytes: Vec<u8> = (0..CHUNK as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 41) as u8).collect();
        for length in [0, 1, BLOCK, BLOCK + 1, 100_001, CHUNK] {
            let chunk = Chunk::of(&bytes[..length]);
            let mut padded = bytes[..length].to_vec();
            padded.resize(length.next_multiple_of(BLOCK), 0);
            let blocks = padded.as_chunks::<BLOCK>().0;
            assert_eq!((chunk.length(), chunk.blocks()), (length, blocks.len()));
            let mut from = 0;
            for (number, block) in blocks.iter().enumerate() {
                if may_end(block) {
                    assert_eq!(chunk.end_from(from), Some(number));
                    from = number + 1;
                }
            }
            assert_eq!(chunk.end_from(from), None);
        }
        let content = Content::of(vec![Chunk::of(&bytes), Chunk::of(b"rest")]);
        assert_eq!(content.length(), CHUNK as u64 + 4);
        let text = String::from(content.clone());
        assert_eq!(Content::try_from(text.clone()), Ok(content.clone()));
        assert_eq!(serde_json::from_str(&serde_json::to_string(&content).unwrap()).ok(), Some(content.clone()));
        assert_eq!(Content::try_from(String::new()), Ok(Content::default()));
        for bad in [&text[1..], &format!("{text}x"), &text.replace(' ', "  "), "x"] {
            assert!(Content::try_from(bad.to_string()).is_err(), "{bad}");
        }
        let contents: Contents = [(b"/file".to_vec(), content.clone())].into_iter().collect();
        assert_eq!(contents.get(b"/file", content.length()), Some(&content));
        assert_eq!(contents.get(b"/file", 4), None);
    }
}
