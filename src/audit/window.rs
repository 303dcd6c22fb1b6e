//! A byte range of something larger: a partition of a disk.
//!
//! In: a disk, an offset, a length. Out: the same bytes from offset 0. Never reads outside the range, never writes.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use crate::bytes::{Bytes, is_zero};

/// `length` bytes of `source` from `start`.
#[derive(Debug)]
pub struct Window<R> {
    source: R,
    start: u64,
    length: u64,
    position: u64,
}

impl<R: Read + Seek> Window<R> {
    /// The range; what lies behind the end of `source` cannot be read.
    pub fn new(source: R, start: Bytes, length: Bytes) -> Window<R> {
        Window { source, start: start.0, length: length.0, position: 0 }
    }

    /// How long it is.
    pub fn length(&self) -> Bytes {
        Bytes(self.length)
    }

    /// Fills `buffer` from `offset`; an end in between is an error.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.read_exact(buffer)
    }

    /// Whether a byte in this range is not zero. What lies behind the end counts as zero.
    pub fn holds_something(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        const PIECE: u64 = 1 << 20;
        let end = offset.saturating_add(length).min(self.length);
        let mut buffer = vec![0; PIECE.min(length) as usize];
        let mut at = offset;
        while at < end {
            let piece = &mut buffer[..PIECE.min(end - at) as usize];
            self.read_at(at, piece)?;
            if !is_zero(piece) {
                return Ok(true);
            }
            at += piece.len() as u64;
        }
        Ok(false)
    }
}

impl<R: Read + Seek> Read for Window<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.position);
        let length = left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        self.source.seek(SeekFrom::Start(self.start + self.position))?;
        let read = self.source.read(&mut buffer[..length])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for Window<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// The crate that reads FAT wants a writer; an audit has none to give.
impl<R> Write for Window<R> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(ErrorKind::PermissionDenied))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_window_shows_its_range_and_nothing_else() {
        let mut window = Window::new(Cursor::new(b"0123456789".to_vec()), Bytes(2), Bytes(5));
        let mut text = String::new();
        window.read_to_string(&mut text).unwrap();
        assert_eq!(text, "23456");
        let mut two = [0; 2];
        window.read_at(3, &mut two).unwrap();
        assert_eq!(&two, b"56");
        assert!(window.read_at(4, &mut two).is_err());
        assert!(window.write(b"x").is_err());
    }

    #[test]
    fn a_single_byte_in_a_range_of_zeros_is_seen() {
        for at in [0, 1, 5000, (1 << 20) - 1, 1 << 20, (3 << 20) - 1] {
            let mut bytes = vec![0; 3 << 20];
            bytes[at] = 1;
            let mut window = Window::new(Cursor::new(bytes), Bytes(0), Bytes(3 << 20));
            assert!(window.holds_something(0, 3 << 20).unwrap(), "{at}");
            assert!(!window.holds_something(0, at as u64).unwrap(), "{at}");
            assert!(!window.holds_something(at as u64 + 1, 9 << 20).unwrap(), "{at}");
        }
    }
}
