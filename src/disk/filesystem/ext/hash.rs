//! The hash of a name in an indexed directory (half MD4, the default of mke2fs).
//!
//! In: a name, the filesystem's seed. Out: the two words that the index is sorted by. Never knows the directory.

/// Whether the bytes of a name count as signed (`s_flags` of the superblock says it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytewise {
    /// As `signed char` (x86).
    Signed,
    /// As `unsigned char` (ARM).
    Unsigned,
}

/// Major and minor hash of `name`; the lowest bit of the major one is free for the index.
pub fn half_md4(name: &[u8], seed: [u32; 4], bytewise: Bytewise) -> (u32, u32) {
    let mut state = seed;
    if state == [0; 4] {
        state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    }
    let mut rest = name;
    loop {
        state = transform(state, &words(rest, bytewise));
        if rest.len() <= 32 {
            break;
        }
        rest = &rest[32..];
    }
    let major = state[1] & !1;
    // The highest value marks the end of a directory.
    let major = if major == 0xffff_fffe { 0xffff_fffc } else { major };
    (major, state[2])
}

/// Up to 32 bytes as eight words, padded with the length of what is left.
fn words(name: &[u8], bytewise: Bytewise) -> [u32; 8] {
    let length = name.len() as u32;
    let pad = length | length << 8;
    let pad = pad | pad << 16;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(name[..name.len().min(32)].chunks(4)) {
        *word = bytes.iter().fold(pad, |word, byte| {
            let value = match bytewise {
                Bytewise::Signed => i32::from(*byte as i8) as u32,
                Bytewise::Unsigned => u32::from(*byte),
            };
            (word << 8).wrapping_add(value)
        });
    }
    words
}

fn transform(state: [u32; 4], input: &[u32; 8]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut step = |mix: &dyn Fn(u32, u32, u32) -> u32, value: u32, shift: u32| {
        let next = a.wrapping_add(mix(b, c, d)).wrapping_add(value).rotate_left(shift);
        (a, b, c, d) = (d, next, b, c);
    };
    for (index, shift) in [(0, 3), (1, 7), (2, 11), (3, 19), (4, 3), (5, 7), (6, 11), (7, 19)] {
        step(&choose, input[index], shift);
    }
    for (index, shift) in [(1, 3), (3, 5), (5, 9), (7, 13), (0, 3), (2, 5), (4, 9), (6, 13)] {
        step(&majority, input[index].wrapping_add(0x5a82_7999), shift);
    }
    for (index, shift) in [(3, 3), (7, 9), (2, 11), (6, 15), (1, 3), (5, 9), (0, 11), (4, 15)] {
        step(&parity, input[index].wrapping_add(0x6ed9_eba1), shift);
    }
    [state[0].wrapping_add(a), state[1].wrapping_add(b), state[2].wrapping_add(c), state[3].wrapping_add(d)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_those_of_debugfs() {
        let seed = [0x0123_4567_u32, 0x89ab_cdef, 0x0123_4567, 0x89ab_cdef].map(u32::swap_bytes);
        let long = "a-name-that-is-longer-than-thirty-two-bytes.service";
        let rows = [
            ("hello", [0; 4], (0x1746_da32, 0x4200_13b5)),
            ("hello", seed, (0xa26e_4a80, 0x97e5_b7f7)),
            (long, [0; 4], (0x9a57_0642, 0x1033_4daf)),
            (long, seed, (0x3415_7698, 0x930d_45df)),
            ("grün", [0; 4], (0x095d_9284, 0xe676_0d94)),
        ];
        for (name, seed, wanted) in rows {
            assert_eq!(half_md4(name.as_bytes(), seed, Bytewise::Signed), wanted, "{name}");
        }
        assert_ne!(half_md4("grün".as_bytes(), [0; 4], Bytewise::Unsigned), rows[4].2);
    }
}
