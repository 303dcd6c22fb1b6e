//! The archive in an initrd (cpio, format `newc`), made the same bytes whoever packed it.
//!
//! In: an archive as initramfs-tools or dracut wrote it. Out: the same files with one date and inode numbers counted
//! from 1. Reference: linux/Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::HashMap;

const HEADER: usize = 110;

/// What cannot be an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCpio;

/// The first archive of `bytes` (there may be others behind it, or something compressed): its length, and whether it
/// holds what the kernel reads before it unpacks anything, such as microcode.
pub fn first_archive(bytes: &[u8]) -> Result<(usize, Early), NotCpio> {
    let (mut at, mut early) = (0, Early::No);
    loop {
        let entry = entry_at(bytes, at)?;
        at = entry.end;
        if entry.name.starts_with(b"kernel/") || entry.name == b"early_cpio" {
            early = Early::Yes;
        }
        if entry.name == b"TRAILER!!!" {
            // Zeros pad an archive before the next one.
            at += bytes[at..].iter().take_while(|byte| **byte == 0).count();
            return Ok((at, early));
        }
    }
}

/// Whether the kernel looks into an archive before it unpacks anything; such a one is never compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Sets the time of every entry and renumbers the inodes of all archives in `bytes`.
pub fn normalise(bytes: &mut [u8], epoch: i64) -> Result<(), NotCpio> {
    let mut at = 0;
    let mut inodes: HashMap<[u8; 32], u32> = HashMap::new();
    while at < bytes.len() {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        let end = entry_at(bytes, at)?.end;
        let header = &mut bytes[at..at + HEADER];
        let mut key = [0; 32];
        key[..8].copy_from_slice(&header[6..14]);
        key[8..24].copy_from_slice(&header[62..78]);
        let next = inodes.len() as u32 + 1;
        // Hard links share a number; everything else gets one of its own even where the packer gave 0.
        let is_linked = &header[38..46] != b"00000001";
        let inode = if is_linked {
            *inodes.entry(key).or_insert(next)
        } else {
            key[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            *inodes.entry(key).or_insert(next)
        };
        set(header, 6, inode);
        set(header, 46, epoch.clamp(0, i64::from(u32::MAX)) as u32);
        set(header, 62, 0);
        set(header, 70, 0);
        at = end;
    }
    Ok(())
}

fn set(header: &mut [u8], at: usize, value: u32) {
    header[at..at + 8].copy_from_slice(format!("{value:08X}").as_bytes());
}

struct Found<'a> {
    name: &'a [u8],
    end: usize,
}

fn entry_at(bytes: &[u8], at: usize) -> Result<Found<'_>, NotCpio> {
    let header = bytes.get(at..at + HEADER).ok_or(NotCpio)?;
    if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
        return Err(NotCpio);
    }
    let field = |from: usize| {
        let text = std::str::from_utf8(&header[from..from + 8]).map_err(|_| NotCpio)?;
        u32::from_str_radix(text, 16).map(|value| value as usize).map_err(|_| NotCpio)
    };
    let (size, name) = (field(54)?, field(94)?);
    let content = (at + HEADER).checked_add(name).ok_or(NotCpio)?.next_multiple_of(4);
    let end = content.checked_add(size).ok_or(NotCpio)?.next_multiple_of(4);
    let name = bytes.get(at + HEADER..at + HEADER + name.max(1) - 1).ok_or(NotCpio)?;
    // The padding behind the last entry may be missing.
    if content.max(end) > bytes.len().next_multiple_of(4) {
        return Err(NotCpio);
    }
    Ok(Found { name, end: end.min(bytes.len()) })
}
