//! The kernels of an image.
//!
//! In: /boot and /usr/lib/modules of the tree. Out: their versions, the newest first, each in /boot. Never looks into them.

use std::cmp::Ordering;

use super::family::Family;
use crate::error::{Error, Exit, Result};
use crate::root::{RootPath, RootTree};

/// Where packages of a distribution with one /usr have a kernel, beside its modules.
const MODULES: &str = "/usr/lib/modules";

/// A kernel in /boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What follows `vmlinuz-`, as `uname -r` says it.
    pub version: String,
    /// Whose names its files have.
    pub family: Family,
}

impl Kernel {
    /// The kernel's file.
    pub fn image(&self) -> String {
        format!("/boot/vmlinuz-{}", self.version)
    }

    /// Its initrd.
    pub fn initrd(&self) -> String {
        self.family.initrd(&self.version)
    }

    /// The configuration that it was built with.
    pub fn configuration(&self, tree: &RootTree) -> Result<Vec<u8>> {
        let version = &self.version;
        for path in [format!("/boot/config-{version}"), format!("{MODULES}/{version}/config")] {
            if let Some(text) = tree.read_if_there(&RootPath::new(path))? {
                return Ok(text);
            }
        }
        Ok(Vec::new())
    }
}

/// Gives every kernel below /usr/lib/modules its name in /boot, as SUSE's and Fedora's packages do in a running system:
/// a second name of the same file, so that a boot loader finds it where /boot is a filesystem of its own, too.
pub fn gather(tree: &RootTree) -> Result<()> {
    let modules = RootPath::new(MODULES);
    if !tree.is_folder(&modules) {
        return Ok(());
    }
    for version in tree.names(&modules)? {
        let kernel = modules.join(&version).join("vmlinuz");
        let boot = RootPath::new([b"/boot/vmlinuz-", version.as_slice()].concat());
        // What a symlink there leads to is on the other filesystem.
        let is_file = tree.entry(&boot)?.is_some_and(|entry| entry.is_file());
        if is_version(&version) && !is_file && tree.entry(&kernel)?.is_some_and(|entry| entry.is_file()) {
            tree.create_folders(&boot.parent(), 0o755)?;
            tree.remove(&boot)?;
            tree.hard_link(&kernel, &boot)?;
        }
    }
    Ok(())
}

/// Whether it can be the version of a kernel: dracut's rescue kernels have the machine's id instead, and are not shipped.
fn is_version(name: &[u8]) -> bool {
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._~".contains(byte);
    !name.is_empty() && name.iter().all(is_usual) && !name.starts_with(b"0-rescue-")
}

/// All of them, the newest first. 65 where there is none.
pub fn kernels(tree: &RootTree) -> Result<Vec<Kernel>> {
    let family = Family::of(tree)?;
    let mut found = Vec::new();
    for name in tree.names(&RootPath::new("/boot"))? {
        if let Some(version) = name.strip_prefix(b"vmlinuz-")
            && is_version(version)
        {
            found.push(Kernel { version: String::from_utf8_lossy(version).into_owned(), family });
        }
    }
    found.sort_by(|a, b| compare(b.version.as_bytes(), a.version.as_bytes()));
    if found.is_empty() {
        return Err(Error::cannot(Exit::Description, "make the disk start")
            .because("there is no kernel in the image (/boot/vmlinuz-*)")
            .hint(format!("add a kernel to the image's packages, for instance {}", family.kernel_packages())));
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
