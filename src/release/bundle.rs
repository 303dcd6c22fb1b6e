//! A bundle: what of a result is worth shipping, under names that hold an identifier, compressed, with checksums.
//!
//! In: a [`KiwiResult`]. Out: regular files, flat, in the bundle's folder; where a text among them names another one (a
//! `.vmx` its `.vmdk`), it names it as it is called now. Doing it twice changes nothing. Never touches the result itself.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::artifact::hex;
use super::kiwi_result::{KiwiResult, Naming};
use super::{hash, xz};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::report::Reporter;

/// What to call the files, and whether to pack them.
#[derive(Clone, Debug)]
pub struct BundleOrder {
    /// `--id`.
    pub id: String,
    /// `--bundle-format`, else the description's.
    pub pattern: Option<String>,
    /// Whether raw disks are packed.
    pub compression: Compression,
    /// `--zsync-source`: where the bundle will be downloaded from.
    pub zsync_source: Option<String>,
}

impl BundleOrder {
    /// What every name of the bundle begins with.
    pub fn stem(&self, naming: &Naming) -> Result<String> {
        check_id(&self.id)?;
        match self.pattern.as_ref().or(naming.pattern.as_ref()) {
            Some(pattern) => expand(pattern, naming, &self.id),
            None => Ok(format!("{}.{}-{}-{}", naming.name, naming.arch, naming.version, self.id)),
        }
    }
}

/// Whether files that may be packed are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// With xz.
    Xz,
    /// `--no-compress`.
    Off,
}

/// Writes the bundle of the result in `target` into `folder`; returns the files, sorted.
pub fn write(target: &Path, folder: &Path, order: &BundleOrder, reporter: &Reporter) -> Result<Vec<PathBuf>> {
    let result = KiwiResult::read(target)?;
    let naming = &result.bundle_format;
    let stem = order.stem(naming)?;
    file::create_folders(folder)?;
    if file::canonical(folder)? == file::canonical(target)? {
        return Err(Error::cannot(Exit::Usage, format!("bundle the result in {}", target.display()))
            .because("the bundle would be among the files that it is made of")
            .hint("name another folder with --bundle-dir"));
    }
    let mut written = Vec::new();
    let listed = result.files.values().filter(|listed| listed.use_for_bundle);
    let renamed: Vec<_> = listed
        .map(|listed| {
            let name = listed.filename.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shipped = format!("{stem}.{}", extension(&name, naming));
            (name, shipped, listed)
        })
        .collect();
    let names: Vec<(&str, &str)> = renamed.iter().map(|(name, shipped, _)| (name.as_str(), shipped.as_str())).collect();
    for (name, shipped, listed) in &renamed {
        // The folder may have been moved since.
        let source = target.join(name);
        let mut shipped = shipped.clone();
        let text = rewritten(&source, &names)?;
        let packed = listed.compress && order.compression == Compression::Xz;
        if packed {
            shipped.push_str(".xz");
        }
        let step = reporter.step("bundle");
        let path = folder.join(&shipped);
        let hidden = folder.join(format!(".{shipped}"));
        let sha256 = match (text, packed) {
            (Some(text), true) => pack(&mut text.as_bytes(), &hidden)?,
            (Some(text), false) => {
                file::write(&hidden, text.as_bytes())?;
                hex(&Sha256::digest(text.as_bytes()))
            }
            (None, true) => pack(&mut file::open(&source)?, &hidden)?,
            (None, false) => copy(&source, &hidden, &step)?,
        };
        file::rename(&hidden, &path)?;
        step.finish(&shipped);
        written.push(path);
        if listed.shasum {
            let path = folder.join(format!("{shipped}.sha256"));
            file::write_atomically(&path, format!("{sha256}  {shipped}\n").as_bytes())?;
            written.push(path);
            if let Some(source) = &order.zsync_source {
                written.push(zsync(folder, &shipped, source, reporter)?);
            }
        }
    }
    written.sort();
    Ok(written)
}

/// `NAME.zsync`: what a client needs to fetch only what differs from an older file (zsyncmake(1)). 69 where the host
/// has no zsyncmake.
fn zsync(folder: &Path, name: &str, source: &str, reporter: &Reporter) -> Result<PathBuf> {
    let folder = file::canonical(folder)?;
    let (path, hidden) = (folder.join(format!("{name}.zsync")), folder.join(format!(".{name}.zsync")));
    let url = format!("{}/{name}", source.trim_end_matches('/'));
    let program = Program::new("zsyncmake").args(["-e", "-u", &url, "-f", name, "-o"]).arg(&hidden);
    program.arg(folder.join(name)).in_folder(&folder).run(reporter).map_err(|error| match error.exit() {
        Exit::HostLacks => error.hint("install zsync, or leave --zsync-source out"),
        _ => error,
    })?;
    file::rename(&hidden, &path)?;
    Ok(path)
}

