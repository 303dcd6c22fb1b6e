//! How much may come out of something compressed: a few megabytes can stand for terabytes.
//!
//! In: a decompressed stream, and how long it is compressed. Out: the same stream, which ends in an error where more comes
//! out of it than of any image that was not made for that. Never reads ahead.

use std::fs::File;
use std::io::{self, Read};

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::untar;

/// gzip makes at most 1032 bytes of one. Other compressions make more of zeros alone ...
const TIMES: u64 = 1100;
/// ... and may, up to so many bytes.
const ALWAYS: Bytes = Bytes::gib(1);

/// A stream that does not go on without end.
pub struct Bounded<R> {
    input: R,
    packed: u64,
    most: u64,
    read: u64,
}

/// How many bytes may come out of so many.
fn most(packed: u64) -> u64 {
    packed.saturating_mul(TIMES).max(ALWAYS.0)
}

impl<R> Bounded<R> {
    /// What comes out of `packed` compressed bytes.
    pub fn new(input: R, packed: u64) -> Bounded<R> {
        Bounded { input, packed, most: most(packed), read: 0 }
    }

    /// Why it did not go on: 65. `None` where it did.
    pub fn beyond(&self) -> Option<Error> {
        let (packed, most) = (Bytes(self.packed), Bytes(self.most));
        (self.read > self.most).then(|| {
            Error::cannot(Exit::Description, "decompress all of it")
                .because(format!("{packed} hold more than {most}: it may be made to fill disks"))
                .hint("if it is meant to be so: what gzip compressed, and what is not compressed, has no such limit")
        })
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read <= self.most {
            let read = self.input.read(buffer)?;
            self.read = self.read.saturating_add(read as u64);
            if self.read <= self.most {
                return Ok(read);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "more comes out of it than of any image"))
    }
}

/// Decompresses a whole archive into an empty file, where so much is free. 65 where more comes out of it than of any image,
/// 74 before the filesystem is full.
pub fn decompress(archive: File, mut into: File, free: Bytes) -> Result<File> {
    let packed = archive.metadata().or_cannot(|| "look at the archive")?.len();
    // Others write there, too.
    let room = free.0 / 20 * 19;
    let mut plain = Bounded::new(untar::decompressed(archive)?, packed);
    let copied = io::copy(&mut Read::take(&mut plain, room.saturating_add(1)), &mut into);
    if let Some(error) = plain.beyond() {
        return Err(error);
    }
    if copied.or_cannot(|| "decompress the archive")? > room {
        return Err(Error::cannot(Exit::Io, "decompress the archive")
            .because(format!("{} hold more than {}, and {free} are free", Bytes(packed), Bytes(room)))
            .hint("free some space there, or choose another folder"));
    }
    Ok(into)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn what_gzip_can_make_of_something_is_read_and_no_more() {
        assert_eq!(most(1), ALWAYS.0);
        assert!(most(10_000_000) > 10_000_000 * 1032);
        assert_eq!(most(u64::MAX), u64::MAX);
        for (length, whole) in [(999, true), (1000, true), (1001, false)] {
            let mut bounded = Bounded { most: 1000, ..Bounded::new(io::repeat(7).take(length), 1) };
            assert_eq!(io::copy(&mut bounded, &mut io::sink()).is_ok(), whole, "{length}");
            assert_eq!(bounded.beyond().map(|error| error.exit()), (!whole).then_some(Exit::Description), "{length}");
        }
    }

    #[test]
    fn an_archive_is_decompressed_where_it_has_room_and_ends_before_the_disk_is_full() {
        let archive = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&zstd::encode_all(vec![0; 950].as_slice(), 1).unwrap()).unwrap();
            file.rewind().unwrap();
            file
        };
        for (free, fits) in [(1000, true), (999, false)] {
            let done = decompress(archive(), tempfile::tempfile().unwrap(), Bytes(free));
            match fits {
                true => assert_eq!(done.unwrap().metadata().unwrap().len(), 950),
                false => assert_eq!(done.unwrap_err().exit(), Exit::Io),
            }
        }
    }
}
