//! What a distribution calls the files that its systems start from.
//!
//! In: the image's /etc/os-release. Out: a [`Family`] and its names, which the image's own tools look for later: they
//! replace the initrd of a kernel, and write GRUB's configuration, where they expect them. Never asks the build host.

use super::grub::Platform;
use crate::error::Result;
use crate::plan::PartitionTable;
use crate::root::{RootPath, RootTree};

/// Distributions that use the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Debian and Ubuntu, and whoever says nothing else.
    Debian,
    /// SUSE Linux Enterprise and openSUSE.
    Suse,
    /// Fedora, Red Hat Enterprise Linux, and what is made from them.
    RedHat,
}

/// The first letters of `ID` and of the words of `ID_LIKE`.
const KNOWN: [(&str, Family); 13] = [
    ("debian", Family::Debian),
    ("ubuntu", Family::Debian),
    ("suse", Family::Suse),
    ("opensuse", Family::Suse),
    ("sle", Family::Suse),
    ("sl-micro", Family::Suse),
    ("fedora", Family::RedHat),
    ("rhel", Family::RedHat),
    ("centos", Family::RedHat),
    ("almalinux", Family::RedHat),
    ("rocky", Family::RedHat),
    ("amzn", Family::RedHat),
    ("openEuler", Family::RedHat),
];

impl Family {
    /// That of an image: by its own name, then by those that it says it is like.
    pub fn of(tree: &RootTree) -> Result<Family> {
        let text = os_release(tree)?;
        let words = ["ID", "ID_LIKE"].into_iter().filter_map(|name| value(&text, name));
        let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
        let known = |word: &&str| KNOWN.iter().find(|(start, _)| word.starts_with(start));
        Ok(words.iter().find_map(known).map_or(Family::Debian, |(_, family)| *family))
    }

    /// Where GRUB looks for its configuration and its modules.
    pub fn grub_folder(self) -> RootPath {
        match self {
            Family::Debian => RootPath::new("/boot/grub"),
            Family::Suse | Family::RedHat => RootPath::new("/boot/grub2"),
        }
    }

    /// The initrd of a kernel.
    pub fn initrd(self, version: &str) -> String {
        match self {
            Family::Debian => format!("/boot/initrd.img-{version}"),
            Family::Suse => format!("/boot/initrd-{version}"),
            Family::RedHat => format!("/boot/initramfs-{version}.img"),
        }
    }

    /// What makes GRUB's configuration in the running system.
    pub(super) fn configures_grub(self) -> &'static str {
        match self {
            Family::Debian => "update-grub",
            Family::Suse | Family::RedHat => "grub2-mkconfig",
        }
    }

    /// Packages with a kernel.
    pub(super) fn kernel_packages(self) -> &'static str {
        match self {
            Family::Debian => "linux-image-amd64 or linux-image-cloud-amd64",
            Family::Suse => "kernel-default or kernel-default-base",
            Family::RedHat => "kernel",
        }
    }

    /// Packages that make an initrd.
    pub(super) fn initrd_packages(self) -> &'static str {
        match self {
            Family::Debian => "initramfs-tools or dracut",
            Family::Suse | Family::RedHat => "dracut",
        }
    }

    /// Packages with GRUB for a firmware, and with the program that makes an image of it.
    pub(super) fn grub_packages(self, platform: Platform) -> &'static str {
        match (self, platform) {
            (Family::Debian, Platform::Pc) => "grub-pc-bin",
            (Family::Debian, Platform::Efi) => "grub-efi-amd64-bin",
            (Family::Suse, Platform::Pc) => "grub2-i386-pc",
            (Family::Suse, Platform::Efi) => "grub2-x86_64-efi",
            (Family::RedHat, Platform::Pc) => "grub2-pc-modules and grub2-tools",
            (Family::RedHat, Platform::Efi) => "grub2-efi-x64-modules and grub2-tools",
        }
    }

    /// Packages with what is signed for Secure Boot.
    pub(super) fn signed_packages(self) -> &'static str {
        match self {
            Family::Debian => "shim-signed and grub-efi-amd64-signed",
            Family::Suse => "shim and grub2-x86_64-efi",
            Family::RedHat => "shim-x64 and grub2-efi-x64",
        }
    }

    /// Packages that let the root filesystem grow.
    pub(super) fn growing_packages(self, table: PartitionTable) -> &'static str {
        match (self, table) {
            (Family::Debian, PartitionTable::Gpt) => "systemd-repart, or cloud-guest-utils and e2fsprogs",
            (Family::Debian, PartitionTable::Msdos) => "fdisk and e2fsprogs",
            (Family::Suse, _) => "growpart and e2fsprogs",
            (Family::RedHat, PartitionTable::Gpt) => "systemd-repart, or cloud-utils-growpart and e2fsprogs",
            (Family::RedHat, PartitionTable::Msdos) => "cloud-utils-growpart and e2fsprogs",
        }
    }
}

/// `ID` of /etc/os-release, made of what a name on any filesystem may have.
pub(super) fn distribution(tree: &RootTree) -> Result<String> {
    let text = os_release(tree)?;
    let id = value(&text, "ID").unwrap_or("debian");
    Ok(id.chars().filter(|char| char.is_ascii_alphanumeric() || "._-".contains(*char)).collect())
}

/// The one in /etc, which is usually a symlink to the other (os-release(5)).
fn os_release(tree: &RootTree) -> Result<String> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        if let Some(text) = tree.read_if_there(&RootPath::new(path))? {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(String::new())
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    Some(text.lines().find_map(value)?.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_name_or_by_what_it_is_like() {
        let rows = [
            ("", Family::Debian),
            ("ID=debian\n", Family::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Family::Debian),
            ("NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", Family::Suse),
            ("ID=\"sles\"\nID_LIKE=\"suse\"\n", Family::Suse),
            ("ID=fedora\n", Family::RedHat),
            ("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", Family::RedHat),
            ("ID=mageia\nID_LIKE=\"mandriva fedora\"\n", Family::RedHat),
            ("ID_LIKE=suse\nID=unheard-of\n", Family::Suse),
        ];
        for (text, family) in rows {
            let folder = tempfile::tempdir().unwrap();
            let tree = RootTree::open(folder.path()).unwrap();
            tree.write(&RootPath::new("/usr/lib/os-release"), text, 0o644).unwrap();
            assert_eq!(Family::of(&tree).unwrap(), family, "{text}");
        }
    }
}
