//! What dnf's messages mean for a person and for a build farm.
//!
//! In: what a dnf that failed printed, and what it was asked for. Out: an [`Error`] with the right exit code, the place of
//! the repository or name it is about, a hint. Never hides dnf's own words.

use super::Dnf;
use crate::error::{Error, Exit, Place};
use crate::host::program::{Ended, failure};
use crate::package::certificates;
use crate::package::failure::{LOGIN, text_of};
use crate::package::rpm::{IGNORED, Repository};
use crate::plan::Named;

/// Messages that mean: the metadata or a package is not what its signer signed. In lower case.
const INTEGRITY: &[&str] = &[
    "signature verification error",
    "signature is not available",
    "signature not available",
    "signing key not found",
    "gpg check failed",
    "pgp check",
    "signature verification failed",
    "signature check failed",
    "is not signed",
    "checksum doesn't match",
    "checksum mismatch",
    "incorrect checksum",
    "import of key(s) didn't help",
    "not correct (wrong key",
];

/// Messages that mean: the description asks for what there is not, or for what cannot be together.
const DESCRIPTION: &[&str] = &[
    "unable to find a match",
    "no match for argument",
    "no match for group",
    "is not available.",
    "missing groups or modules",
    "filtered out by",
    "nothing provides",
    "conflicting requests",
    "problem:",
    "problem 1:",
    "matches only excluded packages",
    "failed to resolve the transaction",
];

/// Messages about a transfer.
const TRANSFER: &[&str] =
    &["curl error", "status code:", "cannot download", "failed to download", "error downloading", "librepo error"];

/// What dnf says in good times, too.
const NO_COMPLAINT: &[&str] = &[
    "Importing GPG key",
    "Importing OpenPGP key",
    "Detection of Platform Module failed",
    "Failed to set locale",
    "Unable to detect release version",
    "Updating and loading repositories",
    "Repositories loaded.",
    "(try to add",
    "You can try to add",
    "The key was successfully imported.",
    "Is this ok",
    "Total size of inbound packages",
    "After this operation",
    "The operation will only",
    "Location ",
    "Running transaction",
    "Complete!",
    "--skip-",
    "--allowerasing",
    "----",
];

/// The beginning of a complaint that dnf prints on stdout.
const ON_STDOUT: &[&str] = &[
    "No match for ",
    "All matches were filtered out",
    "Public key for ",
    "Import of key(s) ",
    "[MIRROR] ",
    "[FAILED] ",
    "Package ",
    "Module or Group ",
];

