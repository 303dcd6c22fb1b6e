//! Reading an initrd: which drivers are in it.
//!
//! In: an initramfs as the kernel takes it (Documentation/driver-api/early-userspace/buffer-format.rst): cpio archives one
//! after the other, each of them compressed or not, zeros in between. Out: names of modules, versions of kernels, and
//! what could not be read. Never trusts a number, never reads more than two GiB, never unpacks anything.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use crate::host::untar::Compression;

/// Most bytes and entries of all archives together.
const MOST_BYTES: u64 = 2 << 30;
const MOST_ENTRIES: u64 = 1_000_000;
/// PATH_MAX: the kernel takes no longer name.
const LONGEST_NAME: u64 = 4096;
/// Most memory that an xz decoder may ask for.
const MOST_MEMORY: u64 = 512 << 20;

/// What is in an initrd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initrd {
    /// Names of kernel modules, with `_` where files may have `-`.
    pub modules: BTreeSet<String>,
    /// Names of folders in /lib/modules.
    pub versions: BTreeSet<String>,
    /// Number of entries.
    pub entries: u64,
    /// Whether there is something for the kernel to start.
    pub has_init: bool,
    /// What could not be read, and why; then a driver that is not in `modules` may be there all the same.
    pub unread: Option<String>,
}

/// `hv-storvsc.ko.xz` is `hv_storvsc`; `None` where the file is no module.
pub fn module(path: &[u8]) -> Option<String> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let name = std::str::from_utf8(name).ok()?;
    let name = [".xz", ".zst", ".gz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    name.strip_suffix(".ko").map(|name| name.replace('-', "_"))
}

/// Reads all archives of an initrd.
pub fn read(image: &[u8]) -> Initrd {
    let mut found = Initrd::default();
    let mut budget = MOST_BYTES;
    let mut rest = image;
    while let Some(start) = rest.iter().position(|byte| *byte != 0) {
        rest = &rest[start..];
        let read = segment(&mut rest, &mut budget, &mut found);
        if let Err(error) = read {
            let at = image.len() - rest.len();
            found.unread = Some(format!("what stands around byte {at} cannot be read: {error}"));
            break;
        }
    }
    if found.entries == 0 && found.unread.is_none() {
        found.unread = Some("it is empty".into());
    }
    found
}

/// One archive, or one compressed piece with archives in it.
fn segment(rest: &mut &[u8], budget: &mut u64, found: &mut Initrd) -> io::Result<()> {
    if rest.starts_with(b"0707") {
        return archive(rest, budget, found);
    }
    match Compression::of(rest) {
        Compression::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(*rest);
            archives(&mut BufReader::new(&mut decoder), budget, found)?;
            drain(&mut decoder, budget)?;
            *rest = decoder.into_inner();
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(*rest)?.single_frame();
            decoder.window_log_max(27)?;
            archives(&mut BufReader::new(&mut decoder), budget, found)?;
            drain(&mut decoder, budget)?;
            *rest = decoder.finish();
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, 0).map_err(io::Error::other)?;
            let mut decoder = liblzma::bufread::XzDecoder::new_stream(*rest, stream);
            archives(&mut BufReader::new(&mut decoder), budget, found)?;
            drain(&mut decoder, budget)?;
            *rest = decoder.into_inner();
        }
        _ => {
            return Err(invalid(match name(rest) {
                Some(name) => format!("it is compressed with {name}, which this version does not read"),
                None => "it is neither a cpio archive nor anything compressed that is known".into(),
            }));
        }
    }
    Ok(())
}

/// A compression that the kernel knows.
fn name(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x02, 0x21, 0x4c, 0x18, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
        [0x5d, 0, 0, ..] => Some("lzma"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0x89, b'L', b'Z', b'O', ..] => Some("lzo"),
        _ => None,
    }
}

/// Reads a decoder to its end, which is where the next piece begins.
fn drain(decoder: &mut impl Read, budget: &mut u64) -> io::Result<()> {
    let read = io::copy(&mut decoder.take(*budget), &mut io::sink())?;
    spend(budget, read)
}

/// Archives one after the other, up to the end of the stream.
fn archives(source: &mut impl BufRead, budget: &mut u64, found: &mut Initrd) -> io::Result<()> {
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros > 0 {
            source.consume(zeros);
            spend(budget, zeros as u64)?;
            continue;
        }
        archive(source, budget, found)?;
    }
}

