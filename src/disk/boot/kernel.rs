//! The kernels of an image.
//!
//! In: /boot of the tree. Out: their versions, the newest first. Never looks into them.

use std::cmp::Ordering;

use crate::error::{Error, Exit, Result};
use crate::root::{RootPath, RootTree};

/// A kernel in /boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What follows `vmlinuz-`, as `uname -r` says it.
    pub version: String,
}

impl Kernel {
    /// The kernel's file.
    pub fn image(&self) -> String {
        format!("/boot/vmlinuz-{}", self.version)
    }

    /// Its initrd.
    pub fn initrd(&self) -> String {
        format!("/boot/initrd.img-{}", self.version)
    }
}

/// All of them, the newest first. 65 where there is none.
pub fn kernels(tree: &RootTree) -> Result<Vec<Kernel>> {
    let mut found = Vec::new();
    for name in tree.names(&RootPath::new("/boot"))? {
        if let Some(version) = name.strip_prefix(b"vmlinuz-")
            && let Ok(version) = std::str::from_utf8(version)
            && version.chars().all(|char| char.is_ascii_alphanumeric() || "-+._~".contains(char))
        {
            found.push(Kernel { version: version.to_string() });
        }
    }
    found.sort_by(|a, b| compare(b.version.as_bytes(), a.version.as_bytes()));
    if found.is_empty() {
        return Err(Error::cannot(Exit::Description, "make the disk start")
            .because("there is no kernel in the image (/boot/vmlinuz-*)")
            .hint("add a kernel to the image's packages, for instance linux-image-amd64 or linux-image-cloud-amd64"));
    }
    Ok(found)
}

/// Digits compare as numbers, everything else as letters, a tilde before the end (deb-version(7)).
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    loop {
        let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_digit());
        while is_word(a.first()) || is_word(b.first()) {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                other => return other,
            }
        }
        let number = |text: &mut &[u8]| {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, rest) = text.split_at(digits);
            *text = rest;
            let zeros = number.iter().take_while(|digit| **digit == b'0').count();
            number[zeros..].to_vec()
        };
        let (first, second) = (number(&mut a), number(&mut b));
        match first.len().cmp(&second.len()).then(first.cmp(&second)) {
            Ordering::Equal if a.is_empty() && b.is_empty() => return Ordering::Equal,
            Ordering::Equal => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_dpkg_sorts_them() {
        let sorted = ["5.10.0-9-amd64", "5.10.0-10-amd64", "6.1.0~rc1", "6.1.0", "6.1.0-rt", "6.12.1"];
        for (index, first) in sorted.iter().enumerate() {
            for second in &sorted[index + 1..] {
                assert_eq!(compare(first.as_bytes(), second.as_bytes()), Ordering::Less, "{first} {second}");
                assert_eq!(compare(second.as_bytes(), first.as_bytes()), Ordering::Greater, "{second} {first}");
            }
        }
        assert_eq!(compare(b"6.01", b"6.1"), Ordering::Equal);
    }
}
