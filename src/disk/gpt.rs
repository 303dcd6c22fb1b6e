//! The GUID partition table (UEFI 2.10, chapter 5), 512-byte sectors, 128 entries, primary and backup.
//!
//! In: partitions with their identifiers. Out: the first 34 and the last 33 sectors of a disk. And back, from any
//! disk. Never trusts what it reads: checksums, bounds and sizes are verified before they are used.

use std::io::{Read, Seek};

use super::mbr;
use super::table::{Listed, PartitionType, damaged, read_at};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::plan::Uuid;

/// What the table takes at the start of a disk, protective MBR included.
pub const HEAD: Bytes = Bytes(34 * 512);
/// What the backup takes at the end of a disk.
pub const TAIL: Bytes = Bytes(33 * 512);
const ENTRY: usize = 128;
const ENTRIES: usize = 128;
/// A table with more entries than this is an attack; the specification demands 128, Linux uses up to 256.
const MOST_ENTRIES: usize = 1024;

/// Partition type GUIDs (UEFI 2.10, table 5.7; the Discoverable Partitions Specification of the UAPI group).
pub mod kind {
    use crate::plan::Uuid;

    /// GRUB's core image on a disk for BIOS.
    pub const BIOS_BOOT: Uuid = Uuid(0x2168_6148_6449_6e6f_744e_6565_6445_4649_u128.to_be_bytes());
    /// EFI system partition.
    pub const ESP: Uuid = Uuid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128.to_be_bytes());
    /// `/boot` (extended boot loader partition).
    pub const BOOT: Uuid = Uuid(0xbc13_c2ff_59e6_4262_a352_b275_fd6f_7172_u128.to_be_bytes());
    /// Swap.
    pub const SWAP: Uuid = Uuid(0x0657_fd6d_a4ab_43c4_84e5_0933_c84b_4f4f_u128.to_be_bytes());
    /// Any Linux filesystem.
    pub const LINUX: Uuid = Uuid(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4_u128.to_be_bytes());

    /// `/` of an architecture named as `uname -m` does; of an unknown one [`LINUX`].
    pub fn root(arch: &str) -> Uuid {
        match arch {
            "x86_64" => Uuid(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709_u128.to_be_bytes()),
            "i386" | "i486" | "i586" | "i686" | "ix86" => {
                Uuid(0x4447_9540_f297_41b2_9af7_d131_d5f0_458a_u128.to_be_bytes())
            }
            "aarch64" => Uuid(0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae_u128.to_be_bytes()),
            "riscv64" => Uuid(0x72ec_70a6_cf74_40e6_bd49_4bda_08e8_f224_u128.to_be_bytes()),
            "ppc64le" => Uuid(0xc31c_45e6_3f39_412e_80fb_4809_c498_0599_u128.to_be_bytes()),
            "s390x" => Uuid(0x5eea_d9a9_fe09_4a1e_a1d7_520d_0053_1306_u128.to_be_bytes()),
            _ => LINUX,
        }
    }
}

/// Attribute bits of a partition (UEFI 2.10, table 5.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u64);

impl Attributes {
    /// The firmware needs the partition; partitioning programs warn before they remove it.
    pub const REQUIRED: Attributes = Attributes(1);
    /// What syslinux's GPT boot code starts from.
    pub const LEGACY_BOOT: Attributes = Attributes(1 << 2);
    /// systemd grows the filesystem to the partition's size (Discoverable Partitions Specification).
    pub const GROW_FILESYSTEM: Attributes = Attributes(1 << 59);
}

/// A partition of a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptPartition {
    /// 1-based number, at most 128.
    pub number: u32,
    /// Type GUID.
    pub kind: Uuid,
    /// Partition GUID (`PARTUUID=`).
    pub uuid: Uuid,
    /// Offset on the disk, whole sectors.
    pub start: Bytes,
    /// Length, whole sectors.
    pub size: Bytes,
    /// Name, at most 36 UTF-16 units.
    pub name: String,
    /// Attribute bits.
    pub attributes: Attributes,
}

/// The two ends of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Sectors 0 to 33: protective MBR, header, entries.
    pub head: Vec<u8>,
    /// The last 33 sectors: entries, backup header.
    pub tail: Vec<u8>,
}

