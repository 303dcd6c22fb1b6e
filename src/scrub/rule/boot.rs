//! What a boot loader remembers, and device names that exist on the build host only.

use super::{Part, Presets, Rule, Spares};
use crate::error::{Error, Exit, Result};
use crate::scrub::Done;
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[Rule {
    name: "boot",
    why: "boots what the build host knew",
    presets: Presets::VmAndContainer,
    parts: &[Part::Work(environment_blocks), Part::Work(rescue_kernels), Part::Work(build_devices)],
}];

/// GRUB's environment block is exactly 1024 bytes, filled up with `#` (GRUB manual, "GRUB environment block").
const ENVIRONMENT_BLOCK: usize = 1024;

/// What GRUB saved about boots; anything else (`kernelopts`) is configuration.
const SAVED: &[&str] = &[
    "saved_entry",
    "prev_saved_entry",
    "next_entry",
    "initrdless_boot_fallback_triggered",
    "recordfail",
    "boot_success",
];

fn environment_blocks(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&["/boot/grub/grubenv", "/boot/grub2/grubenv", "/boot/efi/EFI/*/grubenv"]) {
        let Some(content) = scrubber.content(&path)? else { continue };
        scrubber.replace(rule, Done::Reset, &path, &without_saved(&content))?;
    }
    Ok(())
}

fn without_saved(block: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(ENVIRONMENT_BLOCK);
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b'=').next().unwrap_or_default();
        let padding = !line.is_empty() && line.iter().all(|byte| *byte == b'#');
        if !padding && !SAVED.iter().any(|saved| saved.as_bytes() == name) {
            kept.extend_from_slice(line);
        }
    }
    kept.resize(kept.len().max(ENVIRONMENT_BLOCK), b'#');
    kept
}

/// dracut's rescue entries carry the machine id in their names.
fn rescue_kernels(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&[
        "/boot/vmlinuz-0-rescue-*",
        "/boot/initramfs-0-rescue-*",
        "/boot/loader/entries/*-0-rescue*",
    ]) {
        scrubber.remove(rule, &path, Spares::Owned)?;
    }
    Ok(())
}

/// Files that a boot reads devices from.
const BOOT_CONFIGURATION: &[&str] = &[
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/default/grub.d/*",
    "/etc/kernel/cmdline",
    "/boot/grub/grub.cfg",
    "/boot/grub/device.map",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/device.map",
    "/boot/loader/entries/*.conf",
    "/boot/efi/EFI/*/grub.cfg",
];

/// `/dev/loop0`, `/dev/nbd1p1`, `/dev/mapper/loop0p1`; not in a comment.
fn names_a_build_device(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let named = |device: &[u8]| {
        let mut places = line.windows(device.len() + 1);
        places.any(|part| part.starts_with(device) && part[device.len()].is_ascii_digit())
    };
    !line.starts_with(b"#") && (named(b"/dev/loop") || named(b"/dev/nbd") || named(b"/dev/mapper/loop"))
}

/// Nothing can say what the right device would be, so this is an error and not an edit.
fn build_devices(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(BOOT_CONFIGURATION) {
        let Some(content) = scrubber.content(&path)? else { continue };
        if let Some(line) = content.split(|byte| *byte == b'\n').find(|line| names_a_build_device(line)) {
            let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
            return Err(Error::cannot(Exit::Description, "ship this image")
                .because(format!("{path} names a device of the build host: {line}"))
                .hint(format!("name the filesystem by UUID= or LABEL=, or say `--scrub-except {rule}`")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_block_forgets_boots_and_keeps_its_size() {
        let mut block = b"# GRUB Environment Block\nsaved_entry=abc\nkernelopts=quiet #1\nnext_entry=\n".to_vec();
        block.resize(1024, b'#');
        let left = without_saved(&block);
        assert_eq!(left.len(), 1024);
        assert!(left.starts_with(b"# GRUB Environment Block\nkernelopts=quiet #1\n####"));
        assert_eq!(without_saved(&left), left);
    }

    #[test]
    fn only_numbered_loop_and_network_block_devices_are_of_the_build() {
        for (line, wanted) in [
            ("/dev/loop0p1 / ext4 defaults 0 1", true),
            ("  linux /vmlinuz root=/dev/nbd12p3 ro", true),
            ("root=/dev/mapper/loop3p1", true),
            ("# /dev/loop0 was the builder's", false),
            ("/images/x.iso /mnt iso9660 loop 0 0", false),
            ("/dev/loop-control", false),
        ] {
            assert_eq!(names_a_build_device(line.as_bytes()), wanted, "{line}");
        }
    }
}
