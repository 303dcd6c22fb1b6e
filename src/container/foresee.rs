//! Compressing before it is time.
//!
//! In: a tree in which maintainer scripts still run. Out: compressed pieces of what a layer would hold if it were written
//! now. Most of them will be in the layer: whoever writes it finds them by the digests of what they were made from. Never a
//! part of any artifact by itself, and never an error: what goes away under it is left out. A file that looks as it did is
//! not read again.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compress::{Packed, pack};
use super::member::{Growing, Member};
use super::tar::{self, FileInTree, Sink};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::{Entry, Rooted};
use crate::parallel::InOrder;
use crate::pieces::content::Content;
use crate::pieces::{Pieces, Search};
use crate::plan::LayerCompression;

/// Compresses `tree` into `scratch` until `stop` is true: what is there at the start, and again what is new where `again` says
/// so, which waits until something is.
pub fn foresee(
    tree: &Rooted,
    epoch: i64,
    how: LayerCompression,
    scratch: &File,
    stop: &AtomicBool,
    again: &dyn Fn() -> bool,
) -> Search {
    let (mut index, mut offset, mut seen) = (Vec::new(), 0, Seen::default());
    loop {
        let Ok(file) = scratch.try_clone() else { break };
        // Where a folder goes away under it, there is nothing to see this time.
        let entries = tar::entries(tree).unwrap_or_default();
        let contents = entries.iter().filter_map(|entry| Some((entry.path.as_bytes().to_vec(), seen.content(entry)?)));
        let contents = contents.collect();
        let mut pieces = Pieces::of(file, &index);
        let search = pieces.search();
        let members = InOrder::new(move |member| Ok(pack(member, how, &search, false).ok()));
        // Told by the thread that writes, for the one that reads: they are the same.
        let ended = AtomicBool::new(false);
        let growing = Growing::default();
        let (pieces, seen) = (&mut pieces, &mut seen);
        let mut out = Foreseeing { scratch, stop, ended: &ended, growing, members, pieces, offset, seen };
        let _ = tar::sketch(tree, &entries, &contents, epoch, &mut out, &|| ended.load(Ordering::Relaxed));
        // Whatever ended it, the pieces that were written are good.
        let rest = out.finish();
        offset = out.offset;
        index.extend_from_slice(pieces.index());
        if rest.is_err() || ended.load(Ordering::Relaxed) || !again() {
            break;
        }
    }
    match scratch.try_clone() {
        Ok(file) => Pieces::of(file, &index).search(),
        Err(_) => Pieces::unknown().search(),
    }
}

/// What files held when they were read.
#[derive(Default)]
struct Seen(HashMap<Look, Content>);

/// What a file looks like from outside. One that changed and still looks so costs the pieces that it is in: nobody takes
/// a piece for anything but what was read for it.
#[derive(PartialEq, Eq, Hash)]
struct Look {
    inode: (u64, u64),
    size: u64,
    mtime: (i64, u32),
}

impl Look {
    fn of(entry: &Entry) -> Look {
        Look { inode: entry.inode, size: entry.size.0, mtime: (entry.mtime, entry.mtime_nanoseconds) }
    }
}

impl Seen {
    fn content(&self, entry: &Entry) -> Option<Content> {
        self.0.get(&Look::of(entry)).cloned()
    }
}

/// Puts the members that are new behind each other into the scratch file.
struct Foreseeing<'a> {
    scratch: &'a File,
    stop: &'a AtomicBool,
    /// Whether there is no use in going on.
    ended: &'a AtomicBool,
    growing: Growing,
    /// Nothing comes of a member whose files changed before they were read.
    members: InOrder<Member, Option<Packed>>,
    pieces: &'a mut Pieces,
    offset: u64,
    seen: &'a mut Seen,
}

impl Foreseeing<'_> {
    fn grow<T>(
        &mut self,
        add: impl FnOnce(&mut Growing, &mut dyn FnMut(Member) -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        if self.stop.load(Ordering::Relaxed) {
            self.ended.store(true, Ordering::Relaxed);
            return Err(Error::cannot(Exit::Temporary, "look further ahead").because("it is time to write"));
        }
        let mut growing = std::mem::take(&mut self.growing);
        let mut failed = false;
        let added = add(&mut growing, &mut |member| self.push(member).inspect_err(|_| failed = true));
        self.growing = growing;
        if failed {
            self.ended.store(true, Ordering::Relaxed);
        }
        added
    }

    fn push(&mut self, member: Member) -> Result<()> {
        let done = self.members.push(member)?;
        done.map_or(Ok(()), |packed| self.keep(packed))
    }

    fn keep(&mut self, packed: Option<Packed>) -> Result<()> {
        if let Some(Packed { packed, mark, .. }) = packed
            && mark.is_some_and(|mark| !mark.is_reused())
        {
            let what = || "keep what is compressed already";
            self.scratch.write_all_at(&packed, self.offset).or_cannot(what)?;
            self.pieces.note(mark, self.offset);
            self.offset += packed.len() as u64;
        }
        Ok(())
    }

    /// What is under way, and the last member where everything was written.
    fn finish(&mut self) -> Result<()> {
        if !self.ended.load(Ordering::Relaxed)
            && let Some(member) = self.growing.rest()
        {
            self.push(member)?;
        }
        while let Some(packed) = self.members.take()? {
            self.keep(packed)?;
        }
        Ok(())
    }
}

