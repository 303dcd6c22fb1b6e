//! `STEM.verified`: which files of packages are not as their packages brought them, in the form of `dpkg --verify`.
//!
//! In: the scrubbed tree and its package database. Out: a line for each difference, sorted. Never runs a program: the
//! image may have no dpkg any more.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::artifact::hex;
use crate::error::Result;
use crate::package::database;
use crate::package::deb822::Stanza;
use crate::root::{RootPath, RootTree};

/// The text of the file.
pub fn text(tree: &RootTree) -> Result<String> {
    let mut lines = Vec::new();
    for stanza in database::status(tree)?.iter().filter(|stanza| database::is_installed(stanza)) {
        let configuration = configuration_files(stanza);
        let sums = tree.read_if_there(&database::info_path(stanza, "md5sums"))?.unwrap_or_default();
        let sums = String::from_utf8_lossy(&sums).into_owned();
        let files = sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, path)| (format!("/{path}"), sum));
        let files = files.filter(|(path, _)| !configuration.contains_key(path.as_str()));
        for (path, sum) in files {
            lines.extend(difference(tree, &path, sum, ' ')?);
        }
        for (path, sum) in &configuration {
            lines.extend(difference(tree, path, sum, 'c')?);
        }
    }
    lines.sort();
    Ok(lines.concat())
}

/// Nine places for what may differ, of which only the third, the sum, is looked at; `c` for configuration; the path.
fn difference(tree: &RootTree, path: &str, sum: &str, kind: char) -> Result<Option<String>> {
    let at = RootPath::new(path);
    let Some(content) = tree.entry(&at)? else {
        return Ok(Some(format!("missing   {kind} {path}\n")));
    };
    if !content.is_file() {
        // A file that became a symlink or a folder (alternatives, diversions) has no sum to compare.
        return Ok(None);
    }
    let differs = hex(&Md5::digest(tree.read(&at)?)) != sum;
    Ok(differs.then(|| format!("??5?????? {kind} {path}\n")))
}

/// Paths and MD5 sums of the field `Conffiles`, without obsolete ones and those that were never written.
fn configuration_files(stanza: &Stanza) -> BTreeMap<&str, &str> {
    let lines = stanza.text("Conffiles").lines();
    lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (path, sum, rest) = (words.next()?, words.next()?, words.next());
            (rest.is_none() && sum.len() == 32).then_some((path, sum))
        })
        .collect()
}
