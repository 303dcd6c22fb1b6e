//! What partitions a disk holds, whoever wrote it.
//!
//! In: a disk of any origin. Out: its partitions, or an error. Never trusts what it reads, never panics, reads no more
//! than a megabyte.

use std::io::{Read, Seek, SeekFrom};

use super::{gpt, mbr};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::plan::Uuid;

/// A partition as the table on a disk states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// 1-based number.
    pub number: u32,
    /// What it claims to hold.
    pub kind: PartitionType,
    /// Offset on the disk.
    pub start: Bytes,
    /// Its length.
    pub size: Bytes,
    /// Name in a GPT; empty in an MBR.
    pub name: String,
}

/// The type of a partition, as its table writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionType {
    /// Partition type GUID.
    Gpt(Uuid),
    /// Type byte.
    Mbr(u8),
}

/// The partitions of a disk of `size` bytes, in the order of their numbers; none where there is no table.
/// 74 where there is a table that contradicts itself or the disk.
pub fn read_partitions(disk: &mut (impl Read + Seek), size: Bytes) -> Result<Vec<Listed>> {
    if size < Bytes(512) {
        return Ok(Vec::new());
    }
    let mut sector = [0; 512];
    read_at(disk, 0, &mut sector)?;
    let shielded =
        mbr::entries(&sector).is_some_and(|entries| entries.iter().any(|entry| entry.0 == mbr::kind::PROTECTIVE));
    let mut found = if shielded { gpt::read(disk, size)? } else { mbr::read(disk, size, &sector)? };
    found.sort_by_key(|partition| partition.start);
    if found.windows(2).any(|pair| pair[0].start + pair[0].size > pair[1].start) {
        return Err(damaged("partitions overlap"));
    }
    found.sort_by_key(|partition| partition.number);
    Ok(found)
}

pub(super) fn read_at(disk: &mut (impl Read + Seek), offset: u64, buffer: &mut [u8]) -> Result<()> {
    let mut read = || {
        disk.seek(SeekFrom::Start(offset))?;
        disk.read_exact(buffer)
    };
    read().or_cannot(|| "read the partition table")
}

pub(super) fn damaged(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Io, "read the partition table").because(why)
}
