//! Which firmware can start a disk, by its partition table.
//!
//! In: a disk, whatever its format. Out: what its GPT has partitions for. Never looks into a filesystem.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{OrCannot, Result};
use crate::format;

/// Type of an EFI system partition, as it stands on the disk (UEFI 2.10, 5.3.3).
const EFI: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Type of GRUB's BIOS boot partition.
const BIOS: [u8; 16] = *b"Hah!IdontNeedEFI";
const SECTOR: u64 = 512;

/// What a disk can be started by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS: there is no EFI system partition.
    Bios,
    /// UEFI.
    Uefi,
    /// Either.
    Both,
}

/// Reads the GPT of a raw or qcow2 disk (or of a fixed VHD, which begins as a raw disk does). Without GPT: a BIOS.
pub fn of(path: &Path) -> Result<Firmware> {
    let mut disk = format::open(path)?;
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let what = || format!("read the partition table of {}", path.display());
    let Ok(header) = read(SECTOR, SECTOR as usize) else { return Ok(Firmware::Bios) };
    if &header[..8] != b"EFI PART" {
        return Ok(Firmware::Bios);
    }
    let number = |at: usize, length: usize| {
        header[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let (at, count, size) = (number(72, 8).saturating_mul(SECTOR), number(80, 4).min(1024), number(84, 4).min(4096));
    if size < 16 {
        return Ok(Firmware::Bios);
    }
    let table = read(at, (count * size) as usize).or_cannot(what)?;
    let has = |kind: [u8; 16]| table.chunks_exact(size as usize).any(|entry| entry[..16] == kind);
    Ok(match (has(EFI), has(BIOS)) {
        (true, true) => Firmware::Both,
        (true, false) => Firmware::Uefi,
        (false, _) => Firmware::Bios,
    })
}