/// The error for a dnf that ended with a status other than 0; `asked` is what it was given.
pub(super) fn of(dnf: &Dnf<'_>, what: &str, ended: &Ended, asked: &[(String, &Named)]) -> Error {
    let said = complaints(ended);
    let text = said.join("\n");
    let (exit, hint) = meaning(&text);
    let mut error = match said.is_empty() {
        true => failure(dnf.program, ended).with_exit(exit).within(what),
        false => Error::cannot(exit, what).because(said[..said.len().min(12)].join("\n")),
    };
    let place = match exit {
        Exit::Description => of_names(&text, asked).or_else(|| of_repository(dnf, &text)),
        _ => of_repository(dnf, &text),
    };
    if let Some(place) = place {
        error = error.at(place);
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What dnf would have liked to install and passed over, one text for each problem; it ended well.
pub(super) fn passed_over(ended: &Ended) -> Vec<String> {
    let text = text_of(ended);
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("Problem") && trimmed.contains(": ") {
            let reason = trimmed.split_once(": ").map_or(trimmed, |(_, reason)| reason);
            found.push(format!("dnf did not take the best packages: {reason}"));
            inside = true;
        } else if inside && trimmed.starts_with("- ") {
            if let Some(last) = found.last_mut() {
                last.push_str(&format!("; {}", &trimmed[2..]));
            }
        } else {
            inside = false;
        }
    }
    found.dedup();
    found
}

fn meaning(text: &str) -> (Exit, Option<&'static str>) {
    if certificates::are_refused(text) {
        return (Exit::Integrity, Some(certificates::HINT));
    }
    let text = text.to_lowercase();
    let contains = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if contains(&["no space left on device", "insufficient space"]) {
        return (Exit::Io, Some("free some space, or choose another --cache-dir"));
    }
    if contains(INTEGRITY) {
        let hint = match text.contains("not available") || text.contains("is not signed") {
            true => {
                "without a signature only repository_gpgcheck=\"false\" or package_gpgcheck=\"false\" help, and the manifest says so"
            }
            false => "is <signing key=.../> the key of this repository, and has it not expired?",
        };
        return (Exit::Integrity, Some(hint));
    }
    if contains(TRANSFER) {
        let of_metadata = contains(&["for repo", "for repository", "loading repositories"]);
        return match () {
            () if contains(&[
                "couldn't open file",
                "couldn't read a file",
                "could not open file",
                "could not read a file",
            ]) =>
            {
                (Exit::InputMissing, Some("there is no repodata/repomd.xml there: look at the repository's path"))
            }
            () if contains(&["status code: 401", "returned error: 401"]) => (Exit::Description, Some(LOGIN)),
            () if of_metadata && contains(&["status code: 404"]) && !contains(&["curl error"]) => {
                (Exit::Description, Some("there is no repository there: look at its path and at <release-version>"))
            }
            () => (Exit::Temporary, Some("is the mirror reachable? This may pass: try again later")),
        };
    }
    if contains(&["filtered out by exclude", "matches only excluded packages"]) {
        return (Exit::Description, Some(IGNORED));
    }
    if contains(&["filtered out by modular"]) {
        return (Exit::Description, Some("another stream of its module is enabled: see <collectionModule>"));
    }
    if contains(DESCRIPTION) {
        return (Exit::Description, None);
    }
    (Exit::Temporary, None)
}

/// The lines in which dnf says what is wrong.
fn complaints(ended: &Ended) -> Vec<String> {
    let of_key = |line: &str| ["Userid", "Fingerprint", "From ", "UserID"].iter().any(|word| line.starts_with(word));
    let stderr = String::from_utf8_lossy(&ended.output.stderr).into_owned();
    let stdout = String::from_utf8_lossy(&ended.output.stdout).into_owned();
    let errors = stderr.lines().map(str::trim_end).filter(|line| {
        let trimmed = line.trim_start();
        !trimmed.is_empty()
            && !NO_COMPLAINT.iter().any(|start| trimmed.starts_with(start))
            && !of_key(trimmed)
            // Progress of dnf5.
            && !trimmed.contains("% | ")
            && trimmed != "Error:"
    });
    let outputs =
        stdout.lines().map(str::trim_end).filter(|line| ON_STDOUT.iter().any(|start| line.starts_with(start)));
    let mut found: Vec<String> = Vec::new();
    for line in outputs.chain(errors) {
        if !found.iter().any(|known| known == line) {
            found.push(line.to_string());
        }
    }
    found
}

/// The place of the first name that the text is about.
fn of_names(text: &str, asked: &[(String, &Named)]) -> Option<Place> {
    let quoted = |argument: &str| {
        let bare = argument.trim_start_matches('@');
        text.lines().any(|line| {
            let lists = ["match", "rgument", "Group", "group", "modules", "module"];
            let about = lists.iter().any(|word| line.contains(word));
            about
                && line.match_indices(bare).any(|(at, _)| {
                    let edge = |char: Option<char>| char.is_none_or(|char| " ',:\"@".contains(char));
                    edge(line[..at].chars().next_back()) && edge(line[at + bare.len()..].chars().next())
                })
        })
    };
    if let Some((_, named)) = asked.iter().find(|(argument, _)| quoted(argument)) {
        return Some(named.place.clone());
    }
    // `foo-1.0-1.noarch` in a problem of the solver.
    let mentioned = |name: &str| {
        let words = text.split([' ', '\n', ',']);
        words
            .filter_map(|word| word.strip_prefix(name)?.strip_prefix('-'))
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let bare = |argument: &str| argument.split([' ', '.']).next().map(str::to_string);
    let (_, named) = asked.iter().find(|(argument, _)| bare(argument).is_some_and(|name| mentioned(&name)))?;
    Some(named.place.clone())
}

fn of_repository(dnf: &Dnf<'_>, text: &str) -> Option<Place> {
    let about = |repository: &&&Repository| {
        let id = repository.id();
        [format!("'{id}'"), format!("\"{id}\"")].iter().any(|name| text.contains(name))
    };
    let failed = dnf.used.iter().find(about)?;
    Some(failed.source.place.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::program::Output;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(stdout: &str, stderr: &str) -> Ended {
        let output = Output { stdout: stdout.into(), stderr: stderr.into() };
        Ended { status: ExitStatus::from_raw(1 << 8), output }
    }

    fn asked(names: &[&str]) -> Vec<(String, Named)> {
        let place = |line| Place { file: "x".into(), line, column: 1 };
        let named = |(at, name): (usize, &&str)| {
            (name.to_string(), Named { name: name.to_string(), place: place(at as u32 + 1) })
        };
        names.iter().enumerate().map(named).collect()
    }

    #[test]
    fn dnfs_messages_become_exit_codes() {
        for (said, exit) in [
            ("Error: Unable to find a match: nosuch", Exit::Description),
            ("Module or Group 'nogroup' is not available.\nError: Nothing to do.", Exit::Description),
            ("Error: Problems in request:\nmissing groups or modules: nomodule", Exit::Description),
            (
                "Error: \n Problem: conflicting requests\n  - nothing provides x >= 7 needed by y-1.0-1.noarch",
                Exit::Description,
            ),
            (
                "Error: Failed to download metadata for repo 'tiny': GPG verification is enabled, but GPG signature is not available. This may be an error or the repository does not support GPG verification: Status code: 404 for http://h/repodata/repomd.xml.asc",
                Exit::Integrity,
            ),
            (
                "Error: Failed to download metadata for repo 'tiny': repomd.xml GPG signature verification error: Bad GPG signature",
                Exit::Integrity,
            ),
            ("Package tiny-lua-1.0-1.noarch.rpm is not signed\nError: GPG check FAILED", Exit::Integrity),
            ("Error: Some packages from local repository have incorrect checksum", Exit::Integrity),
            (
                "  - Curl error (7): Couldn't connect to server for http://h/repodata/repomd.xml\nError: Failed to download metadata for repo 'tiny': Cannot download repomd.xml: All mirrors were tried",
                Exit::Temporary,
            ),
            (
                "  - Status code: 404 for http://h/repodata/repomd.xml (IP: 127.0.0.1)\nError: Failed to download metadata for repo 'tiny': Cannot download repomd.xml",
                Exit::Description,
            ),
            (
                "  - Curl error (37): Couldn't read a file:// file for file:///r/repodata/repomd.xml\nError: Failed to download metadata for repo 'tiny'",
                Exit::InputMissing,
            ),
            ("Error: Insufficient space in download directory /c", Exit::Io),
        ] {
            assert_eq!(meaning(&complaints(&ended("", said)).join("\n")).0, exit, "{said}");
        }
    }

    #[test]
    fn a_message_leads_to_the_name_in_the_description() {
        let asked = asked(&["app", "@group", "app-extra", "lib >= 7"]);
        let asked: Vec<(String, &Named)> = asked.iter().map(|(argument, named)| (argument.clone(), named)).collect();
        for (said, line) in [
            ("Error: Unable to find a match: app-extra", 3),
            ("Error: Unable to find a match: lib >= 7", 4),
            ("Module or Group 'group' is not available.", 2),
            (" Problem: conflicting requests\n  - nothing provides x needed by app-extra-1.0-1.noarch", 3),
            (" Problem: conflicting requests\n  - nothing provides x needed by app-1:1.0-1.noarch", 1),
            (" Problem: conflicting requests\n  - nothing provides x needed by lib-8-1.noarch from tiny", 4),
        ] {
            assert_eq!(of_names(said, &asked).map(|place| place.line), Some(line), "{said}");
        }
    }

    #[test]
    fn what_was_passed_over_is_told_with_its_reason() {
        let said = "Detection failed\n\n Problem: package a-2 requires b\n  - package b is filtered out\n";
        assert_eq!(
            passed_over(&ended("Complete!\n", said)),
            ["dnf did not take the best packages: package a-2 requires b; package b is filtered out"]
        );
    }
}
