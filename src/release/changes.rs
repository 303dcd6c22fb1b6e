//! `STEM.changes`: the changelogs of the packages, as KIWI collects them.
//!
//! In: the scrubbed tree. Out: for each package a line `NAME|` and its changelog. Never unpacks more than [`LONGEST`]
//! bytes of one.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::error::Result;
use crate::package::database;
use crate::root::{RootPath, RootTree};

/// No changelog is longer; one that is, is cut.
const LONGEST: u64 = 16 << 20;

/// The text of the file.
pub fn text(tree: &RootTree) -> Result<Vec<u8>> {
    let mut names: Vec<String> = Vec::new();
    for stanza in database::status(tree)?.iter().filter(|stanza| database::is_installed(stanza)) {
        names.push(stanza.text("Package").to_string());
    }
    names.sort();
    names.dedup();
    let mut text = Vec::new();
    for name in names {
        // A native package has no changelog of Debian beside its own.
        for file in ["changelog.Debian.gz", "changelog.gz"] {
            let path = RootPath::new(format!("/usr/share/doc/{name}/{file}"));
            let Some(packed) = tree.read_if_there(&path)? else { continue };
            text.extend(format!("{name}|\n").bytes());
            let before = text.len();
            // A changelog that cannot be unpacked is the package's own fault, and no reason to fail.
            if MultiGzDecoder::new(packed.as_slice()).take(LONGEST).read_to_end(&mut text).is_err() {
                text.truncate(before);
            }
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            break;
        }
    }
    Ok(text)
}
