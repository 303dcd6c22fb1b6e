//! The checksums by which clouds know a file.
//!
//! In: a file. Out: SHA-256 (which must be the manifest's), and those that a target wants, in one pass; the entity tag of
//! S3 for any size of parts. Never keeps the file in memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use crate::error::{OrCannot, Result};
use crate::host::{file, signal};
use crate::release::artifact::hex;
use crate::report::Step;

const CHUNK: usize = 1 << 20;

/// A checksum that some cloud tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Google's and Azure's, in base64.
    Md5,
    /// Google's, in base64.
    Crc32c,
    /// Glance's, in hexadecimal.
    Sha512,
}

/// Checksums of a file; those that were not wanted are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// In hexadecimal.
    pub sha256: String,
    /// In base64.
    pub md5: String,
    /// In base64, most significant byte first.
    pub crc32c: String,
    /// In hexadecimal.
    pub sha512: String,
    /// Length of the file.
    pub size: u64,
}

/// Reads a file once.
pub fn of(path: &Path, wanted: &[Kind], step: &Step) -> Result<Checksums> {
    let file = file::open(path)?;
    let wants = |kind| wanted.contains(&kind);
    let (mut sha256, mut md5, mut sha512) = (Sha256::new(), Md5::new(), Sha512::new());
    let (table, mut crc) = (crc32c_table(), u32::MAX);
    let mut size = 0;
    chunks(file, path, |chunk| {
        sha256.update(chunk);
        if wants(Kind::Md5) {
            md5.update(chunk);
        }
        if wants(Kind::Sha512) {
            sha512.update(chunk);
        }
        if wants(Kind::Crc32c) {
            crc = crc32c(&table, crc, chunk);
        }
        size += chunk.len() as u64;
        step.advance(chunk.len() as u64, chunk.len() as u64);
    })?;
    let if_wanted = |kind, text: String| if wants(kind) { text } else { String::new() };
    Ok(Checksums {
        sha256: hex(&sha256.finalize()),
        md5: if_wanted(Kind::Md5, base64(&md5.finalize())),
        crc32c: if_wanted(Kind::Crc32c, base64(&(!crc).to_be_bytes())),
        sha512: if_wanted(Kind::Sha512, hex(&sha512.finalize())),
        size,
    })
}

fn chunks(mut file: File, path: &Path, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        signal::check()?;
        match file.read(&mut buffer).or_cannot(|| format!("read {}", path.display()))? {
            0 => return Ok(()),
            length => each(&buffer[..length]),
        }
    }
}

/// Whether `tag` is what S3 calls the file: MD5 where it came in one piece; else MD5 of the MD5 sums of its parts, and
/// their number. Parts have whole MiB, all but the last the same.
pub fn is_entity_tag(path: &Path, tag: &str) -> Result<bool> {
    let tag = tag.trim_matches('"');
    let size = file::open(path)?.metadata().or_cannot(|| format!("look at {}", path.display()))?.len();
    let (sum, parts) = match tag.split_once('-') {
        Some((sum, parts)) => (sum, parts.parse::<u64>().unwrap_or(0)),
        None => return Ok(part_sums(path, u64::MAX)?.first().is_some_and(|sum| hex(sum) == tag)),
    };
    if parts == 0 {
        return Ok(false);
    }
    for mib in sizes(size, parts) {
        if hex(&Md5::digest(part_sums(path, mib << 20)?.concat())) == sum {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sizes in MiB that give so many parts, likely ones first.
fn sizes(size: u64, parts: u64) -> Vec<u64> {
    let fits = |mib: &u64| *mib > 0 && size.div_ceil(mib << 20) == parts;
    let least = size.div_ceil(parts).div_ceil(1 << 20);
    let likely = [8, 5, 10, 15, 16, 32, 64, 100, 128, 256, 512];
    let mut all: Vec<u64> = likely.into_iter().chain([least]).filter(fits).collect();
    all.dedup();
    all
}

/// The MD5 sum of each part of this size; at least one.
fn part_sums(path: &Path, part: u64) -> Result<Vec<[u8; 16]>> {
    let (mut sums, mut sum, mut left) = (Vec::new(), Md5::new(), part);
    chunks(file::open(path)?, path, |mut chunk| {
        while !chunk.is_empty() {
            if left == 0 {
                sums.push(std::mem::take(&mut sum).finalize().into());
                left = part;
            }
            let (now, later) = chunk.split_at((chunk.len() as u64).min(left) as usize);
            sum.update(now);
            left -= now.len() as u64;
            chunk = later;
        }
    })?;
    sums.push(sum.finalize().into());
    Ok(sums)
}

/// Base64 with `=` at its end (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= group.len() { letter } else { '=' });
        }
    }
    text
}

/// Castagnoli's polynomial, reflected (RFC 3720, appendix B.4).
fn crc32c_table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

fn crc32c(table: &[u32; 256], crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| crc >> 8 ^ table[((crc ^ u32::from(*byte)) & 255) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Reporter;

    #[test]
    fn checksums_are_those_that_others_compute() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        file::write(&path, b"123456789").unwrap();
        let step = Reporter::silent().step("verify");
        let sums = of(&path, &[Kind::Md5, Kind::Crc32c], &step).unwrap();
        // The check value of CRC-32C is e3069283 (RFC 3720); md5sum says 25f9e794323b453885f5181f1b624d0b.
        assert_eq!((sums.crc32c.as_str(), sums.md5.as_str()), ("4waSgw==", "JfnnlDI7RTiF9RgfG2JNCw=="));
        assert_eq!((sums.size, sums.sha512.as_str()), (9, ""));
        assert_eq!(sums.sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_entity_tag_of_s3_is_known_whatever_the_parts() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        let content: Vec<u8> = (0..12u32 << 20).map(|byte| (byte / 251) as u8).collect();
        file::write(&path, &content).unwrap();
        let tag = |part: usize| {
            let sums: Vec<u8> = content.chunks(part).flat_map(Md5::digest).collect();
            format!("\"{}-{}\"", hex(&Md5::digest(sums)), content.len().div_ceil(part))
        };
        for part in [5 << 20, 8 << 20, 10 << 20, 6 << 20] {
            assert!(is_entity_tag(&path, &tag(part)).unwrap(), "{part}");
        }
        assert!(is_entity_tag(&path, &hex(&Md5::digest(&content))).unwrap());
        for wrong in ["x", "0123-2", "", "\"-0\""] {
            assert!(!is_entity_tag(&path, wrong).unwrap(), "{wrong}");
        }
    }
}
