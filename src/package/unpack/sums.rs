//! The list `md5sums` of a package that brings none, as dpkg makes it.
//!
//! In: entries in the archive's order, as they are placed. Out: the list's text. What was not placed is not in it.

use std::collections::HashMap;

use super::staging::{Entry, Item};

/// The list while it grows; empty where content was not hashed.
#[derive(Debug, Default)]
pub struct Sums {
    /// Of what was placed, for its hard links.
    hashes: HashMap<Box<[u8]>, [u8; 16]>,
    text: Vec<u8>,
}

impl Sums {
    /// Notes an entry that was placed.
    pub fn add(&mut self, entry: &Entry) {
        let hash = match &entry.item {
            Item::File { md5, .. } => *md5,
            Item::HardLink(target) => self.hashes.get(target).copied(),
            _ => None,
        };
        let Some(hash) = hash else { return };
        self.hashes.insert(entry.path.clone(), hash);
        hash.iter().for_each(|byte| self.text.extend_from_slice(format!("{byte:02x}").as_bytes()));
        self.text.extend_from_slice(&[b"  ", &entry.path[1..], b"\n"].concat());
    }

    /// The file's content.
    pub fn text(self) -> Vec<u8> {
        self.text
    }
}
