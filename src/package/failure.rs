//! What apt's messages mean for a person and for a build farm.
//!
//! In: the `E:`, `W:` and `Err:` lines of an apt program that failed. Out: an [`Error`] with the right exit code, the
//! place of the repository it is about, a hint. Never hides apt's own words.

use super::certificates;
use super::repository::Source;
use crate::error::{Error, Exit};
use crate::host::program::{Ended, failure};

/// Messages that mean: the metadata or the content is not what its signer signed.
const INTEGRITY: &[&str] = &[
    "is not signed",
    "no longer signed",
    "NO_PUBKEY",
    "EXPKEYSIG",
    "EXPSIG",
    "KEYEXPIRED",
    "REVKEYSIG",
    "BADSIG",
    "signatures were invalid",
    "signatures couldn't be verified",
    "Clearsigned file isn't valid",
    "Hash Sum mismatch",
    "File has unexpected size",
    "is expired",
    "is not valid yet",
    "Not valid yet",
    "weak security information",
    "Insufficient information available to perform this download securely",
    "No good signature",
    "Missing Signed-By",
    // A mirror that would have apt read a file of this host, or leave https.
    "Redirection from",
    "Certificate verification failed",
    "certificate is NOT trusted",
];

/// What to say where a mirror answers 401.
pub(super) const LOGIN: &str =
    "the mirror asks for a `username` and `password`, or does not accept those of this repository";

/// The error for an apt program that could not read or fetch from the repositories.
pub fn of_transfer(what: &str, line: &str, ended: &Ended, sources: &[Source]) -> Error {
    let text = text_of(ended);
    let said: Vec<&str> = text.lines().map(str::trim_end).filter(|line| is_complaint(line)).collect();
    let contains = |needle: &&str| said.iter().any(|line| line.contains(*needle));
    let missing_suite = |line: &&&str| line.contains("does not have a Release file");
    let relevant = |line: &&str| match INTEGRITY.iter().any(|needle| line.contains(needle)) {
        true => 0,
        false if line.starts_with("E:") => 1,
        false => 2,
    };
    let (exit, hint) = if INTEGRITY.iter().any(contains) {
        (Exit::Integrity, integrity_hint(&said))
    } else if contains(&"401  Unauthorized") {
        (Exit::Description, Some(LOGIN))
    } else if said.iter().any(|line| missing_suite(&line)) && !contains(&"Could not") && !contains(&"Connection") {
        let local = sources.iter().any(|source| source.url.starts_with("file:") && contains(&source.url.as_str()));
        let hint = "there is no such suite there: look at the repository's `distribution` and `path`";
        (if local { Exit::InputMissing } else { Exit::Description }, Some(hint))
    } else if contains(&"is not configured") || contains(&"method driver") {
        (Exit::HostLacks, Some("this host's apt cannot use that kind of URL"))
    } else if contains(&"No space left on device") {
        (Exit::Io, Some("free some space, or choose another --cache-dir"))
    } else {
        (Exit::Temporary, Some("is the mirror reachable? This may pass: try again later"))
    };
    let mut shown: Vec<&str> = said.clone();
    shown.sort_by_key(|line| relevant(line));
    shown.dedup();
    let mut error = match shown.is_empty() {
        true => failure(line, ended).with_exit(exit).within(what),
        false => Error::cannot(exit, what).because(shown[..shown.len().min(6)].join("\n")),
    };
    let about = |source: &&Source| shown.iter().any(|line| line.contains(source.url.as_str()));
    if let Some(source) = sources.iter().filter(about).max_by_key(|source| source.url.len()) {
        error = error.at(source.place.clone());
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// All that a program printed.
pub fn text_of(ended: &Ended) -> String {
    let mut text = String::from_utf8_lossy(&ended.output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&ended.output.stderr));
    text
}

fn is_complaint(line: &str) -> bool {
    // The second line of `Err:` is indented and holds the reason.
    ["E: ", "W: ", "Err:", "  "].iter().any(|start| line.starts_with(start)) && !line.trim().is_empty()
}

fn integrity_hint(said: &[&str]) -> Option<&'static str> {
    let contains = |needle: &str| said.iter().any(|line| line.contains(needle));
    if contains("NO_PUBKEY") || contains("couldn't be verified") {
        Some("name its key with <signing key=.../>, or install the distribution's archive keyring on this host")
    } else if contains("not signed") {
        Some("an unsigned repository is used only with repository_gpgcheck=\"false\", and the manifest says so")
    } else if contains("is expired") || contains("ot valid yet") {
        Some("the mirror is out of date, or this host's clock is wrong")
    } else if contains("Redirection from") {
        Some("the mirror sends this host to a file of its own, or out of https: it is not to be believed")
    } else if contains("ertificate") {
        Some(certificates::HINT)
    } else if contains("Clearsigned") {
        Some("something between this host and the mirror answers in its place")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::program::Output;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn apts_messages_become_exit_codes() {
        for (said, exit) in [
            ("E: The repository 'file:/r ./ Release' is not signed.", Exit::Integrity),
            (
                "W: GPG error: http://h x InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 1",
                Exit::Integrity,
            ),
            ("E: Failed to fetch http://h/p.deb  Hash Sum mismatch", Exit::Integrity),
            ("E: Release file for http://h/InRelease is expired (invalid since 3d).", Exit::Integrity),
            (
                "Err:1 http://h x InRelease\n  Could not connect to h:80 - connect (111: Connection refused)\nE: Failed to fetch http://h/InRelease",
                Exit::Temporary,
            ),
            (
                "Err:2 http://h x Release\n  404  Not Found\nE: The repository 'http://h x Release' does not have a Release file.",
                Exit::Description,
            ),
            ("E: Failed to fetch http://h/p.deb  404  Not Found", Exit::Temporary),
            ("E: Failed to fetch http://h/InRelease  401  Unauthorized [IP: 127.0.0.1 80]", Exit::Description),
            ("E: Failed to fetch http://h/p.deb  Redirection from http to 'file:///x' is forbidden", Exit::Integrity),
            (
                "Err:1 https://h x InRelease\n  Certificate verification failed: The certificate is NOT trusted.",
                Exit::Integrity,
            ),
            ("E: Failed to fetch http://h/p.deb  Connection timed out", Exit::Temporary),
            ("E: Write error - write (28: No space left on device)", Exit::Io),
            ("", Exit::Temporary),
        ] {
            let output = Output { stdout: Vec::new(), stderr: said.into() };
            let ended = Ended { status: ExitStatus::from_raw(100 << 8), output };
            let error = of_transfer("read the repositories", "apt-get update", &ended, &[]);
            assert_eq!(error.exit(), exit, "{said}");
            assert!(said.lines().all(|line| error.text().contains(line.trim())), "{}", error.text());
        }
    }
}
