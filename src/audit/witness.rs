//! Somebody who looks at the files of an artifact together with the auditor, so that it is read once.
//!
//! In: entries and their content, in any order. Out: what the witness keeps of them. Never changes what the auditor sees.

use std::io::{self, Read};

use super::InArtifact;
use crate::bytes::Bytes;
use crate::error::Result;
use crate::root::tree::Entry;
use crate::scrub::Auditor;

/// See the module.
pub trait Witness {
    /// How much of a regular file's content it wants, from the start; nothing: [`Bytes::ZERO`].
    fn wants(&self, entry: &Entry) -> Bytes;

    /// An entry, with what it wanted of the content; less where the file is longer.
    fn see(&mut self, entry: &Entry, content: Vec<u8>);
}

/// The auditor works alone.
#[derive(Debug)]
pub struct Nobody;

impl Witness for Nobody {
    fn wants(&self, _: &Entry) -> Bytes {
        Bytes::ZERO
    }

    fn see(&mut self, _: &Entry, _: Vec<u8>) {}
}

/// Shows an entry to both; the auditor reads a regular file to its end.
pub(super) fn see(
    auditor: &mut Auditor,
    witness: &mut dyn Witness,
    entry: Entry,
    content: &mut dyn Read,
) -> Result<()> {
    let wanted = if entry.is_file() { witness.wants(&entry).0 as usize } else { 0 };
    let mut copied = Copied { content, kept: Vec::new(), wanted };
    let shown = entry.clone();
    auditor.see(entry, &mut copied).in_artifact()?;
    witness.see(&shown, copied.kept);
    Ok(())
}

struct Copied<'a> {
    content: &'a mut dyn Read,
    kept: Vec<u8>,
    wanted: usize,
}

impl Read for Copied<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        let more = self.wanted.saturating_sub(self.kept.len()).min(read);
        self.kept.extend_from_slice(&buffer[..more]);
        Ok(read)
    }
}
