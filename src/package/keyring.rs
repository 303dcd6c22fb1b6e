//! OpenPGP keys that a repository's signature is checked against.
//!
//! In: key files, armored or not (RFC 4880, 6.2). Out: a [`Keyring`] in binary form, and the same armored, as apt's
//! `Signed-By` takes it. Never a judgement about a key: apt and gpgv make that.

use crate::cache::Sha256;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Public keys, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    binary: Vec<u8>,
}

impl Keyring {
    /// Adds the keys of a file, armored or binary; the reason where it holds none.
    pub fn add(&mut self, file: &[u8]) -> Result<(), &'static str> {
        if file.get(8..12) == Some(b"KBXf") {
            return Err("it is a GnuPG keybox; export the key with `gpg --export`");
        }
        match std::str::from_utf8(file) {
            Ok(text) if text.contains(BEGIN) => self.binary.extend(dearmor(text)?),
            // The first packet of a key is a public key packet: tag 6, old or new format (RFC 4880, 4.2).
            _ if matches!(file.first(), Some(0x98..=0x9b | 0xc6)) => self.binary.extend_from_slice(file),
            _ => return Err("it holds no OpenPGP public key"),
        }
        Ok(())
    }

    /// The keys in binary form, as gpgv reads them.
    pub fn binary(&self) -> &[u8] {
        &self.binary
    }

    /// Whether it holds no key at all.
    pub fn is_empty(&self) -> bool {
        self.binary.is_empty()
    }

    /// Each key on its own, for programs that read one from a file. Where the packets are not what RFC 4880, 4.2 says,
    /// everything is one.
    pub fn apart(&self) -> Vec<Keyring> {
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some((tag, length)) = self.binary.get(at..).and_then(packet) {
            if tag == PUBLIC_KEY {
                starts.push(at);
            }
            at += length;
        }
        if at != self.binary.len() || starts.first() != Some(&0) {
            return vec![self.clone()];
        }
        let ends = starts.iter().skip(1).copied().chain([self.binary.len()]);
        std::iter::zip(&starts, ends).map(|(start, end)| Keyring { binary: self.binary[*start..end].into() }).collect()
    }

    /// A name for exactly these keys.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.binary)
    }

    /// The armored text, as a file.
    pub fn armored(&self) -> String {
        self.signed_by().trim_start().replacen("\n.\n", "\n\n", 1) + "\n"
    }

    /// The armored text in lines, as a `Signed-By` field embeds it: its empty line is a dot.
    pub fn signed_by(&self) -> String {
        let mut text = format!("\n{BEGIN}\n.\n");
        let encoded = encode(&self.binary);
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        let sum = checksum(&self.binary).to_be_bytes();
        text.push_str(&format!("={}\n{END}", encode(&sum[1..])));
        text
    }
}

/// The tag of a public key (RFC 4880, 4.3).
const PUBLIC_KEY: u8 = 6;

/// Tag and length, header included, of the packet that begins here.
fn packet(bytes: &[u8]) -> Option<(u8, usize)> {
    let first = *bytes.first()?;
    let number = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range)?;
        Some(digits.iter().fold(0usize, |number, digit| number << 8 | usize::from(*digit)))
    };
    let (header, length) = match (first & 0xc0, first & 3) {
        (0x80, 0) => (2, number(1..2)?),
        (0x80, 1) => (3, number(1..3)?),
        (0x80, 2) => (5, number(1..5)?),
        (0xc0, _) => match number(1..2)? {
            length @ 0..192 => (2, length),
            length @ 192..224 => (3, ((length - 192) << 8) + number(2..3)? + 192),
            255 => (6, number(2..6)?),
            _ => return None,
        },
        _ => return None,
    };
    let tag = if first & 0x40 == 0 { first >> 2 & 0xf } else { first & 0x3f };
    let all = header + length;
    (all <= bytes.len()).then_some((tag, all))
}

fn dearmor(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut binary = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let (block, _) = block.split_once(END).ok_or("its armor has no end")?;
        // Headers, an empty line (a dot where the block was embedded in a control file), base64, a checksum.
        let lines: Vec<&str> = block.lines().skip(1).map(str::trim).collect();
        let start = lines.iter().position(|line| line.is_empty() || *line == ".").map_or(0, |line| line + 1);
        let base64: String = lines[start..].iter().take_while(|line| !line.starts_with('=')).copied().collect();
        let key = decode(&base64).ok_or("its armor is not base64")?;
        let sum = lines[start..].iter().find_map(|line| line.strip_prefix('=')).and_then(decode);
        if sum.is_some_and(|sum| sum != checksum(&key).to_be_bytes()[1..]) {
            return Err("the checksum of its armor is wrong");
        }
        binary.extend(key);
    }
    Ok(binary)
}

/// CRC-24 (RFC 4880, 6.1).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x00b7_04ce, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 16), |sum, _| {
            let shifted = sum << 1;
            if shifted & 0x0100_0000 == 0 { shifted } else { (shifted ^ 0x0186_4cfb) & 0x00ff_ffff }
        })
    })
}

/// Base64 with padding (RFC 4648, 4).
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[value as usize]) } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in digits {
        let value = ALPHABET.iter().position(|letter| *letter == digit)? as u32;
        bits = (bits << 6 | value) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_its_checksum_are_those_of_the_standards() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("Zm9v*"), None);
        assert_eq!(checksum(b""), 0xb704ce);
        assert_eq!(checksum(b"123456789"), 0x21cf02);
    }

    #[test]
    fn keys_of_one_file_are_told_apart() {
        let key = |content: u8| vec![0x98, 2, content, content, 0xb4, 1, content];
        let mut keyring = Keyring::default();
        keyring.add(&[key(1), key(2)].concat()).unwrap();
        let apart: Vec<Vec<u8>> = keyring.apart().iter().map(|key| key.binary().to_vec()).collect();
        assert_eq!(apart, [key(1), key(2)]);
        let mut odd = Keyring::default();
        odd.add(&[0x98, 200, 1]).unwrap();
        assert_eq!(odd.apart(), [odd]);
    }

    #[test]
    fn armored_keys_are_the_binary_ones_and_anything_else_is_refused() {
        let binary: Vec<u8> = [0x99].into_iter().chain(0..200).collect();
        let mut keyring = Keyring::default();
        keyring.add(&binary).unwrap();
        let armored = keyring.signed_by();
        for text in [armored.clone(), armored.replace("\n.\n", "\nVersion: x\n\n")] {
            let mut again = Keyring::default();
            again.add(text.as_bytes()).unwrap();
            assert_eq!(again, keyring);
        }
        let broken = armored.replacen("mQABAg", "mQABAw", 1);
        assert_ne!(broken, armored);
        for file in [&b"<html>"[..], b"", b"\0\0\0\x20\x01\x01\0\0KBXf", broken.as_bytes(), BEGIN.as_bytes()] {
            assert!(Keyring::default().add(file).is_err());
        }
    }
}