/// Both copies of the table for a disk of `disk` bytes. 65 where a partition does not fit or a name is too long.
pub fn write(disk: Bytes, disk_id: Uuid, partitions: &[GptPartition], boot_code: &[u8]) -> Result<Ends> {
    let mut entries = vec![0; ENTRY * ENTRIES];
    for partition in partitions {
        let refuse = |why: &str| {
            Err(Error::cannot(Exit::Description, format!("write partition {} into a GPT", partition.number))
                .because(why))
        };
        let name: Vec<u16> = partition.name.encode_utf16().collect();
        if name.len() > 36 {
            return refuse("its name is longer than 36 characters");
        }
        let index = partition.number.wrapping_sub(1) as usize;
        let end = partition.start + partition.size;
        if index >= ENTRIES || partition.size == Bytes::ZERO || partition.start < HEAD || end + TAIL > disk {
            return refuse("it does not lie between the two copies of the table");
        }
        let entry = &mut entries[index * ENTRY..][..ENTRY];
        entry[..16].copy_from_slice(&partition.kind.to_gpt());
        entry[16..32].copy_from_slice(&partition.uuid.to_gpt());
        entry[32..40].copy_from_slice(&partition.start.sectors().to_le_bytes());
        entry[40..48].copy_from_slice(&(end.sectors() - 1).to_le_bytes());
        entry[48..56].copy_from_slice(&partition.attributes.0.to_le_bytes());
        for (place, unit) in entry[56..].chunks_exact_mut(2).zip(name) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    Ok(ends(disk, disk_id, &entries, &mbr::protective_record(boot_code, disk)?))
}

/// Both copies of a table whose entries are known.
pub(super) fn ends(disk: Bytes, disk_id: Uuid, entries: &[u8], record: &[u8]) -> Ends {
    let last = disk.sectors() - 1;
    let mut head = record.to_vec();
    head.extend(header_of(disk, disk_id, entries));
    head.extend(entries);
    let mut tail = entries.to_vec();
    tail.extend(header(last, 1, last, last - 32, disk_id, crc32fast::hash(entries)));
    Ends { head, tail }
}

/// The primary header.
pub(super) fn header_of(disk: Bytes, disk_id: Uuid, entries: &[u8]) -> [u8; 512] {
    let last = disk.sectors() - 1;
    header(1, last, last, 2, disk_id, crc32fast::hash(entries))
}

fn header(this: u64, other: u64, last: u64, entries: u64, disk_id: Uuid, checksum: u32) -> [u8; 512] {
    let mut header = [0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[24..32].copy_from_slice(&this.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&34_u64.to_le_bytes());
    header[48..56].copy_from_slice(&(last - 33).to_le_bytes());
    header[56..72].copy_from_slice(&disk_id.to_gpt());
    header[72..80].copy_from_slice(&entries.to_le_bytes());
    header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
    header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
    header[88..92].copy_from_slice(&checksum.to_le_bytes());
    let own = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&own.to_le_bytes());
    header
}

/// The partitions of the primary table, whose sectors may be of 512 or 4096 bytes.
pub(super) fn read(disk: &mut (impl Read + Seek), size: Bytes) -> Result<Vec<Listed>> {
    let mut block = vec![0; 4096];
    for sector in [512_u64, 4096] {
        if size.0 < sector * 3 {
            continue;
        }
        let header = &mut block[..sector as usize];
        read_at(disk, sector, header)?;
        if header.starts_with(b"EFI PART") {
            return read_entries(disk, size, sector, header);
        }
    }
    Err(damaged("the MBR announces a GPT that is not there"))
}

fn read_entries(disk: &mut (impl Read + Seek), size: Bytes, sector: u64, header: &mut [u8]) -> Result<Vec<Listed>> {
    let long = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let short = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let (length, own) = (short(header, 12) as usize, short(header, 16));
    if !(92..=512).contains(&length) {
        return Err(damaged("the length of the GPT header is impossible"));
    }
    header[16..20].fill(0);
    if crc32fast::hash(&header[..length]) != own {
        return Err(damaged("the checksum of the GPT header is wrong"));
    }
    let (first, last, at) = (long(header, 40), long(header, 48), long(header, 72));
    let (number, entry) = (short(header, 80) as usize, short(header, 84) as usize);
    let sectors = size.0 / sector;
    if number > MOST_ENTRIES || !(128..=1024).contains(&entry) || !entry.is_multiple_of(128) {
        return Err(damaged("the number or the length of the GPT's entries is impossible"));
    }
    let bytes = (number * entry) as u64;
    if at < 2 || at.checked_add(bytes.div_ceil(sector)).is_none_or(|end| end > sectors) || last >= sectors {
        return Err(damaged("the GPT does not lie on the disk"));
    }
    let mut entries = vec![0; number * entry];
    read_at(disk, at * sector, &mut entries)?;
    if crc32fast::hash(&entries) != short(header, 88) {
        return Err(damaged("the checksum of the GPT's entries is wrong"));
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(entry)) {
        if entry[..16] == [0; 16] {
            continue;
        }
        let (start, end) = (long(entry, 32), long(entry, 40));
        if start < first || end < start || end > last {
            return Err(damaged(format!("partition {number} does not lie in the GPT's part of the disk")));
        }
        let units = entry[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let name = char::decode_utf16(units.take_while(|unit| *unit != 0));
        found.push(Listed {
            number,
            kind: PartitionType::Gpt(from_gpt(&entry[..16])),
            start: Bytes(start * sector),
            size: Bytes((end - start + 1) * sector),
            name: name.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
        });
    }
    Ok(found)
}

/// The swap of [`Uuid::to_gpt`] is its own inverse.
fn from_gpt(bytes: &[u8]) -> Uuid {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[..16]);
    Uuid(Uuid(uuid).to_gpt())
}
