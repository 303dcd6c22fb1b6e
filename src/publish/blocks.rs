//! The blocks of a disk that a snapshot needs: those that are not all zeros.
//!
//! In: a raw disk. Out: number and SHA-256 of each block of 512 KiB that holds data, and the checksum over all of them,
//! as the EBS direct API wants it (linear: SHA-256 over the blocks' own, in order). Holes are not read.

use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::checksum::base64;
use crate::error::{OrCannot, Result};
use crate::host::{file, signal};
use crate::report::Step;

/// Size of a block.
pub const SIZE: u64 = 512 << 10;

/// A block with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place, counted in blocks.
    pub index: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// All blocks with data, ascending.
pub fn of(path: &Path, step: &Step) -> Result<Vec<Block>> {
    let disk = file::open(path)?;
    let mut blocks: Vec<Block> = Vec::new();
    for range in file::data_ranges(&disk)? {
        let next = blocks.last().map_or(0, |block: &Block| block.index + 1);
        for index in (range.start / SIZE).max(next)..range.end.div_ceil(SIZE) {
            signal::check()?;
            let block = read(&disk, index).or_cannot(|| format!("read {}", path.display()))?;
            step.advance(0, SIZE);
            if block.iter().any(|byte| *byte != 0) {
                blocks.push(Block { index, sha256: Sha256::digest(&block).into() });
            }
        }
    }
    Ok(blocks)
}

/// The whole block, with zeros behind the end of the disk.
pub fn read(disk: &std::fs::File, index: u64) -> std::io::Result<Vec<u8>> {
    let mut block = vec![0; SIZE as usize];
    let mut done = 0;
    while done < block.len() {
        match disk.read_at(&mut block[done..], index * SIZE + done as u64)? {
            0 => break,
            length => done += length,
        }
    }
    Ok(block)
}

/// The checksum of all blocks, in base64.
pub fn checksum(blocks: &[Block]) -> String {
    let mut all = Sha256::new();
    blocks.iter().for_each(|block| all.update(block.sha256));
    base64(&all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Reporter;

    #[test]
    fn only_blocks_with_data_are_listed_and_each_once() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("disk");
        let disk = file::create(&path).unwrap();
        disk.set_len(4 * SIZE + 4096).unwrap();
        disk.write_all_at(b"a", 0).unwrap();
        disk.write_all_at(b"b", SIZE / 2).unwrap();
        disk.write_all_at(&[0; 4096], 2 * SIZE).unwrap();
        disk.write_all_at(b"end", 4 * SIZE + 4093).unwrap();
        let blocks = of(&path, &Reporter::silent().step("scan")).unwrap();
        assert_eq!(blocks.iter().map(|block| block.index).collect::<Vec<_>>(), [0, 4]);
        let mut last = vec![0; SIZE as usize];
        last[4093..4096].copy_from_slice(b"end");
        assert_eq!(blocks[1].sha256, <[u8; 32]>::from(Sha256::digest(&last)));
        let sums = [blocks[0].sha256, blocks[1].sha256].concat();
        assert_eq!(checksum(&blocks), base64(&Sha256::digest(sums)));
    }
}
