//! What tells this ingot from another build of it.
//!
//! In: the program that runs. Out: a text that another build has not. The linker's note where there is one (`NT_GNU_BUILD_ID`,
//! a digest of everything that it put into the file, debugging information included), else BLAKE3 of the file. Never maps the
//! file: what is mapped counts as memory of the process. On one thread: a build may not have others before it is isolated.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Exit, Result};

/// A note is this at most; linkers write 8 to 20 bytes of digest.
const LARGEST_NOTES: u64 = 64 << 10;
/// Shorter ones are no digest: a person may choose any (`--build-id=0x...`).
const SHORTEST: usize = 16;

/// See the module.
pub fn of_this_program() -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut program = File::open("/proc/self/exe")?;
        match build_id(&program) {
            Some(id) => Ok(id.iter().map(|byte| format!("{byte:02x}")).collect()),
            None => digest(&mut program),
        }
    };
    read().map_err(|error| {
        Error::cannot(Exit::HostLacks, "read the program that runs, /proc/self/exe")
            .because(error)
            .hint("a chroot needs the kernel's /proc: mount -t proc proc /proc")
    })
}

fn digest(program: &mut File) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (blake3::Hasher::new(), vec![0; 256 << 10]);
    loop {
        match program.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_hex().to_string()),
            length => hash.update(&buffer[..length]),
        };
    }
}

/// The digest in the linker's note of a 64-bit ELF file of this machine's byte order (elf(5)).
fn build_id(file: &File) -> Option<Vec<u8>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if !header.starts_with(b"\x7fELF") || header[4] != 2 || header[5] != order {
        return None;
    }
    let (table, size, count) = (long(&header, 32)?, short(&header, 54)?, short(&header, 56)?);
    for number in 0..u64::from(count) {
        let mut segment = [0; 56];
        file.read_exact_at(&mut segment, table.checked_add(number * u64::from(size))?).ok()?;
        const PT_NOTE: u32 = 4;
        if word(&segment, 0)? != PT_NOTE {
            continue;
        }
        let (offset, length) = (long(&segment, 8)?, long(&segment, 32)?);
        let mut notes = vec![0; usize::try_from(length.min(LARGEST_NOTES)).ok()?];
        file.read_exact_at(&mut notes, offset).ok()?;
        if let Some(id) = in_notes(&notes) {
            return Some(id);
        }
    }
    None
}

/// Notes follow each other: three lengths, the name and the content, both filled up to four bytes.
fn in_notes(mut notes: &[u8]) -> Option<Vec<u8>> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let (name, content, kind) = (word(notes, 0)? as usize, word(notes, 4)? as usize, word(notes, 8)?);
        let begin = 12_usize.checked_add(name)?.checked_next_multiple_of(4)?;
        let end = begin.checked_add(content)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(notes.get(begin..end)?.to_vec()).filter(|id| id.len() >= SHORTEST);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn note(kind: u32, name: &[u8], content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len() as u32, content.len() as u32, kind] {
            note.extend_from_slice(&number.to_ne_bytes());
        }
        for part in [name, content] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// An ELF file of a header, one segment with these notes, and nothing else.
    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if cfg!(target_endian = "little") { 1 } else { 2 }]);
        bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        bytes[64..68].copy_from_slice(&4_u32.to_ne_bytes());
        bytes[72..80].copy_from_slice(&120_u64.to_ne_bytes());
        bytes[96..104].copy_from_slice(&(notes.len() as u64).to_ne_bytes());
        bytes.extend_from_slice(notes);
        bytes
    }

    #[test]
    fn the_linkers_digest_is_found_among_other_notes_and_what_is_none_is_not() {
        let id: Vec<u8> = (1..=20).collect();
        let other = note(1, b"GNU\0", b"abi");
        let found = |notes: &[u8]| build_id(&file(&elf(notes)));
        assert_eq!(found(&[other.clone(), note(3, b"GNU\0", &id)].concat()), Some(id.clone()));
        assert_eq!(found(&[note(3, b"Go\0", &id), note(3, b"GNU\0", &id[..16])].concat()), Some(id[..16].to_vec()));
        assert_eq!(found(&note(3, b"GNU\0", &id[..8])), None);
        assert_eq!(found(&other), None);
        assert_eq!(found(&note(3, b"GNU\0", &id)[..20]), None);
        assert_eq!(found(&[0xff; 40]), None);
        for cut in [0, 10, 64, 100, 130] {
            assert_eq!(build_id(&file(&elf(&note(3, b"GNU\0", &id))[..cut])), None, "{cut}");
        }
        assert_eq!(build_id(&file(&b"#!/bin/sh\n".repeat(20))), None);
    }

    #[test]
    fn this_program_has_an_identity_and_another_file_another_digest() {
        let own = of_this_program().unwrap();
        assert!(own.len() >= 2 * SHORTEST && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{own}");
        use std::io::Seek;
        let digest = |bytes: &[u8]| {
            let mut file = file(bytes);
            file.rewind().unwrap();
            digest(&mut file).unwrap()
        };
        assert_eq!(digest(b"one"), blake3::hash(b"one").to_hex().to_string());
        assert_ne!(digest(b"one"), digest(b"two"));
    }
}
