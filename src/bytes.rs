//! A number of bytes, so that a unit is never a suffix of a name.
//!
//! In: bytes, MiB, GiB. Out: the same, aligned or printed for people. Never a count of sectors or blocks.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// A size or an offset in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Bytes = Bytes(0);
    /// The sector size of every disk that ingot writes by default.
    pub const SECTOR: Bytes = Bytes(512);

    /// `n` times 1024.
    pub const fn kib(n: u64) -> Bytes {
        Bytes(n << 10)
    }

    /// `n` times 1024².
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// `n` times 1024³.
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// The next multiple of `unit`, itself where it is one.
    pub const fn align_up(self, unit: Bytes) -> Bytes {
        Bytes(self.0.div_ceil(unit.0) * unit.0)
    }

    /// The multiple of `unit` at or below.
    pub const fn align_down(self, unit: Bytes) -> Bytes {
        Bytes(self.0 / unit.0 * unit.0)
    }

    /// How many sectors of 512 bytes, rounded up.
    pub const fn sectors(self) -> u64 {
        self.0.div_ceil(512)
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0 - other.0)
    }
}

impl Mul<u64> for Bytes {
    type Output = Bytes;
    fn mul(self, times: u64) -> Bytes {
        Bytes(self.0 * times)
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.0 += other.0;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    /// `1.1 GB`, `231 MB`, `412 bytes`: decimal units, as disks are sold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{} bytes", self.0),
            1_000..1_000_000 => format!("{:.1} kB", bytes / 1e3),
            1_000_000..100_000_000 => format!("{:.1} MB", bytes / 1e6),
            100_000_000..1_000_000_000 => format!("{:.0} MB", bytes / 1e6),
            _ => format!("{:.1} GB", bytes / 1e9),
        };
        f.pad(&text)
    }
}

/// Whether nothing but zeros is there.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |sum, byte| sum | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}
