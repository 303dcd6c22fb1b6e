//! Which blocks are taken, and the next free ones.
//!
//! In: what mke2fs took. Out: runs of blocks, from the start of the filesystem on, as long as possible. Never leaves a
//! gap that it could have used, so that the free space is one piece.

use super::layout::Mapping;

/// A bit per block.
#[derive(Clone, Debug)]
pub struct Bitmap {
    words: Vec<u64>,
    length: u64,
}

impl Bitmap {
    /// `length` bits, all clear.
    pub fn new(length: u64) -> Bitmap {
        Bitmap { words: vec![0; length.div_ceil(64) as usize], length }
    }

    /// Sets `count` bits from `start` on.
    pub fn set(&mut self, start: u64, count: u64) {
        let end = (start + count).min(self.length);
        let mut at = start;
        while at < end {
            let (word, bit) = ((at / 64) as usize, at % 64);
            let span = (64 - bit).min(end - at);
            self.words[word] |= if span == 64 { u64::MAX } else { ((1 << span) - 1) << bit };
            at += span;
        }
    }

    /// Clears one bit.
    pub fn clear(&mut self, at: u64) {
        self.words[(at / 64) as usize] &= !(1 << (at % 64));
    }

    /// Whether a bit is set.
    pub fn get(&self, at: u64) -> bool {
        self.words[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    /// How many of `count` bits from `start` on are set.
    pub fn count(&self, start: u64, count: u64) -> u64 {
        let (mut at, end, mut set) = (start, start + count, 0);
        while at < end {
            let (word, bit) = ((at / 64) as usize, at % 64);
            let span = (64 - bit).min(end - at);
            let mask = if span == 64 { u64::MAX } else { ((1 << span) - 1) << bit };
            set += u64::from((self.words[word] & mask).count_ones());
            at += span;
        }
        set
    }

    /// The first bit at or after `start` that is `wanted`, else the length.
    fn find(&self, start: u64, wanted: bool) -> u64 {
        let mut at = start;
        while at < self.length {
            let word = self.words[(at / 64) as usize];
            let word = (if wanted { word } else { !word }) >> (at % 64);
            if word != 0 {
                return (at + u64::from(word.trailing_zeros())).min(self.length);
            }
            at = (at / 64 + 1) * 64;
        }
        self.length
    }
}

/// What is in use when everything is in.
#[derive(Debug)]
pub struct Taken {
    /// A bit per block.
    pub blocks: Bitmap,
    /// Inodes 1 to this one.
    pub inodes: u32,
    /// No block from this one on was given out.
    pub end: u64,
}

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// Hands out free blocks.
#[derive(Debug)]
pub struct Allocator {
    taken: Bitmap,
    next: u64,
}

/// The filesystem has no more free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Allocator {
    /// Everything that is not `taken` is free.
    pub fn new(taken: Bitmap) -> Allocator {
        Allocator { taken, next: 0 }
    }

    /// `count` blocks in as few runs as there are gaps to fill.
    pub fn take(&mut self, count: u64) -> Result<Vec<Run>, Full> {
        let mut runs = Vec::new();
        let mut missing = count;
        while missing > 0 {
            let start = self.taken.find(self.next, false);
            if start == self.taken.length {
                return Err(Full);
            }
            let end = self.taken.find(start, true).min(start + missing);
            self.taken.set(start, end - start);
            runs.push(Run { start, length: end - start });
            missing -= end - start;
            self.next = end;
        }
        Ok(runs)
    }

    /// One block.
    pub fn take_one(&mut self) -> Result<u64, Full> {
        self.take(1).map(|runs| runs[0].start)
    }

    /// Blocks that are free.
    pub fn free(&self) -> u64 {
        self.taken.length - self.taken.count(0, self.taken.length)
    }

    /// The end of it.
    pub fn finish(self, inodes: u32) -> Taken {
        Taken { blocks: self.taken, inodes, end: self.next }
    }
}

/// Consecutive blocks of a file in consecutive blocks of the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub logical: u64,
    /// Where it is.
    pub start: u64,
    /// How many blocks.
    pub length: u64,
}

/// Blocks for the parts of a file that hold data.
pub fn place(allocator: &mut Allocator, data: &[(u64, u64)], mapping: Mapping) -> Result<Vec<Extent>, Full> {
    // An extent is of at most 32,768 blocks; more would mean "not yet written".
    let most = if mapping == Mapping::Extents { 1 << 15 } else { u64::MAX };
    let mut extents = Vec::new();
    for &(first, count) in data {
        let mut logical = first;
        for run in allocator.take(count)? {
            let mut at = run.start;
            while at < run.start + run.length {
                let length = (run.start + run.length - at).min(most);
                extents.push(Extent { logical, start: at, length });
                logical += length;
                at += length;
            }
        }
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_out_in_order_around_what_is_taken() {
        let mut taken = Bitmap::new(200);
        taken.set(0, 3);
        taken.set(10, 60);
        taken.set(190, 10);
        let mut allocator = Allocator::new(taken);
        assert_eq!(allocator.free(), 127);
        assert_eq!(allocator.take(2), Ok(vec![Run { start: 3, length: 2 }]));
        let extents = place(&mut allocator, &[(0, 4), (100, 3)], Mapping::Extents).unwrap();
        let wanted = [(0, 5, 4), (100, 9, 1), (101, 70, 2)];
        assert_eq!(extents, wanted.map(|(logical, start, length)| Extent { logical, start, length }));
        assert_eq!(allocator.take(118), Ok(vec![Run { start: 72, length: 118 }]));
        assert_eq!(allocator.free(), 0);
        assert_eq!(allocator.take(1), Err(Full));
    }

    #[test]
    fn no_extent_is_longer_than_the_format_allows() {
        let mut allocator = Allocator::new(Bitmap::new(100_000));
        let lengths = |mapping, allocator: &mut Allocator| {
            let extents = place(allocator, &[(0, 40_000)], mapping).unwrap();
            extents.iter().map(|extent| extent.length).collect::<Vec<_>>()
        };
        assert_eq!(lengths(Mapping::Extents, &mut allocator), [32_768, 7_232]);
        assert_eq!(lengths(Mapping::Indirect, &mut allocator), [40_000]);
    }
}