impl Sink for Foreseeing<'_> {
    fn blocks(&mut self, bytes: &[u8]) -> Result<()> {
        self.grow(|growing, ended| growing.blocks(bytes, ended))
    }

    fn content(&mut self, file: &FileInTree<'_>) -> Result<()> {
        if let Some(content) = self.grow(|growing, ended| growing.content(file, ended))? {
            self.seen.0.insert(Look::of(file.entry()), content);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::container::compress::{LayerWriter, Plain};
    use crate::host::file;
    use crate::host::rooted::RootPath;
    use crate::pieces::content::Contents;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..12_u64 {
            let noise = (0..1 << 20).map(|byte: u64| (byte.wrapping_mul(0x9e37_79b9_7f4a_7c15 + at) >> 50) as u8);
            file::write(&folder.path().join(format!("file{at:02}")), &noise.collect::<Vec<u8>>()).unwrap();
        }
        folder
    }

    fn sketch(tree: &Rooted, out: &mut dyn Sink) {
        let entries = tar::entries(tree).unwrap();
        tar::sketch(tree, &entries, &Contents::default(), 1, out, &|| false).unwrap();
    }

    /// Bytes found, and bytes that had to be made, when the tree is written now.
    fn written(folder: &tempfile::TempDir, search: Search) -> (Vec<u8>, (u64, u64)) {
        let mut pieces = Pieces::of_search(search);
        let mut packed = Vec::new();
        let hashed = Plain::Written(crate::release::hash::Hasher::start());
        let mut writer = LayerWriter::new(&mut packed, LayerCompression::Gzip, &mut pieces, 0, hashed);
        sketch(&Rooted::open(folder.path()).unwrap(), &mut writer);
        writer.finish().unwrap();
        (packed, pieces.reused_and_made())
    }

    #[test]
    fn what_was_foreseen_is_not_compressed_again_and_the_bytes_are_the_same() {
        let folder = tree();
        let scratch = tempfile::tempfile().unwrap();
        let rooted = Rooted::open(folder.path()).unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(false), &|| false);
        let (with, (reused, made)) = written(&folder, search.clone());
        assert!(reused > 0 && made == 0, "{reused} {made}");
        let (without, _) = written(&folder, Pieces::ignored().search());
        assert!(with == without);
        // What changed since then is seen.
        file::write(&folder.path().join("file05"), b"other").unwrap();
        let (with, (reused, made)) = written(&folder, search);
        assert!(reused > made && made > 0, "{reused} {made}");
        assert!(with == written(&folder, Pieces::ignored().search()).0);
        // What comes while it is gone through is seen when it is gone through again.
        let again = AtomicBool::new(true);
        let more = || {
            file::write(&folder.path().join("file12"), &vec![12; 3 << 20]).unwrap();
            again.swap(false, Ordering::Relaxed)
        };
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(false), &more);
        let (_, (reused, made)) = written(&folder, search);
        assert!(reused > 0 && made == 0, "{reused} {made}");
        assert!(rooted.walk(&RootPath::root()).unwrap().len() > 12);
    }

    #[test]
    fn a_file_that_changed_and_looks_as_before_costs_its_pieces_only() {
        let folder = tree();
        let (scratch, rooted) = (tempfile::tempfile().unwrap(), Rooted::open(folder.path()).unwrap());
        let (changed, again) = (folder.path().join("file05"), AtomicBool::new(true));
        let more = || {
            let file = file::open_for_update(&changed).unwrap();
            let before = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"other", 1000).unwrap();
            file.set_modified(before).unwrap();
            file::write(&folder.path().join("file12"), &vec![12; 3 << 20]).unwrap();
            again.swap(false, Ordering::Relaxed)
        };
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(false), &more);
        let (with, (reused, made)) = written(&folder, search);
        assert!(reused > made && made > 0, "{reused} {made}");
        assert!(with == written(&folder, Pieces::ignored().search()).0);
    }

    /// Removes a file when the first byte is written, cuts another one off, and brings a third.
    struct Meddling<'a>(&'a tempfile::TempDir, Vec<u8>);

    impl Write for Meddling<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.1.is_empty() {
                file::remove(&self.0.path().join("file03")).unwrap();
                file::open_for_update(&self.0.path().join("file05")).unwrap().set_len(1000).unwrap();
            }
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_goes_away_meanwhile_is_left_out_and_moves_nothing_else() {
        let folder = tree();
        let rooted = Rooted::open(folder.path()).unwrap();
        let mut meddling = Meddling(&folder, Vec::new());
        sketch(&rooted, &mut tar::Plain(&mut meddling));
        let mut later = Vec::new();
        sketch(&rooted, &mut tar::Plain(&mut later));
        // From file06 on, block by block.
        let length = 6 * (1 << 20) + 6 * 512 + 2 * 512;
        let (one, other) = (&meddling.1[meddling.1.len() - length..], &later[later.len() - length..]);
        assert!(one == other);
        assert_eq!(meddling.1.len() % 512, 0);
        assert!(one.starts_with(b"file06"));
    }

    #[test]
    fn it_ends_when_it_is_told_to_and_where_it_cannot_go_on() {
        let folder = tree();
        let rooted = Rooted::open(folder.path()).unwrap();
        let scratch = tempfile::tempfile().unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(true), &|| true);
        assert_eq!(written(&folder, search).1.0, 0);
        let read_only = file::open(&folder.path().join("file00")).unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &read_only, &AtomicBool::new(false), &|| true);
        assert_eq!(written(&folder, search).1.0, 0);
    }
}
