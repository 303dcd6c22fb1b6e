//! Deflate for clusters: how much effort each one is worth.
//!
//! In: a cluster. Out: what it compresses to, or that it does not. A look at a sixteenth of its bytes tells; it depends on
//! nothing but them.
//!
//! libdeflate's level 1 leaves a Debian 1 % larger than `qemu-img convert -c` does; level 2 everywhere makes it 3 % smaller
//! and takes a quarter longer. A tenth of the time goes into clusters that were compressed before and give nothing. So
//! those are left as they are, and the time goes to clusters that level 2 does most for; docs/speed.md has the figures.

use std::ops::Range;

use crate::error::{Error, Exit, Result};

const FAST: i32 = 1;
const BETTER: i32 = 2;
/// Smaller clusters show too little, and always get [`FAST`].
const SMALLEST_SEEN: usize = 16 << 10;
/// So many stretches of a cluster are looked at, each of [`STRETCH`] bytes.
const STRETCHES: usize = 16;
const STRETCH: usize = 256;
/// The [`unevenness`] of random bytes is around 69 616.
const RANDOM: u64 = 71_000;
/// That of programs, mostly.
const WORTHWHILE: Range<u64> = 700_000..1_500_000;

/// What a thread compresses with.
pub struct Deflate {
    fast: libdeflater::Compressor,
    better: libdeflater::Compressor,
}

impl Deflate {
    /// Takes about a megabyte.
    pub fn new() -> Result<Deflate> {
        let encoder = |level| {
            let level = libdeflater::CompressionLvl::new(level);
            let level = level.map_err(|_| Error::cannot(Exit::Bug, "set the level of deflate"))?;
            Ok::<_, Error>(libdeflater::Compressor::new(level))
        };
        Ok(Deflate { fast: encoder(FAST)?, better: encoder(BETTER)? })
    }

    /// Compresses into `room`; `None` where it does not fit, or where trying is of no use.
    pub fn pack(&mut self, cluster: &[u8], room: &mut [u8]) -> Option<usize> {
        let encoder = match effort(cluster) {
            Effort::None => return None,
            Effort::Fast => &mut self.fast,
            Effort::Better => &mut self.better,
        };
        encoder.deflate_compress(cluster, room).ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    None,
    Fast,
    Better,
}

fn effort(cluster: &[u8]) -> Effort {
    if cluster.len() < SMALLEST_SEEN {
        return Effort::Fast;
    }
    match unevenness(cluster) {
        ..RANDOM if !repeats(cluster) => Effort::None,
        found if WORTHWHILE.contains(&found) => Effort::Better,
        _ => Effort::Fast,
    }
}

/// The sum of the squares of how often each value occurs: 4096 times 16 where all occur as often as each other, 4096
/// squared where there is only one.
fn unevenness(cluster: &[u8]) -> u64 {
    let mut counts = [0_u64; 256];
    for stretch in cluster.chunks_exact(cluster.len() / STRETCHES) {
        stretch[..STRETCH].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    counts.iter().map(|count| count * count).sum()
}

/// Whether random bytes come again at some distance, in at least one of three places that are looked at: every stretch of
/// the cluster is known by its beginning, so that one of as many neighbouring places meets it, whatever the distance.
fn repeats(cluster: &[u8]) -> bool {
    let word = |at: usize| cluster[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let slot = |word: u64| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize;
    let mut known = [0; 1 << 10];
    for start in (0..cluster.len()).step_by(STRETCH) {
        let is_looked_at = start > 0 && start.is_multiple_of(cluster.len() / 4);
        if is_looked_at && (start..start + STRETCH).any(|at| word(at) == word(known[slot(word(at))])) {
            return true;
        }
        known[slot(word(start))] = start;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a pattern.
    fn random(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn only_what_is_random_and_does_not_come_again_is_left_as_it_is() {
        for size in [16 << 10, 64 << 10, 2 << 20] {
            assert_eq!(effort(&random(size)), Effort::None, "{size}");
            for distance in [100, 4096, 5000, size / 4 - 1] {
                let again = random(distance).repeat(size / distance + 1);
                assert_eq!(effort(&again[..size]), Effort::Fast, "{size} {distance}");
            }
            assert_eq!(effort(&vec![7; size]), Effort::Fast);
        }
        assert_eq!(effort(&random(8 << 10)), Effort::Fast);
        let mut cluster = random(64 << 10);
        assert_eq!(Deflate::new().unwrap().pack(&cluster, &mut vec![0; 65535]), None);
        cluster.iter_mut().for_each(|byte| *byte &= 15);
        let mut room = vec![0; 65535];
        let length = Deflate::new().unwrap().pack(&cluster, &mut room).unwrap();
        let mut back = vec![0; 64 << 10];
        let filled = libdeflater::Decompressor::new().deflate_decompress(&room[..length], &mut back);
        assert_eq!(filled.ok(), Some(cluster.len()));
        assert!(back == cluster);
    }
}
