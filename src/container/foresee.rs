//! Compressing before it is time.
//!
//! In: a tree in which maintainer scripts still run. Out: compressed pieces of what a layer would hold if it were written
//! now. Most of them will be in the layer: whoever writes it finds them by the digests of what they were made from. Never a
//! part of any artifact by itself, and never an error: what goes away under it is left out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compress::{Packed, pack};
use super::member::{Growing, Member};
use super::tar::{self, FileInTree, Sink};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::Rooted;
use crate::parallel::InOrder;
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
    let (mut index, mut offset) = (Vec::new(), 0);
    loop {
        let Ok(file) = scratch.try_clone() else { break };
        let mut pieces = Pieces::of(file, &index);
        let search = pieces.search();
        let members = InOrder::new(move |member| pack(member, how, &search, false));
        // Told by the thread that writes, for the one that reads: they are the same.
        let ended = AtomicBool::new(false);
        let growing = Growing::default();
        let mut out = Foreseeing { scratch, stop, ended: &ended, growing, members, pieces: &mut pieces, offset };
        let _ = tar::sketch(tree, epoch, &mut out, &|| ended.load(Ordering::Relaxed));
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

/// Puts the members that are new behind each other into the scratch file.
struct Foreseeing<'a> {
    scratch: &'a File,
    stop: &'a AtomicBool,
    /// Whether there is no use in going on.
    ended: &'a AtomicBool,
    growing: Growing,
    members: InOrder<Member, Packed>,
    pieces: &'a mut Pieces,
    offset: u64,
}

impl Foreseeing<'_> {
    fn grow(
        &mut self,
        add: impl FnOnce(&mut Growing, &mut dyn FnMut(Member) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
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

    fn keep(&mut self, Packed { packed, mark, .. }: Packed) -> Result<()> {
        if mark.is_some_and(|mark| !mark.is_reused()) {
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
        self.grow(|growing, ended| growing.content(file, ended))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::container::compress::{LayerWriter, Plain};
    use crate::host::file;
    use crate::host::rooted::RootPath;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..12_u64 {
            let noise = (0..1 << 20).map(|byte: u64| (byte.wrapping_mul(0x9e37_79b9_7f4a_7c15 + at) >> 50) as u8);
            file::write(&folder.path().join(format!("file{at:02}")), &noise.collect::<Vec<u8>>()).unwrap();
        }
        folder
    }

    /// Bytes found, and bytes that had to be made, when the tree is written now.
    fn written(folder: &tempfile::TempDir, search: Search) -> (Vec<u8>, (u64, u64)) {
        let mut pieces = Pieces::of_search(search);
        let mut packed = Vec::new();
        let hashed = Plain::Written(crate::release::hash::Hasher::start());
        let mut writer = LayerWriter::new(&mut packed, LayerCompression::Gzip, &mut pieces, 0, hashed);
        tar::sketch(&Rooted::open(folder.path()).unwrap(), 1, &mut writer, &|| false).unwrap();
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
        tar::sketch(&rooted, 1, &mut tar::Plain(&mut meddling), &|| false).unwrap();
        let mut later = Vec::new();
        tar::sketch(&rooted, 1, &mut tar::Plain(&mut later), &|| false).unwrap();
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
