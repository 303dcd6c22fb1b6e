//! SHA-256 digests, by which everything in a cache is named.
//!
//! In: bytes, files, hexadecimal text. Out: a [`Sha256`]. Never a digest of another kind.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use sha2::Digest;

use crate::bytes::Bytes;

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of some bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes.as_ref()).into())
    }

    /// The digest and the length of everything that is left in `reader`.
    pub fn of_reader(mut reader: impl Read) -> std::io::Result<(Sha256, Bytes)> {
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Sha256(hash.finalize().into()), Bytes(length))),
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    length += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A digest of what is written piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hashing(sha2::Sha256);

impl Hashing {
    /// Nothing yet.
    pub fn new() -> Hashing {
        Hashing::default()
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Display for Sha256 {
    /// 64 hexadecimal digits in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADigest;

impl FromStr for Sha256 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Sha256, NotADigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotADigest);
        }
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotADigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotADigest)?;
        }
        Ok(Sha256(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text_and_nothing_else_is_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of("").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Sha256::of("")));
        assert_eq!(empty.to_uppercase().parse(), Ok(Sha256::of("")));
        assert_eq!(Sha256::of_reader(&b"abc"[..]).unwrap(), (Sha256::of("abc"), Bytes(3)));
        for wrong in ["", "e3b0", &empty[1..], &format!("{empty}0"), &empty.replace('e', "+"), &empty.replace('e', "é")]
        {
            assert_eq!(wrong.parse::<Sha256>(), Err(NotADigest), "{wrong}");
        }
    }
}
