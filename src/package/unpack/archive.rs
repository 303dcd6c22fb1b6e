//! The Debian binary package format (deb(5)): an ar archive of three members.
//!
//! In: a `.deb` in the store. Out: where its control and data archives lie, and their content decompressed. Never
//! reads more of a member than its header says, never guesses what an unknown member means.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::cache::unpacked::Receiving;
use crate::cache::{Sha256, UnpackedStore};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::untar::decompressed;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    offset: u64,
    length: u64,
}

/// Whether we can read an archive's data ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Not compressed, or with gzip, xz or Zstandard.
    Yes,
    /// Compressed with bzip2 or lzma, which only the real dpkg reads.
    ByDpkgOnly,
}

/// An open `.deb`.
#[derive(Debug)]
pub struct Archive {
    file: File,
    name: String,
    control: Section,
    data: Section,
    /// Whether we can read its data.
    pub readable: Readable,
}

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;

impl Archive {
    /// Opens a package; one that is not in the format is 65.
    pub fn open(path: &Path) -> Result<Archive> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let file = file::open(path)?;
        let length = file.metadata().or_cannot(|| format!("read {name}"))?.len();
        let broken = |why: String| Error::cannot(Exit::Description, format!("read the package {name}")).because(why);
        let mut members = Members { file: &file, at: MAGIC.len() as u64, length, name: &name };
        let mut magic = [0; 8];
        members.read_at(0, &mut magic)?;
        if magic != *MAGIC {
            return Err(broken("it is no Debian package: it does not begin as an ar archive".into()));
        }
        let Some((first, version)) = members.next()? else { return Err(broken("it is empty".into())) };
        let mut text = vec![0; version.length.min(64) as usize];
        members.read_at(version.offset, &mut text)?;
        if first != b"debian-binary" || !text.starts_with(b"2.") || !text.contains(&b'\n') {
            return Err(broken("its format version is not 2".into()));
        }
        let (mut control, mut data) = (None, None);
        while data.is_none() {
            let Some((member, section)) = members.next()? else { break };
            let shown = member.escape_ascii();
            if member.starts_with(b"_") {
                // Not critical by definition.
            } else if member.starts_with(b"control.tar") && control.is_none() {
                if readable(&member[b"control.tar".len()..]) != Some(Readable::Yes) {
                    return Err(broken(format!("its member `{shown}` has an unknown compression")));
                }
                control = Some(section);
            } else if member.starts_with(b"data.tar") && control.is_some() {
                let readable = readable(&member[b"data.tar".len()..]);
                data = Some((
                    section,
                    readable.ok_or_else(|| broken(format!("its member `{shown}` has an unknown compression")))?,
                ));
            } else {
                return Err(broken(format!("its member `{shown}` is not in its place")));
            }
        }
        let missing = || broken("its control or data archive is missing".into());
        let ((data, readable), control) = (data.ok_or_else(missing)?, control.ok_or_else(missing)?);
        Ok(Archive { file, name, control, data, readable })
    }

    /// The control archive, decompressed.
    pub fn control(&self) -> Result<Box<dyn Read + Send + '_>> {
        self.section(self.control)
    }

    /// The data archive, decompressed; from the store of unpacked packages if it is there, and into it if it is not.
    pub fn data(&self, store: &UnpackedStore, package: Sha256) -> Result<Data<'_>> {
        Ok(match store.get(package)? {
            Some(entry) => Data { content: decompressed(entry)?, copy: None },
            None => Data { content: self.section(self.data)?, copy: store.receive(package)? },
        })
    }

    fn section(&self, section: Section) -> Result<Box<dyn Read + Send + '_>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(section.offset)).or_cannot(|| format!("read {}", self.name))?;
        decompressed(file.take(section.length))
    }
}

/// The content of a data archive as it is read.
pub struct Data<'a> {
    content: Box<dyn Read + Send + 'a>,
    copy: Option<Receiving>,
}

