//! Reading a layer back while it is written.
//!
//! In: a file that grows, and how long each member is as soon as it is there. Out: the SHA-256 of what comes out of them, and
//! the same bytes for a [`LayerReader`]. Everything is read from the file, not taken from whoever wrote it. Never holds more
//! than a few members.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::member::LONGEST;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file::begin_to_sync_range;
use crate::host::untar::{Compression, MemberDecoder};
use crate::parallel::Sent;
use crate::release::hash::{Buffers, Hasher};

/// So many new bytes are worth asking the kernel to begin writing them to its disk, so that publishing has little left to wait
/// for.
const WRITE_BACK: u64 = 8 << 20;
/// Members that may wait for the reader.
const WAITING: usize = 4;

/// Somebody who looks at layers while they are written.
pub trait LayerReader: Sync {
    /// Reads the uncompressed archive of the layer whose first byte is at `offset` of the artifact. What follows its end need
    /// not be read.
    fn read(&self, offset: u64, plain: &mut dyn Read) -> Result<()>;

    /// The layer at `offset` was read, and all of it is in so many bytes of the artifact.
    fn was_read(&self, offset: u64, size: u64);
}

/// A member that is in the file now, behind those before it.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Its length.
    pub length: usize,
    /// CRC-32 of what was written.
    pub sum: u32,
}

/// What was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadBack {
    /// SHA-256 of the uncompressed archive.
    pub plain_sha256: String,
    /// How much of the artifact it took.
    pub size: u64,
}

/// Reads members of `file`, which follow each other from `offset` on, until no more are told.
pub(super) fn follow(
    file: &File,
    offset: u64,
    members: Receiver<Written>,
    how: Compression,
    reader: &dyn LayerReader,
) -> Result<ReadBack> {
    let what = || "read the layer back";
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let looking = scope.spawn(move || reader.read(offset, &mut Sent::new(receiver)));
        let unpack = || {
            let (hasher, mut buffers) = (Hasher::start(), Buffers::default());
            let mut decoder = MemberDecoder::new(how, LONGEST).or_cannot(what)?;
            let mut packed = Vec::new();
            let (mut end, mut begun) = (offset, offset);
            for Written { length, sum } in members {
                packed.resize(length, 0);
                file.read_exact_at(&mut packed, end).or_cannot(what)?;
                end += length as u64;
                if crc32fast::hash(&packed) != sum {
                    return Err(Error::cannot(Exit::Io, what()).because("the file does not hold what was written"));
                }
                let length = decoder.length(&packed).or_cannot(what)?;
                let plain = buffers.fill(length, |plain| decoder.unpack(&packed, plain)).or_cannot(what)?;
                hasher.add(Arc::clone(&plain));
                if end >= begun + WRITE_BACK {
                    begin_to_sync_range(file, begun..end);
                    begun = end;
                }
                // It fails where the reader has seen enough.
                let _ = sender.send(Ok(plain));
            }
            Ok(ReadBack { plain_sha256: hasher.finish()?, size: end - offset })
        };
        let unpacked = unpack();
        drop(sender);
        let looked = looking.join().unwrap_or_else(|panic| resume_unwind(panic));
        // What cannot be decompressed looks cut off to the reader.
        let unpacked = unpacked?;
        looked.map(|()| unpacked)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::release::artifact::hex;

    /// Keeps the first bytes of what it reads.
    struct Keeps(usize, Mutex<Vec<u8>>);

    impl LayerReader for Keeps {
        fn read(&self, offset: u64, plain: &mut dyn Read) -> Result<()> {
            assert_eq!(offset, 5);
            let mut kept = Vec::new();
            plain.take(self.0 as u64).read_to_end(&mut kept).or_cannot(|| "look")?;
            *self.1.lock().unwrap() = kept;
            Ok(())
        }

        fn was_read(&self, _: u64, _: u64) {}
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// Follows members that are written behind `.....`; `spoil` may change the file before it is read.
    fn followed(
        members: &[Vec<u8>],
        how: Compression,
        reader: &Keeps,
        spoil: impl Fn(&mut Vec<u8>),
    ) -> Result<ReadBack> {
        let mut whole = [b".....".as_slice(), &members.concat()].concat();
        spoil(&mut whole);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole).unwrap();
        let (sender, receiver) = channel();
        for member in members {
            sender.send(Written { length: member.len(), sum: crc32fast::hash(member) }).unwrap();
        }
        drop(sender);
        follow(&file, 5, receiver, how, reader)
    }

    #[test]
    fn what_is_read_back_is_what_was_packed_and_is_hashed_to_its_end() {
        let plain: Vec<Vec<u8>> =
            (1..20_usize).map(|number| (0..number * 50_001).map(|at| (at * number / 999) as u8).collect()).collect();
        let whole = plain.concat();
        let zstd = |plain: &Vec<u8>| zstd::bulk::compress(plain, 1).unwrap();
        for (how, members) in [
            (Compression::Gzip, plain.iter().map(|plain| gzip(plain)).collect::<Vec<_>>()),
            (Compression::Zstd, plain.iter().map(zstd).collect()),
            (Compression::None, plain.clone()),
        ] {
            for wanted in [usize::MAX, 1000, 0] {
                let reader = Keeps(wanted, Mutex::default());
                let read = followed(&members, how, &reader, |_| {}).unwrap();
                assert_eq!(read.plain_sha256, hex(&Sha256::digest(&whole)));
                assert_eq!(read.size, members.concat().len() as u64);
                assert!(*reader.1.lock().unwrap() == whole[..wanted.min(whole.len())]);
            }
        }
    }

    #[test]
    fn a_member_that_is_not_what_was_written_is_an_error() {
        let reader = Keeps(usize::MAX, Mutex::default());
        let plain = b"something to be packed, again and again; something to be packed".repeat(50);
        let members = [gzip(&plain), gzip(&plain)];
        let length = members[0].len();
        for at in [5, 5 + length / 2, 5 + length - 6, 5 + 2 * length - 1] {
            let error = followed(&members, Compression::Gzip, &reader, |whole| whole[at] ^= 0x10).unwrap_err();
            assert!(error.text().contains("read the layer back"), "{at}: {}", error.text());
        }
        followed(&members, Compression::Gzip, &reader, |whole| whole.truncate(whole.len() - 1)).unwrap_err();
        // One member and a half where one was told.
        let joined = [members.concat()];
        followed(&joined, Compression::Gzip, &reader, |_| {}).unwrap_err();
        let zstd = [zstd::bulk::compress(&plain, 1).unwrap()];
        followed(&zstd, Compression::Zstd, &reader, |whole| *whole.last_mut().unwrap() ^= 1).unwrap_err();
    }
}
