//! Identifiers that look random and are not: every one is derived from the seed and a label.
//!
//! In: name, version and `SOURCE_DATE_EPOCH`. Out: UUIDs (RFC 9562, version 4 in form) and raw bytes.
//! Never asks the host for randomness.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// 32 bytes that every identifier of one image is derived from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of an image. `epoch` is only what the user fixed, not what a mirror says, so that it is known while planning.
    pub fn new(name: &str, version: &str, epoch: Option<i64>) -> Seed {
        let mut hash = Sha256::new();
        for part in [name, version, &epoch.map(|epoch| epoch.to_string()).unwrap_or_default()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Seed(hash.finalize().into())
    }

    /// The seed that a manifest shows: 64 hexadecimal digits; `None` where these are none.
    pub fn from_hex(text: &str) -> Option<Seed> {
        let digits: Vec<u8> =
            text.chars().map(|char| char.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().ok().filter(|_| digits.len() == 64).map(Seed)
    }

    /// The seed of a disk of which nothing is known but itself: what holds its partition table.
    pub fn of_disk(start: &[u8]) -> Seed {
        Seed(Sha256::digest(start).into())
    }

    /// 32 bytes for `label`; different labels give unrelated bytes.
    pub fn bytes(&self, label: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(label.as_bytes());
        hash.finalize().into()
    }

    /// A UUID for `label`.
    pub fn uuid(&self, label: &str) -> Uuid {
        let bytes = self.bytes(label);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[..16]);
        // Version 4 rather than 8: blkid, systemd and firmware all know it.
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        Uuid(uuid)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A UUID, bytes in the order in which it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The mixed-endian form that GPT stores (UEFI 2.10, appendix A).
    pub fn to_gpt(self) -> [u8; 16] {
        let b = self.0;
        [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
    }

    /// First four bytes: an MBR disk signature or a FAT volume id.
    pub fn short(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_survives_its_text() {
        let seed = Seed::new("name", "1.0", Some(5));
        assert_eq!(Seed::from_hex(&seed.to_string()), Some(seed));
        for bad in ["", "00", "zz", &"g".repeat(64), &"0".repeat(65), &"ä".repeat(32)] {
            assert_eq!(Seed::from_hex(bad), None, "{bad}");
        }
    }
}
