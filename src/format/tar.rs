//! Headers of tar members: ustar (POSIX.1-1988), and GNU's old form for sparse files.
//!
//! In: a name, a length, a date. Out: blocks. Never an owner's name, never an access or change time.

/// Length of a block.
pub const BLOCK: u64 = 512;
/// What octal digits hold.
const LARGEST: u64 = 0o777_7777_7777;

/// How many zeros fill a member up to a block.
pub fn padding(length: u64) -> u64 {
    length.next_multiple_of(BLOCK) - length
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Twelve bytes: octal digits, or GNU's base 256 where these do not reach.
fn number(number: u64) -> Vec<u8> {
    match number {
        0..=LARGEST => format!("{number:011o}\0").into_bytes(),
        _ => [&[0x80, 0, 0, 0], number.to_be_bytes().as_slice()].concat(),
    }
}

fn header(name: &str, kind: u8, magic: &[u8; 8], size: u64, mtime: i64) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    let name = name.as_bytes();
    put(&mut block, 0, &name[..name.len().min(100)]);
    put(&mut block, 100, b"0000644\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, &number(size));
    put(&mut block, 136, &number(u64::try_from(mtime).unwrap_or(0)));
    block[156] = kind;
    put(&mut block, 257, magic);
    block
}

fn sum(mut block: Vec<u8>) -> Vec<u8> {
    put(&mut block, 148, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A plain file of `size` bytes.
pub fn file(name: &str, size: u64, mtime: i64) -> Vec<u8> {
    sum(header(name, b'0', b"ustar\x0000", size, mtime))
}

/// A sparse file of `size` bytes, of which only `data` (offset, length) follows: four entries of the map are in the
/// header, 21 in each block behind it.
pub fn sparse(name: &str, size: u64, data: &[(u64, u64)], mtime: i64) -> Vec<u8> {
    let stored = data.iter().map(|(_, length)| length).sum();
    let mut block = header(name, b'S', b"ustar  \0", stored, mtime);
    let entry = |(offset, length): &(u64, u64)| [number(*offset), number(*length)].concat();
    let (first, rest) = data.split_at(data.len().min(4));
    first.iter().zip([386, 410, 434, 458]).for_each(|(range, at)| put(&mut block, at, &entry(range)));
    block[482] = u8::from(!rest.is_empty());
    put(&mut block, 483, &number(size));
    let mut blocks = sum(block);
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block: Vec<u8> = chunk.iter().flat_map(entry).collect();
        block.resize(BLOCK as usize, 0);
        block[504] = u8::from(chunks.peek().is_some());
        blocks.extend(block);
    }
    blocks
}
