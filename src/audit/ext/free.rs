//! What lies in blocks that nothing uses.
//!
//! In: the bitmaps of a filesystem. Out: the free blocks that hold something. A filesystem that was filled once and
//! never written again has none; where something was deleted, this is where it still is.

use std::io::{Read, Seek};

use super::{BIGALLOC, Ext, SPARSE_SUPER, SPARSE_SUPER2, damaged};
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};

/// The group's block bitmap was never written: all blocks but those of the filesystem itself are free.
const BLOCKS_UNINITIALISED: u16 = 0x2;

/// Free space that is not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// How much of it there is, in whole blocks.
    pub size: Bytes,
    /// Where the first such block is, from the filesystem's start.
    pub first: Option<Bytes>,
}

impl<R: Read + Seek> Ext<R> {
    /// Reads every free block.
    pub fn remains(&mut self) -> Result<Remains> {
        if self.read_only & BIGALLOC != 0 {
            return Err(damaged("its free blocks are counted in clusters, which is not read"));
        }
        self.begin();
        let own = self.own_blocks();
        let mut remains = Remains::default();
        for group in 0..self.groups.len() as u64 {
            let start = self.first_block + group * self.blocks_per_group;
            let end = (start + self.blocks_per_group).min(self.blocks);
            let used = self.used(group, start, end, &own)?;
            let mut at = start;
            while at < end {
                let in_use = used[(at - start) as usize];
                let run = (at..end).take_while(|block| used[(block - start) as usize] == in_use).count() as u64;
                if !in_use {
                    self.look(at, run, &mut remains)?;
                }
                at += run;
            }
        }
        Ok(remains)
    }

    /// A run of free blocks: looked at as a whole first, since it is nearly always empty.
    fn look(&mut self, block: u64, count: u64, remains: &mut Remains) -> Result<()> {
        let size = self.block_size;
        let reading = || "read the free blocks of the ext filesystem";
        if !self.source.holds_something(block * size, count * size).or_cannot(reading)? {
            return Ok(());
        }
        for block in block..block + count {
            if self.source.holds_something(block * size, size).or_cannot(reading)? {
                remains.size += Bytes(size);
                remains.first.get_or_insert(Bytes(block * size));
            }
        }
        Ok(())
    }

    fn used(&mut self, group: u64, start: u64, end: u64, own: &[(u64, u64)]) -> Result<Vec<bool>> {
        let descriptor = self.groups[group as usize];
        if descriptor.flags & BLOCKS_UNINITIALISED == 0 {
            let bitmap = self.block(descriptor.block_bitmap)?;
            let bit = |index: u64| bitmap[index as usize / 8] >> (index % 8) & 1 == 1;
            return Ok((0..end - start).map(bit).collect());
        }
        let mut used = vec![false; (end - start) as usize];
        for (first, length) in own {
            for block in (*first).max(start)..first.saturating_add(*length).min(end) {
                used[(block - start) as usize] = true;
            }
        }
        Ok(used)
    }

    /// Runs of blocks that hold the filesystem's own tables.
    fn own_blocks(&self) -> Vec<(u64, u64)> {
        let table = (u64::from(self.inodes_per_group) * self.inode_size).div_ceil(self.block_size);
        let descriptors = (self.groups.len() as u64 * self.descriptor_size).div_ceil(self.block_size);
        let mut own = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            own.extend([(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, table)]);
            if self.has_backup(number as u64) {
                let start = self.first_block + number as u64 * self.blocks_per_group;
                own.push((start, 1 + descriptors + self.reserved_descriptors));
            }
        }
        own
    }

    /// Whether a group begins with a copy of the superblock: groups 0, 1 and the powers of 3, 5 and 7.
    fn has_backup(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut powers = std::iter::successors(Some(base), |power| power.checked_mul(base));
            powers.find(|power| *power >= group) == Some(group)
        };
        if group == 0 {
            true
        } else if self.compatible & SPARSE_SUPER2 != 0 {
            self.backup_groups.iter().any(|backup| u64::from(*backup) == group)
        } else {
            self.read_only & SPARSE_SUPER == 0 || group == 1 || [3, 5, 7].into_iter().any(power_of)
        }
    }
}
