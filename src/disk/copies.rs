//! Both copies of a GPT, whoever wrote it: whether they are sound and where they belong, and putting them there.
//!
//! In: a disk of any origin. Out: what is wrong with its tables; or, on request, the same disk with the backup at its end.
//! Never trusts what it reads: a copy counts only where its checksums and bounds are right. Never moves a partition.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;

use super::mbr;
use super::table::{damaged, read_at};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};

/// A table with more entries than this is an attack.
const MOST_ENTRIES: usize = 1024;
const SHIELD: u8 = mbr::kind::PROTECTIVE;

/// One copy of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    /// Its header, without what lies behind in the sector.
    header: Vec<u8>,
    entries: Vec<u8>,
}

/// The tables of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    sector: u64,
    /// How many sectors the disk has.
    sectors: u64,
    primary: Result<Copy, String>,
    backup: Result<Copy, String>,
    /// The size that the shield in the MBR states, where it is the only entry.
    shield: Option<u64>,
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

fn short(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

impl Copy {
    fn read(disk: &mut (impl Read + Seek), sector: u64, sectors: u64, at: u64) -> Result<Copy, String> {
        let mut block = vec![0; sector as usize];
        read_at(disk, at * sector, &mut block).map_err(|error| error.causes().join("; "))?;
        if !block.starts_with(b"EFI PART") {
            return Err(format!("there is none in sector {at}"));
        }
        let length = short(&block, 12) as usize;
        if !(92..=512).contains(&length) {
            return Err("the length of its header is impossible".into());
        }
        let mut header = block[..length].to_vec();
        header[16..20].fill(0);
        if crc32fast::hash(&header) != short(&block, 16) {
            return Err("the checksum of its header is wrong".into());
        }
        let copy = Copy { header: block[..length].to_vec(), entries: Vec::new() };
        if copy.place() != at {
            return Err(format!("it says that it stands in sector {}", copy.place()));
        }
        let (number, size) = (short(&block, 80) as usize, short(&block, 84) as usize);
        if number > MOST_ENTRIES || !(128..=1024).contains(&size) || !size.is_multiple_of(128) {
            return Err("the number or the length of its entries is impossible".into());
        }
        let first = copy.entries_at();
        let end = first.checked_add((number * size) as u64 / sector + 1);
        if first < 2 || end.is_none_or(|end| end > sectors) || copy.last() >= sectors {
            return Err("it does not lie on the disk".into());
        }
        let mut entries = vec![0; number * size];
        read_at(disk, first * sector, &mut entries).map_err(|error| error.causes().join("; "))?;
        if crc32fast::hash(&entries) != short(&block, 88) {
            return Err("the checksum of its entries is wrong".into());
        }
        Ok(Copy { entries, ..copy })
    }

    fn place(&self) -> u64 {
        long(&self.header, 24)
    }

    fn other(&self) -> u64 {
        long(&self.header, 32)
    }

    fn last(&self) -> u64 {
        long(&self.header, 48)
    }

    fn entries_at(&self) -> u64 {
        long(&self.header, 72)
    }

    /// The last sector of any partition.
    fn end_of_partitions(&self) -> u64 {
        let size = short(&self.header, 84).max(128) as usize;
        let used = self.entries.chunks_exact(size).filter(|entry| entry[..16] != [0; 16]);
        used.map(|entry| long(entry, 40)).max().unwrap_or(0)
    }

    /// The same table for another place.
    fn moved(&self, place: u64, other: u64, last: u64, entries_at: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        for (at, value) in [(24, place), (32, other), (48, last), (72, entries_at)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[16..20].fill(0);
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    }
}

/// The tables of a disk; `None` where its MBR announces no GPT. 74 where the disk cannot be read.
pub fn examine(disk: &mut (impl Read + Seek), size: Bytes) -> Result<Option<Copies>> {
    if size < Bytes(512 * 3) {
        return Ok(None);
    }
    let mut record = [0; 512];
    read_at(disk, 0, &mut record)?;
    let Some(entries) = mbr::entries(&record) else { return Ok(None) };
    if entries.iter().all(|(kind, _, _)| *kind != SHIELD) {
        return Ok(None);
    }
    let used: Vec<_> = entries.iter().filter(|(kind, _, _)| *kind != 0).collect();
    let shield = (used.len() == 1).then(|| used[0].2);
    let sector = sector(disk, size)?;
    let sectors = size.0 / sector;
    let primary = Copy::read(disk, sector, sectors, 1);
    let backup = Copy::read(disk, sector, sectors, sectors - 1);
    Ok(Some(Copies { sector, sectors, primary, backup, shield }))
}

/// Length of a sector: where a header stands says it.
fn sector(disk: &mut (impl Read + Seek), size: Bytes) -> Result<u64> {
    let mut magic = [0; 8];
    for (sector, at) in
        [(512, 512), (4096, 4096), (512, size.0 / 512 * 512 - 512), (4096, (size.0 / 4096 * 4096).saturating_sub(4096))]
    {
        if at + 8 <= size.0 {
            read_at(disk, at, &mut magic)?;
            if &magic == b"EFI PART" {
                return Ok(sector);
            }
        }
    }
    Ok(512)
}

impl Copies {
    /// What is wrong, a sentence each: with the copy at the start.
    pub fn problems_of_primary(&self) -> Vec<String> {
        match &self.primary {
            Err(why) => vec![format!("the primary GPT is damaged: {why}")],
            Ok(_) => Vec::new(),
        }
    }

    /// What is wrong, a sentence each: with the copy at the end, and with what says how large the disk is.
    pub fn problems_of_backup(&self) -> Vec<String> {
        let end = self.sectors - 1;
        let mut problems = Vec::new();
        match (&self.primary, &self.backup) {
            (Ok(primary), _) if primary.other() != end => problems.push(format!(
                "the primary GPT says that its backup is in sector {}, and the disk's last one is {end}",
                primary.other()
            )),
            (_, Err(why)) => problems.push(format!("the backup GPT at the end of the disk is damaged: {why}")),
            (Ok(primary), Ok(backup)) => {
                let same = primary.entries == backup.entries && primary.header[40..72] == backup.header[40..72];
                if !same || backup.other() != 1 {
                    problems.push("the backup GPT is not a copy of the primary one".into());
                }
            }
            (Err(_), Ok(_)) => {}
        }
        let wanted = (self.sectors - 1).min(u64::from(u32::MAX));
        if let Some(shield) = self.shield
            && shield != wanted
        {
            problems.push(format!("the protective MBR covers {shield} sectors and not {wanted}"));
        }
        problems
    }
}

/// Writes both copies where they belong on a disk of this length, from the one that is sound (the primary one, where both
/// are). 65 where neither is, or where a partition reaches into the backup's place.
pub fn repair(disk: &File) -> Result<()> {
    let refuse = |why: String| Err(Error::cannot(Exit::Description, "repair the partition table").because(why));
    let size = Bytes(disk.metadata().or_cannot(|| "look at the disk")?.len());
    let mut reader = disk;
    let Some(copies) = examine(&mut reader, size)? else { return refuse("the disk has no GPT".into()) };
    let (sector, end) = (copies.sector, copies.sectors - 1);
    // Where the disk grew, the backup is where the primary copy says; else it is at the end.
    let good = match (&copies.primary, &copies.backup) {
        (Ok(primary), _) => primary,
        (Err(_), Ok(backup)) => backup,
        (Err(primary), Err(backup)) => return refuse(format!("neither copy is sound: {primary}; {backup}")),
    };
    let length = (good.entries.len() as u64).div_ceil(sector);
    let last = end.saturating_sub(length + 1);
    if good.end_of_partitions() > last || last <= length + 2 {
        return refuse(format!(
            "a partition reaches up to sector {}: no room for the backup",
            good.end_of_partitions()
        ));
    }
    let mut record = [0; 512];
    disk.read_exact_at(&mut record, 0).or_cannot(|| "read the boot record")?;
    if copies.shield.is_some() {
        let shield = mbr::protective_record(&record[..mbr::SIGNATURE], Bytes(size.0 / sector * 512))?;
        record[446..].copy_from_slice(&shield[446..]);
    }
    let entries_at = if copies.primary.is_ok() { good.entries_at() } else { 2 };
    let primary = good.moved(1, end, last, entries_at);
    let backup = good.moved(end, 1, last, end - length);
    let old = good.other();
    let write = || -> std::io::Result<()> {
        // The old backup is nothing any more: by the primary copy's own word it is the table's, and no partition is there.
        if copies.primary.is_ok() && old < end && old > good.end_of_partitions() + length {
            disk.write_all_at(&vec![0; ((length + 1) * sector) as usize], (old - length) * sector)?;
        }
        disk.write_all_at(&padded(&good.entries, sector), (end - length) * sector)?;
        disk.write_all_at(&padded(&backup, sector), end * sector)?;
        disk.write_all_at(&good.entries, entries_at * sector)?;
        disk.write_all_at(&padded(&primary, sector), sector)?;
        disk.write_all_at(&record, 0)
    };
    write().or_cannot(|| "write the partition table")?;
    let problems = examine(&mut reader, size)?.map(|copies| copies.problems_of_backup()).unwrap_or_default();
    if problems.is_empty() { Ok(()) } else { Err(damaged(problems.join("; "))) }
}

fn padded(bytes: &[u8], sector: u64) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(sector as usize), 0);
    padded
}
