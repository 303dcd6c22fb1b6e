//! Compressing before it is time.
//!
//! In: a tree in which maintainer scripts still run. Out: compressed pieces of what a layer would hold if it were written
//! now. Most of them will be in the layer: whoever writes it finds them by the digests of what they were made from. Never a
//! part of any artifact by itself, and never an error: where the tree changes under it, it ends.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::compress::LayerWriter;
use super::tar;
use crate::host::rooted::Rooted;
use crate::pieces::{Pieces, Search};
use crate::plan::LayerCompression;

/// Compresses `tree` into `scratch` until everything is done or `stop` is true.
pub fn foresee(tree: &Rooted, epoch: i64, how: LayerCompression, scratch: &File, stop: &AtomicBool) -> Search {
    let mut pieces = Pieces::unknown();
    let mut out = Stopping { out: LayerWriter::new(scratch, how, &mut pieces, 0), stop };
    // Whatever ends it, the pieces that were written are good.
    let done = tar::sketch(tree, epoch, &mut out);
    let Stopping { out, .. } = out;
    match done {
        Ok(()) => drop(out.finish()),
        Err(_) => drop(out),
    }
    match scratch.try_clone() {
        Ok(file) => Pieces::of(file, pieces.index()).search(),
        Err(_) => Pieces::unknown().search(),
    }
}

struct Stopping<'a, W> {
    out: W,
    stop: &'a AtomicBool,
}

impl<W: Write> Write for Stopping<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut writer = LayerWriter::new(&mut packed, LayerCompression::Gzip, &mut pieces, 0);
        tar::sketch(&Rooted::open(folder.path()).unwrap(), 1, &mut writer).unwrap();
        writer.finish().unwrap();
        (packed, pieces.reused_and_made())
    }

    #[test]
    fn what_was_foreseen_is_not_compressed_again_and_the_bytes_are_the_same() {
        let folder = tree();
        let scratch = tempfile::tempfile().unwrap();
        let rooted = Rooted::open(folder.path()).unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(false));
        let (with, (reused, made)) = written(&folder, search.clone());
        assert!(reused > 0 && made == 0, "{reused} {made}");
        let (without, _) = written(&folder, Pieces::ignored().search());
        assert!(with == without);
        // What changed since then is seen.
        file::write(&folder.path().join("file05"), b"other").unwrap();
        let (with, (reused, made)) = written(&folder, search);
        assert!(reused > made && made > 0, "{reused} {made}");
        assert!(with == written(&folder, Pieces::ignored().search()).0);
        assert!(rooted.walk(&RootPath::root()).unwrap().len() > 12);
    }

    #[test]
    fn it_ends_when_it_is_told_to_and_where_it_cannot_go_on() {
        let folder = tree();
        let rooted = Rooted::open(folder.path()).unwrap();
        let scratch = tempfile::tempfile().unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &scratch, &AtomicBool::new(true));
        assert_eq!(written(&folder, search).1.0, 0);
        let read_only = file::open(&folder.path().join("file00")).unwrap();
        let search = foresee(&rooted, 1, LayerCompression::Gzip, &read_only, &AtomicBool::new(false));
        assert_eq!(written(&folder, search).1.0, 0);
    }
}
