//! The two checksums of ext4's metadata.
//!
//! In: bytes and what was summed before. Out: CRC-32C (Castagnoli) without the final inversion, as the kernel's
//! `crc32c_le` gives it, and CRC-16 (ANSI). Never buffers.

const CASTAGNOLI: u32 = 0x82f6_3b78;
const ANSI: u16 = 0xa001;

/// Eight tables, so that eight bytes are summed at once: inode tables and directories are megabytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ CASTAGNOLI } else { value >> 1 };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut index = 0;
        while index < 256 {
            let before = tables[table - 1][index];
            tables[table][index] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            index += 1;
        }
        table += 1;
    }
    tables
}

/// Continues `sum` over `bytes`; a fresh sum starts with [`FRESH`].
pub fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    let mut sum = sum;
    let (eights, rest) = bytes.as_chunks::<8>();
    for chunk in eights {
        let low = sum ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        sum = TABLES[7][(low & 0xff) as usize]
            ^ TABLES[6][(low >> 8 & 0xff) as usize]
            ^ TABLES[5][(low >> 16 & 0xff) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][chunk[4] as usize]
            ^ TABLES[2][chunk[5] as usize]
            ^ TABLES[1][chunk[6] as usize]
            ^ TABLES[0][chunk[7] as usize];
    }
    rest.iter().fold(sum, |sum, byte| sum >> 8 ^ TABLES[0][((sum ^ u32::from(*byte)) & 0xff) as usize])
}

/// What both checksums start with.
pub const FRESH: u32 = u32::MAX;

/// Continues `sum` over `bytes`, for filesystems with `uninit_bg` and without `metadata_csum`.
pub fn crc16(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ ANSI } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_equal_the_published_check_values() {
        assert_eq!(!crc32c(FRESH, b"123456789"), 0xe306_9283);
        assert_eq!(!crc32c(crc32c(FRESH, b"1234567890abcde"), b"fghij"), !crc32c(FRESH, b"1234567890abcdefghij"));
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
        assert_eq!(crc16(0xffff, b"123456789"), 0x4b37);
    }
}
