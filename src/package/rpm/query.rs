//! What a package file says of itself.
//!
//! In: a `.rpm` file: a lead of 96 bytes, a header with signatures, the package's own header, the payload. Out: the header
//! ([`Header`]). Never reads the payload; rpm checks its digest when it installs.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::folder::ManagerFolder;
use super::{Chosen, Repository};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::rpmdb::Header;
use crate::plan::Signed;
use crate::report::Reporter;

const LEAD: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// What stands before a header outside of a database.
pub(super) const HEADER: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// rpm refuses larger headers, too.
const LARGEST: usize = 256 << 20;

/// The header of a package file. 76 where it is none.
pub(super) fn header(path: &Path) -> Result<Header> {
    let damaged = |why: &str| {
        Error::cannot(Exit::Integrity, format!("read the package {}", path.display())).because(why.to_string())
    };
    let mut content = std::io::BufReader::new(file::open(path)?);
    let mut lead = [0; 96];
    content.read_exact(&mut lead).map_err(|_| damaged("it is too short"))?;
    if !lead.starts_with(&LEAD) {
        return Err(damaged("it is no rpm package"));
    }
    let signatures = part(&mut content).ok_or_else(|| damaged("its signature header is damaged"))?;
    // The next header begins at a multiple of eight bytes.
    let mut padding = [0; 8];
    let more = signatures.len().wrapping_neg() % 8;
    content.read_exact(&mut padding[..more]).map_err(|_| damaged("it is too short"))?;
    part(&mut content).and_then(Header::new).ok_or_else(|| damaged("its header is damaged"))
}

/// One header without its magic: two lengths, the index, the store.
fn part(content: &mut impl Read) -> Option<Vec<u8>> {
    let mut start = [0; 16];
    content.read_exact(&mut start).ok()?;
    if start[..8] != HEADER {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]) as usize;
    let length = number(8).checked_mul(16)?.checked_add(number(12))?;
    if length > LARGEST {
        return None;
    }
    let mut bytes = start[8..].to_vec();
    let read = content.take(length as u64).read_to_end(&mut bytes).ok()?;
    (read == length).then_some(bytes)
}

/// The source package and its version: `tiny-1.0-1.src.rpm` as (`tiny`, `1.0-1`).
pub(super) fn source(header: &Header) -> (String, String) {
    let file = header.source();
    let stem = [".src.rpm", ".nosrc.rpm"].into_iter().find_map(|end| file.strip_suffix(end)).unwrap_or(&file);
    let mut parts = stem.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(release), Some(version), Some(name)) => (name.to_string(), format!("{version}-{release}")),
        _ => (stem.to_string(), String::new()),
    }
}

/// The part of what a description wrote that is a name: `foo` of `foo>=1.2`, `foo = 1`.
pub(super) fn base_name(written: &str) -> &str {
    let end = written.find(['<', '>', '=', ' ']).unwrap_or(written.len());
    if written.starts_with('(') { written } else { written[..end].trim_end() }
}

/// Checks each package's own signature, where the description demands one: by a key of its repository, and no other.
/// 76 with rpm's own words.
pub(super) fn verify(
    folder: &ManagerFolder,
    chosen: &[Chosen],
    used: &[&Repository],
    reporter: &Reporter,
) -> Result<()> {
    for repository in used.iter().filter(|repository| repository.signed_packages == Signed::Required) {
        let alias = &repository.source.alias;
        let archives: Vec<&PathBuf> =
            chosen.iter().filter(|one| one.repository == *alias).map(|one| &one.archive).collect();
        let database = folder.database_of(alias, used);
        if archives.is_empty() {
            continue;
        }
        let mut words = vec!["rpmkeys".to_string(), "--define".into(), format!("_dbpath {}", database.display())];
        // Without this a package that nobody signed is good, as long as its digests are.
        words.extend(["--define".into(), "_pkgverify_level signature".into(), "--checksig".into()]);
        words.extend(archives.iter().map(|path| path.display().to_string()));
        let ended = folder.sandbox().run_to_end(reporter, &words, |_| {})?;
        if ended.status.success() {
            continue;
        }
        let said = String::from_utf8_lossy(&ended.output.stdout).into_owned();
        let bad: Vec<&str> = said.lines().filter(|line| line.contains("NOT OK")).take(6).collect();
        let bad = bad.iter().map(|line| line.rsplit('/').next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
        return Err(Error::cannot(Exit::Integrity, format!("trust the packages of the repository `{alias}`"))
            .because(if bad.is_empty() { super::failure::text_of(&ended) } else { bad })
            .at(repository.source.place.clone())
            .hint("each package must be signed by a key that <signing key=.../> names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_where_its_version_begins() {
        for (written, name) in [
            ("foo", "foo"),
            ("foo>=1.2", "foo"),
            ("foo = 1", "foo"),
            ("gcc-c++", "gcc-c++"),
            ("/usr/bin/x", "/usr/bin/x"),
            ("(a or b)", "(a or b)"),
        ] {
            assert_eq!(base_name(written), name);
        }
    }
}