impl Data<'_> {
    /// Everything was read that matters to this build: reads the rest, and keeps the copy for later builds. One that
    /// cannot be completed is not kept; that must not fail a build that can do without it.
    pub fn keep(mut self) {
        let rest = if self.copy.is_some() { std::io::copy(&mut self, &mut std::io::sink()) } else { Ok(0) };
        if let (Ok(_), Some(copy)) = (rest, self.copy) {
            let _ = copy.keep();
        }
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.content.read(buffer)?;
        // For example on a full disk.
        if self.copy.as_mut().is_some_and(|copy| copy.write_all(&buffer[..read]).is_err()) {
            self.copy = None;
        }
        Ok(read)
    }
}

/// By the end of a member's name.
fn readable(extension: &[u8]) -> Option<Readable> {
    match extension {
        b"" | b".gz" | b".xz" | b".zst" => Some(Readable::Yes),
        b".bz2" | b".lzma" => Some(Readable::ByDpkgOnly),
        _ => None,
    }
}

struct Members<'a> {
    file: &'a File,
    at: u64,
    length: u64,
    name: &'a str,
}

impl Members<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.read_exact_at(buffer, offset).or_cannot(|| format!("read the package {}", self.name))
    }

    /// Name and place of the next member; `None` at the end.
    fn next(&mut self) -> Result<Option<(Vec<u8>, Section)>> {
        if self.at >= self.length {
            return Ok(None);
        }
        let broken =
            |why: &str| Error::cannot(Exit::Description, format!("read the package {}", self.name)).because(why);
        if self.length - self.at < HEADER as u64 {
            return Err(broken("it ends in the middle of a member's header"));
        }
        let mut header = [0; HEADER];
        self.read_at(self.at, &mut header)?;
        if &header[58..] != b"`\n" {
            return Err(broken("a member's header is damaged"));
        }
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
        let length = size.ok_or_else(|| broken("a member's length is no number"))?;
        let offset = self.at + HEADER as u64;
        if length > self.length - offset {
            return Err(broken("it is cut off"));
        }
        self.at = offset + length + length % 2;
        let name = header[..16].trim_ascii_end();
        Ok(Some((name.strip_suffix(b"/").unwrap_or(name).to_vec(), Section { offset, length })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len()).unwrap();
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<Archive> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Archive::open(file.path())
    }

    fn content(mut reader: Box<dyn Read + Send + '_>) -> Vec<u8> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn both_archives_are_found_and_decompressed_and_unknown_optional_members_passed_over() {
        let squeezed = zstd::encode_all(b"data".as_slice(), 1).unwrap();
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("_ours", b"x"),
            ("control.tar", b"control"),
            ("data.tar.zst/", &squeezed),
            ("later", b""),
        ]);
        let archive = opened(&bytes).unwrap();
        assert_eq!(
            (content(archive.control().unwrap()), content(archive.section(archive.data).unwrap())),
            (b"control".to_vec(), b"data".to_vec())
        );
        let old = opened(&ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.bz2", b"")])).unwrap();
        assert_eq!(old.readable, Readable::ByDpkgOnly);
    }

    #[test]
    fn what_is_no_package_is_refused_with_its_reason() {
        let binary: (&str, &[u8]) = ("debian-binary", b"2.0\n");
        for (bytes, why) in [
            (b"<html> this is no package".to_vec(), "ar archive"),
            (MAGIC.to_vec(), "empty"),
            (ar(&[("debian-binary", b"3.0\n")]), "format version"),
            (ar(&[("control.tar", b"")]), "format version"),
            (ar(&[binary, ("data.tar", b"")]), "not in its place"),
            (ar(&[binary, ("control.tar", b""), ("control.tar", b"")]), "not in its place"),
            (ar(&[binary, ("control.tar.7z", b"")]), "unknown compression"),
            (ar(&[binary, ("control.tar", b"")]), "missing"),
            (ar(&[binary, ("control.tar", b"cut off")])[..110].to_vec(), "middle of a member's header"),
            (ar(&[binary, ("control.tar", b"cut off")])[..135].to_vec(), "cut off"),
        ] {
            let error = opened(&bytes).unwrap_err();
            assert!(error.to_string().contains(why), "{error}: {why}");
            assert_eq!(error.exit(), Exit::Description);
        }
    }
}