/// Texts are no longer than that.
const LONGEST_TEXT: u64 = 64 << 20;

/// A text that names files of the bundle, with their new names; `None` for what is no text, and what names none.
fn rewritten(source: &Path, names: &[(&str, &str)]) -> Result<Option<String>> {
    if file::metadata(source).is_none_or(|metadata| metadata.len() > LONGEST_TEXT) {
        return Ok(None);
    }
    let mut beginning = Vec::new();
    let mut opened = file::open(source)?;
    let what = || format!("read {}", source.display());
    Read::by_ref(&mut opened).take(4096).read_to_end(&mut beginning).or_cannot(what)?;
    if beginning.contains(&0) {
        return Ok(None);
    }
    opened.read_to_end(&mut beginning).or_cannot(what)?;
    let Ok(text) = String::from_utf8(beginning) else { return Ok(None) };
    let (mut done, mut left) = (String::new(), text.as_str());
    loop {
        // At the same place the longest name is meant.
        let found = names.iter().filter_map(|(old, new)| Some((left.find(old)?, *old, *new)));
        let Some((at, old, new)) = found.min_by_key(|(at, old, _)| (*at, std::cmp::Reverse(old.len()))) else { break };
        done.push_str(&left[..at]);
        done.push_str(new);
        left = &left[at + old.len()..];
    }
    if done.is_empty() {
        return Ok(None);
    }
    Ok(Some(done + left))
}

fn copy(source: &Path, to: &Path, step: &crate::report::Step) -> Result<String> {
    let (from, copy) = (file::open(source)?, file::create(to)?);
    let (sha256, _) = hash::file(&from, Some(&copy), step)?;
    Ok(sha256)
}

fn pack(source: &mut dyn Read, to: &Path) -> Result<String> {
    let what = || format!("write {}", to.display());
    let out = Digesting { file: BufWriter::new(file::create(to)?), hash: Sha256::new() };
    let mut encoder = xz::encoder(out)?;
    io::copy(source, &mut encoder).or_cannot(what)?;
    let mut out = encoder.finish().or_cannot(what)?;
    out.flush().or_cannot(what)?;
    Ok(hex(&out.hash.finalize()))
}

/// Writes a file and its SHA-256 at once.
struct Digesting {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An identifier is a part of a file's name.
fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.contains(['/', '\0', '\n']) || id.len() > 128 {
        return Err(Error::new(Exit::Usage, format!("`{id}` cannot be a part of a file's name")));
    }
    Ok(())
}

/// What follows the stem: all that follows a known one, else by KIWI's rule for names that were chosen otherwise.
fn extension<'a>(name: &'a str, naming: &Naming) -> &'a str {
    let stem = format!("{}.{}-{}.", naming.name, naming.arch, naming.version);
    match name.strip_prefix(&stem) {
        Some(rest) => rest,
        // `manifest.json` has no stem of its own.
        None => name,
    }
}

