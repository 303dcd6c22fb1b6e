//! `STEM.changes`: the changelogs of the packages, as KIWI collects them.
//!
//! In: the scrubbed tree. Out: for each package a line `NAME|` and its changelog, if it has one; rpm's have the line
//! in any case. Never unpacks more than [`LONGEST`]
//! bytes of one.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::error::Result;
use crate::package::installed::{self, Changelog, Family};
use crate::root::RootTree;

/// No changelog is longer; one that is, is cut.
const LONGEST: u64 = 16 << 20;

/// The text of the file.
pub fn text(tree: &RootTree) -> Result<Vec<u8>> {
    let mut packages = installed::read(tree)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages.dedup_by(|later, first| later.name == first.name);
    let mut text = Vec::new();
    for package in packages {
        let changelog = package.changelog(tree)?;
        if changelog.is_some() || package.family() == Family::Rpm {
            text.extend(format!("{}|\n", package.name).bytes());
        }
        let Some(changelog) = changelog else { continue };
        match changelog {
            Changelog::Gzip(packed) => {
                let before = text.len();
                // A changelog that cannot be unpacked is the package's own fault, and no reason to fail.
                if MultiGzDecoder::new(packed.as_slice()).take(LONGEST).read_to_end(&mut text).is_err() {
                    text.truncate(before);
                }
            }
            Changelog::Plain(plain) => text.extend(plain.into_iter().take(LONGEST as usize)),
        }
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    Ok(text)
}