/// One cpio archive ("newc", with or without checksums), up to its trailer.
fn archive(source: &mut impl Read, budget: &mut u64, found: &mut Initrd) -> io::Result<()> {
    loop {
        let mut header = [0; 110];
        source.read_exact(&mut header)?;
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err(invalid("a header of its cpio archive is none"));
        }
        let field = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * index..][..8]).ok();
            let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            number.ok_or_else(|| invalid("a number of its cpio archive is none"))
        };
        let (mode, size, length) = (field(1)?, field(6)?, field(11)?);
        if length == 0 || length > LONGEST_NAME {
            return Err(invalid("a name in its cpio archive is too long"));
        }
        // Names and data are padded to four bytes, counted from the header's start.
        let padding = |length: u64| (4 - length % 4) % 4;
        let mut name = vec![0; (length + padding(110 + length)) as usize];
        source.read_exact(&mut name)?;
        name.truncate(length as usize - 1);
        spend(budget, 110 + length + size)?;
        found.entries += 1;
        if found.entries > MOST_ENTRIES {
            return Err(invalid("it has too many entries"));
        }
        skip(source, size + padding(size))?;
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        note(&name, mode, found);
    }
}

fn note(name: &[u8], mode: u64, found: &mut Initrd) {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let is_file = mode & 0o170_000 == 0o100_000;
    if matches!(name, b"init" | b"sbin/init" | b"usr/lib/systemd/systemd" | b"lib/systemd/systemd") {
        found.has_init = true;
    }
    if is_file && (name.ends_with(b"squashfs-root.img") || name.ends_with(b"erofs-root.img")) {
        found.unread =
            Some("its files are in a filesystem image inside of it, which this version does not read".into());
    }
    let below = name.strip_prefix(b"usr/").unwrap_or(name).strip_prefix(b"lib/modules/");
    if let Some(version) = below.and_then(|below| below.split(|byte| *byte == b'/').next()) {
        found.versions.insert(String::from_utf8_lossy(version).into_owned());
    }
    if is_file {
        found.modules.extend(module(name));
    }
}

fn skip(source: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut source.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(io::Error::from(ErrorKind::UnexpectedEof)),
    }
}

fn spend(budget: &mut u64, bytes: u64) -> io::Result<()> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| invalid("there is more of it than any kernel takes"))?;
    Ok(())
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// A cpio archive with these files.
    pub(in crate::preflight) fn cpio(names: &[&str]) -> Vec<u8> {
        let mut archive = Vec::new();
        for name in names.iter().copied().chain(["TRAILER!!!"]) {
            let data: &[u8] = if name == "TRAILER!!!" { b"" } else { b"some content" };
            let mut fields = [0; 13];
            (fields[1], fields[6], fields[11]) = (0o100_644, data.len(), name.len() + 1);
            archive.extend(b"070701");
            archive.extend(fields.iter().map(|field| format!("{field:08X}")).collect::<String>().bytes());
            archive.extend(name.bytes().chain([0]));
            archive.resize(archive.len().next_multiple_of(4), 0);
            archive.extend(data);
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        archive
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn archives_one_after_the_other_in_every_compression_are_one_initrd() {
        let one = cpio(&["kernel/x86/microcode/AuthenticAMD.bin"]);
        let two = cpio(&["init", "usr/lib/modules/6.1/kernel/drivers/nvme/host/nvme.ko"]);
        let three = cpio(&["lib/modules/6.1/kernel/hv-storvsc.ko.xz", "lib/modules/6.1/kernel/ena.ko.zst"]);
        let zstd = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
        let zeros = vec![0; 512];
        for image in [
            [&one[..], &two, &three].concat(),
            [&one[..], &zeros, &gzip(&[&two[..], &three].concat())].concat(),
            [&one[..], &zstd(&two), &zeros, &xz(&three)].concat(),
            [&gzip(&one)[..], &xz(&two), &zeros, &zstd(&[&three[..], &zeros].concat()), &zeros].concat(),
        ] {
            let found = read(&image);
            assert_eq!(found.unread, None);
            assert_eq!(found.modules.iter().map(String::as_str).collect::<Vec<_>>(), ["ena", "hv_storvsc", "nvme"]);
            assert_eq!((found.has_init, found.versions.contains("6.1"), found.versions.len()), (true, true, 1));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_and_never_a_panic_or_an_endless_loop() {
        let good = cpio(&["init", "a/b/nvme.ko"]);
        let bomb = gzip(&vec![0; 8 << 20]);
        let mut huge = good.clone();
        huge[6 + 8 * 6..][..8].copy_from_slice(b"FFFFFFFF");
        let mut long = good.clone();
        long[6 + 8 * 11..][..8].copy_from_slice(b"FFFFFFFF");
        for image in [&b""[..], b"\x02\x21\x4c\x18", b"hello", &huge, &long, &good[..100], &gzip(&good)[..40], &bomb] {
            let found = read(image);
            assert!(found.unread.is_some(), "{image:?}");
        }
        for compressed in [good.clone(), gzip(&good), xz(&good), zstd::encode_all(&good[..], 1).unwrap()] {
            for at in 0..compressed.len() {
                let mut damaged = compressed.clone();
                damaged[at] ^= 0x55;
                let _ = read(&damaged);
                let _ = read(&compressed[..at]);
            }
        }
    }
}