/// Replaces the letters of a pattern.
fn expand(pattern: &str, naming: &Naming, id: &str) -> Result<String> {
    let number = |at: usize| naming.version.split('.').nth(at).unwrap_or_default();
    let wrong = |why: String| {
        let error = Error::new(Exit::Usage, format!("`{pattern}` names no bundle")).because(why);
        Err(error.hint("%N name, %P profiles, %A architecture, %I id, %T type, %v version, %M %m %p its numbers"))
    };
    let mut name = String::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            name.push(char);
            continue;
        }
        match chars.next() {
            Some('N') => name.push_str(&naming.name),
            Some('P') => name.push_str(&naming.profiles),
            Some('A') => name.push_str(&naming.arch),
            Some('I') => name.push_str(id),
            Some('T') => name.push_str(&naming.image_type),
            Some('v') => name.push_str(&naming.version),
            Some('M') => name.push_str(number(0)),
            Some('m') => name.push_str(number(1)),
            Some('p') => name.push_str(number(2)),
            Some('%') => name.push('%'),
            Some(other) => return wrong(format!("%{other} stands for nothing")),
            None => return wrong("nothing follows its last %".into()),
        }
    }
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return wrong(format!("`{name}` is not the name of a visible file"));
    }
    Ok(name)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::fs;

    fn naming() -> Naming {
        Naming {
            pattern: None,
            name: "tiny".into(),
            profiles: "A_B".into(),
            arch: "x86_64".into(),
            image_type: "oem".into(),
            version: "1.2.3".into(),
        }
    }

    #[test]
    fn every_letter_of_a_pattern_stands_for_something() {
        let all = expand("%N-%P-%A-%I-%T-%v-%M-%m-%p-100%%", &naming(), "Build7").unwrap();
        assert_eq!(all, "tiny-A_B-x86_64-Build7-oem-1.2.3-1-2-3-100%");
        for bad in ["", "%x", "a%", "../%N", ".%N"] {
            assert_eq!(expand(bad, &naming(), "1").unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_text_names_the_other_files_as_they_are_called_now() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, bundle) = (scratch.path().join("t"), scratch.path().join("b"));
        fs::create_dir(&target).unwrap();
        let stem = "tiny.x86_64-1.2.3";
        let vmx = format!("scsi0:0.fileName = \"{stem}.vmdk\"\n# {stem}.vmdk.lock, {stem}.raw\n");
        fs::write(target.join(format!("{stem}.vmx")), &vmx).unwrap();
        fs::write(target.join(format!("{stem}.vmdk")), format!("KDMV\0{stem}.vmdk")).unwrap();
        fs::write(target.join(format!("{stem}.packages")), "p|None\n").unwrap();
        let artifacts = [(format!("{stem}.vmdk"), "vmdk".to_string()), (format!("{stem}.vmx"), "vmx".to_string())];
        KiwiResult::new(&target, artifacts, [format!("{stem}.packages")], naming()).write(&target).unwrap();
        let order = BundleOrder { id: "7".into(), pattern: None, compression: Compression::Off, zsync_source: None };
        assert_eq!(write(&target, &target, &order, &Reporter::silent()).unwrap_err().exit(), Exit::Usage);
        write(&target, &bundle, &order, &Reporter::silent()).unwrap();
        let read = |end: &str| fs::read_to_string(bundle.join(format!("{stem}-7.{end}"))).unwrap();
        let wanted = format!("scsi0:0.fileName = \"{stem}-7.vmdk\"\n# {stem}-7.vmdk.lock, {stem}.raw\n");
        assert_eq!(read("vmx"), wanted);
        assert_eq!(read("vmdk"), format!("KDMV\0{stem}.vmdk"), "a disk is no text");
        assert_eq!(read("packages"), "p|None\n");
        if let Ok(sum) = fs::read_to_string(bundle.join(format!("{stem}-7.vmx.sha256"))) {
            assert!(sum.starts_with(&hex(&Sha256::digest(wanted.as_bytes()))), "{sum}");
        }
        assert_eq!(fs::read_to_string(target.join(format!("{stem}.vmx"))).unwrap(), vmx, "the result is touched");
    }

    #[test]
    fn a_bundle_is_renamed_packed_and_summed_and_the_same_twice() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, bundle) = (scratch.path().join("t"), scratch.path().join("b"));
        fs::create_dir(&target).unwrap();
        for (name, content) in [("tiny.x86_64-1.2.3.raw", "disk"), ("tiny.x86_64-1.2.3.packages", "p|None\n")] {
            fs::write(target.join(name), content).unwrap();
        }
        fs::write(target.join("manifest.json"), "{}").unwrap();
        let artifacts = [("tiny.x86_64-1.2.3.raw".to_string(), "raw".to_string())];
        let beside = ["tiny.x86_64-1.2.3.packages".to_string(), "manifest.json".to_string()];
        KiwiResult::new(&target, artifacts, beside, naming()).write(&target).unwrap();
        let mut order =
            BundleOrder { id: "Build1.1".into(), pattern: None, compression: Compression::Xz, zsync_source: None };
        let listing = |folder: &Path| {
            let names = file::names(folder).unwrap().into_iter();
            names
                .map(|name| (name.to_string_lossy().into_owned(), fs::read(folder.join(name)).unwrap()))
                .collect::<Vec<_>>()
        };
        let reporter = Reporter::silent();
        write(&target, &bundle, &order, &reporter).unwrap();
        let first = listing(&bundle);
        write(&target, &bundle, &order, &reporter).unwrap();
        assert_eq!(listing(&bundle), first);
        let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
        let stem = "tiny.x86_64-1.2.3-Build1.1";
        let wanted = ["manifest.json", "packages", "raw.xz", "raw.xz.sha256"].map(|end| format!("{stem}.{end}"));
        assert_eq!(names, wanted);
        let sum = format!("{}  {stem}.raw.xz\n", hex(&Sha256::digest(&first[2].1)));
        assert_eq!(first[3].1, sum.as_bytes());
        order.compression = Compression::Off;
        order.pattern = Some("%N-%I".into());
        let other = scratch.path().join("other");
        write(&target, &other, &order, &reporter).unwrap();
        assert_eq!(fs::read(other.join("tiny-Build1.1.raw")).unwrap(), b"disk");
    }
}
