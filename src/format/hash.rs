//! SHA-256 of a sparse file, its holes not read, and with it a sparse copy.
//!
//! In: a file. Out: its digest, and the same bytes and holes in another file. One thread reads and copies while
//! another hashes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;

use sha2::{Digest, Sha256};

use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host;
use crate::release::artifact::hex;
use crate::report::Step;

const CHUNK: usize = 1 << 20;

enum Part {
    Data(Vec<u8>),
    Zeros(u64),
}

/// The digest of `file` in hexadecimal; `copy`, a new file, becomes the same as `file`.
pub fn hash(file: &File, copy: Option<&File>, step: &Step) -> Result<(String, Bytes)> {
    let size = file.metadata().or_cannot(|| "look at the disk")?.len();
    let ranges = host::file::data_ranges(file)?;
    if let Some(copy) = copy {
        copy.set_len(size).or_cannot(|| "make room for the disk")?;
    }
    let (sender, receiver) = sync_channel::<Part>(8);
    let read = || -> io::Result<()> {
        let mut at = 0;
        for range in ranges {
            if range.start > at && sender.send(Part::Zeros(range.start - at)).is_err() {
                return Ok(());
            }
            at = range.start;
            while at < range.end {
                let mut chunk = vec![0; (range.end - at).min(CHUNK as u64) as usize];
                file.read_exact_at(&mut chunk, at)?;
                if let Some(copy) = copy {
                    copy.write_all_at(&chunk, at)?;
                }
                at += chunk.len() as u64;
                step.advance(0, chunk.len() as u64);
                if sender.send(Part::Data(chunk)).is_err() {
                    return Ok(());
                }
            }
        }
        // The receiver is gone only where its thread panicked, which the scope reports.
        let _ = sender.send(Part::Zeros(size - at));
        drop(sender);
        Ok(())
    };
    let digest = std::thread::scope(|scope| {
        let hasher = scope.spawn(move || digest(receiver.into_iter()));
        let read = read().or_cannot(|| "read the disk");
        let digest = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.map(|()| digest)
    })?;
    Ok((digest, Bytes(size)))
}

fn digest(parts: impl Iterator<Item = Part>) -> String {
    let zeros = vec![0; CHUNK];
    let mut hash = Sha256::new();
    for part in parts {
        match part {
            Part::Data(bytes) => hash.update(&bytes),
            Part::Zeros(mut left) => {
                while left > 0 {
                    let length = left.min(CHUNK as u64);
                    hash.update(&zeros[..length as usize]);
                    left -= length;
                }
            }
        }
    }
    hex(&hash.finalize())
}
