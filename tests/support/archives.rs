//! Debian packages made byte by byte, the odd ones too that dpkg-deb would not build.
//!
//! In: control fields, scripts, entries as a tar header has them. Out: a `.deb`.

use std::io::Write;
use std::path::Path;

use ingot::bytes::Bytes;
use ingot::package::Package;
use ingot::package::deb822;

use super::packages::DATE;

/// How the data archive is compressed.
#[derive(Clone, Copy, Debug)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

/// A package while it is being made.
pub struct Deb {
    fields: String,
    control: Vec<(String, Vec<u8>, u32)>,
    data: Vec<u8>,
    compression: Compression,
}

impl Deb {
    /// A package of version 1 for `all`; `fields` are more lines of its control file.
    pub fn new(name: &str, fields: &str) -> Deb {
        let version = if fields.contains("Version:") { "" } else { "Version: 1\n" };
        let arch = if fields.contains("Architecture:") { "" } else { "Architecture: all\n" };
        let fields = format!("Package: {name}\n{version}{arch}Maintainer: t\nDescription: {name}\n{fields}");
        let deb = Deb { fields, control: Vec::new(), data: Vec::new(), compression: Compression::Gzip };
        deb.folder("./", 0o755)
    }

    pub fn compressed(mut self, compression: Compression) -> Deb {
        self.compression = compression;
        self
    }

    /// A file of the control archive.
    pub fn control(mut self, name: &str, content: &str) -> Deb {
        let mode = if matches!(name, "preinst" | "postinst" | "prerm" | "postrm") { 0o755 } else { 0o644 };
        self.control.push((name.into(), content.into(), mode));
        self
    }

    /// A maintainer script.
    pub fn script(self, name: &str, body: &str) -> Deb {
        self.control(name, &format!("#!/bin/sh\nset -e\n{body}\n"))
    }

    /// An entry: type flag, name, link target, mode, owner as `uid:gid:user:group`, content.
    pub fn entry(mut self, kind: u8, name: &[u8], target: &str, mode: u32, owner: &str, content: &[u8]) -> Deb {
        append(&mut self.data, kind, name, target.as_bytes(), mode, owner, content);
        self
    }

    /// Any bytes in the data archive.
    pub fn bytes(mut self, bytes: &[u8]) -> Deb {
        self.data.extend_from_slice(bytes);
        self
    }

    pub fn folder(self, name: &str, mode: u32) -> Deb {
        self.entry(b'5', name.as_bytes(), "", mode, "0:0:root:root", b"")
    }

    pub fn file(self, name: &str, content: &str) -> Deb {
        self.entry(b'0', name.as_bytes(), "", 0o644, "0:0:root:root", content.as_bytes())
    }

    pub fn symlink(self, name: &str, target: &str) -> Deb {
        self.entry(b'2', name.as_bytes(), target, 0o777, "0:0:root:root", b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Deb {
        self.entry(b'1', name.as_bytes(), target, 0o644, "0:0:root:root", b"")
    }

    /// Writes it to `folder` and says what a solver would say of it.
    pub fn write(mut self, folder: &Path) -> Package {
        let stanza = deb822::parse(&self.fields).unwrap().remove(0);
        let (name, version) = (stanza.text("Package").to_string(), stanza.text("Version").to_string());
        let arch = stanza.text("Architecture").to_string();
        let mut control = Vec::new();
        append(&mut control, b'5', b"./", b"", 0o755, "0:0:root:root", b"");
        append(&mut control, b'0', b"./control", b"", 0o644, "0:0:root:root", self.fields.as_bytes());
        for (name, content, mode) in &self.control {
            append(&mut control, b'0', format!("./{name}").as_bytes(), b"", *mode, "0:0:root:root", content);
        }
        control.resize(control.len() + 1024, 0);
        self.data.resize(self.data.len() + 1024, 0);
        let (data, ending) = match self.compression {
            Compression::None => (self.data, ""),
            Compression::Gzip => (gzip(&self.data), ".gz"),
            Compression::Xz => (liblzma_encode(&self.data), ".xz"),
            Compression::Zstd => (zstd::encode_all(self.data.as_slice(), 3).unwrap(), ".zst"),
        };
        let mut bytes = b"!<arch>\n".to_vec();
        let control = ("control.tar.gz".to_string(), gzip(&control));
        for (name, content) in
            [("debian-binary".into(), b"2.0\n".to_vec()), control, (format!("data.tar{ending}"), data)]
        {
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", DATE, 0, 0, "100644", content.len()).unwrap();
            bytes.extend_from_slice(&content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        let archive = folder.join(format!("{name}_{}_{arch}.deb", version.replace(':', "%3a")));
        std::fs::write(&archive, &bytes).unwrap();
        Package {
            source: name.clone(),
            source_version: version.clone(),
            sha256: ingot::cache::Sha256::of(&bytes).to_string(),
            size: Bytes(bytes.len() as u64),
            installed_size: Bytes(0),
            repository: "test".into(),
            essential: stanza.says_yes("Essential"),
            requested: true,
            control: stanza,
            name,
            version,
            arch,
            archive,
        }
    }
}

/// A member of gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn liblzma_encode(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header in GNU's form, with its long names, and the content.
fn append(tar: &mut Vec<u8>, kind: u8, name: &[u8], target: &[u8], mode: u32, owner: &str, content: &[u8]) {
    for (long, flag) in [(name, b'L'), (target, b'K')] {
        if long.len() > 100 {
            append(tar, flag, b"././@LongLink", b"", 0o644, "0:0:root:root", &[long, &[0]].concat());
        }
    }
    let mut header = tar::Header::new_gnu();
    let owner: Vec<&str> = owner.split(':').collect();
    header.set_uid(owner[0].parse().unwrap());
    header.set_gid(owner[1].parse().unwrap());
    header.set_username(owner[2]).unwrap();
    header.set_groupname(owner[3]).unwrap();
    header.set_mode(mode);
    header.set_mtime(DATE as u64);
    header.set_size(content.len() as u64);
    header.set_entry_type(tar::EntryType::new(kind));
    if matches!(kind, b'3' | b'4') {
        let (major, minor) = std::str::from_utf8(target).unwrap().split_once(',').unwrap();
        header.set_device_major(major.parse().unwrap()).unwrap();
        header.set_device_minor(minor.parse().unwrap()).unwrap();
    }
    let old = header.as_old_mut();
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(100)].to_vec();
    old.name[..cut(name).len()].copy_from_slice(&cut(name));
    if !matches!(kind, b'3' | b'4') {
        old.linkname[..cut(target).len()].copy_from_slice(&cut(target));
    }
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}
