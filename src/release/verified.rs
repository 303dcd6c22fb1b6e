//! `STEM.verified`: which files of packages are not as their packages brought them, in the form of `dpkg --verify`
//! or, for its packages, of `rpm --verify`.
//!
//! In: the scrubbed tree and its package database. Out: a line for each difference, sorted. Never runs a program: the
//! image may have no package manager any more.

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512};

use super::artifact::hex;
use crate::error::Result;
use crate::package::installed::{self, Digest, Family, ShippedFile};
use crate::root::RootTree;

/// The text of the file.
pub fn text(tree: &RootTree) -> Result<String> {
    let mut lines = Vec::new();
    for package in installed::read(tree)? {
        for file in package.files(tree)? {
            lines.extend(difference(tree, &file, package.family())?);
        }
    }
    lines.sort();
    Ok(lines.concat())
}

/// Nine places for what may differ, of which only the third, the sum, is looked at; `c` for configuration; the path.
/// rpm leaves one blank more than dpkg does.
fn difference(tree: &RootTree, file: &ShippedFile, family: Family) -> Result<Option<String>> {
    let ShippedFile { path, digest, configuration } = file;
    let kind = if *configuration { 'c' } else { ' ' };
    let Some(content) = tree.entry(path)? else {
        return Ok(Some(format!("missing   {kind} {path}\n")));
    };
    if !content.is_file() {
        // A file that became a symlink or a folder (alternatives, diversions) has no sum to compare.
        return Ok(None);
    }
    let differs = match digest {
        Digest::Md5(sum) => hex(&Md5::digest(tree.read(path)?)) != *sum,
        Digest::Sha256(sum) => hex(&Sha256::digest(tree.read(path)?)) != *sum,
        Digest::Sha512(sum) => hex(&Sha512::digest(tree.read(path)?)) != *sum,
    };
    let blank = if family == Family::Rpm { " " } else { "" };
    Ok(differs.then(|| format!("??5??????{blank} {kind} {path}\n")))
}
