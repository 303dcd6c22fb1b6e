//! Which firmware can start a disk, by its partition table.
//!
//! In: a disk, whatever its format. Out: what its GPT or MBR is made for. Never looks into a filesystem.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{OrCannot, Result};
use crate::format;

/// Type of an EFI system partition, as it stands on the disk (UEFI 2.10, 5.3.3).
const EFI: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Type of GRUB's BIOS boot partition.
const BIOS: [u8; 16] = *b"Hah!IdontNeedEFI";
/// Type of an EFI system partition in an MBR (UEFI 2.10, 5.2.2).
const EFI_IN_MBR: u8 = 0xef;
/// Boot code ends here in an MBR.
const BOOT_CODE: usize = 440;
/// The four partitions of an MBR, 16 bytes each.
const ENTRIES: std::ops::Range<usize> = 446..510;
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

/// Reads the partition table of a disk in any format that is written. 65 where the image is damaged.
pub fn of(path: &Path) -> Result<Firmware> {
    let mut disk = format::open(path)?;
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let what = || format!("read the partition table of {}", path.display());
    let Ok(start) = read(0, 2 * SECTOR as usize) else { return Ok(Firmware::Bios) };
    let (record, header) = start.split_at(SECTOR as usize);
    if &header[..8] != b"EFI PART" {
        return Ok(of_record(record));
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
    Ok(firmware(has(EFI), has(BIOS)))
}

/// Without a GPT: what stands in sector 0.
fn of_record(record: &[u8]) -> Firmware {
    let is_table = record.ends_with(&[0x55, 0xaa]);
    let has_esp = record[ENTRIES].chunks_exact(16).any(|entry| entry[4] == EFI_IN_MBR);
    firmware(is_table && has_esp, record[..BOOT_CODE].iter().any(|byte| *byte != 0))
}

fn firmware(is_for_uefi: bool, is_for_bios: bool) -> Firmware {
    match (is_for_uefi, is_for_bios) {
        (true, true) => Firmware::Both,
        (true, false) => Firmware::Uefi,
        (false, _) => Firmware::Bios,
    }
}
