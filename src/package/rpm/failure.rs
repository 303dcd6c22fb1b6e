//! What zypper's and rpm's words mean for a person and for a build farm.
//!
//! In: what a program that failed said. Out: an [`Error`] with the right exit code, the place of the repository or package
//! that it is about, a hint. Never hides the program's own words, never shows a password.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::Repository;
use crate::error::{Error, Exit};
use crate::host::program::{Ended, status_text};
use crate::package::certificates;
use crate::package::failure::LOGIN;
pub(super) use crate::package::failure::text_of;

/// Words that mean: the metadata or a package is not what its signer signed.
const INTEGRITY: &[&str] = &[
    "is unsigned",
    "not signed",
    "unknown key",
    "seems to be corrupted",
    "Signature verification",
    "signature verification",
    "Signature Verification",
    "Digest verification",
    "digest verification",
    "checksum",
    "GPG",
    "NOKEY",
    "rejected",
    "has expired",
    "[expired]",
    "EXPIRED",
    "tampered",
];

/// Words that mean: try again later.
const TEMPORARY: &[&str] = &[
    "Connection failed",
    "Timeout",
    "timed out",
    "Couldn't connect",
    "Could not resolve",
    "Couldn't resolve",
    "Curl error",
    "curl) error",
    "HTTP response: 5",
    "Connection reset",
    "empty reply",
];

/// Beginnings of lines that repeat what others say, or give advice that is of no use here.
const CHATTER: &[&str] = &[
    "Accepting packages with wrong checksums",
    "Could not refresh the repositories",
    "History:",
    "Installation has been aborted as directed",
    "Please check if the URIs",
    "Please see the above",
    "Problem occurred during or after",
    "Skipping repository",
    "Solution ",
    "Some of the repositories",
];

/// What a person should read of what zypper said with `--xmlout`: messages and prompts, not progress.
pub(super) fn messages(said: &str) -> Vec<String> {
    let mut reader = Reader::from_str(said);
    let (mut found, mut within, mut text) = (Vec::new(), None::<String>, String::new());
    // A package has a description, too.
    let mut asks = false;
    // It is cut short where zypper ends in the middle of it.
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Eof => break,
            Event::Start(start) => {
                let is_info = start
                    .attributes()
                    .flatten()
                    .any(|attribute| attribute.key.as_ref() == "type" && attribute.value.as_ref() == "info");
                let name = start.name().as_ref().to_string();
                asks |= name == "prompt";
                if (name == "message" && !is_info) || (name == "description" && asks) {
                    (within, text) = (Some(name), String::new());
                }
            }
            Event::Text(part) if within.is_some() => text.push_str(&part),
            Event::GeneralRef(part) if within.is_some() => {
                let named = match part.as_ref() {
                    "lt" => "<",
                    "gt" => ">",
                    "amp" => "&",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => " ",
                };
                text.push_str(named);
            }
            Event::End(end) if within.as_deref() == Some(end.name().as_ref()) => {
                let lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
                found.extend(lines.map(str::to_string));
                within = None;
            }
            Event::End(end) if end.name().as_ref() == "prompt" => asks = false,
            _ => {}
        }
    }
    if let Some(key) = offered_key(said) {
        found.insert(0, format!("signed by an unknown key: {key}"));
    }
    found.retain(|line| !CHATTER.iter().any(|start| line.trim_start().starts_with(start)));
    found.dedup();
    found
}

/// The key that zypper asked whether it may be trusted: its name and fingerprint.
fn offered_key(said: &str) -> Option<String> {
    let value = |name: &str| {
        let (_, rest) = said.split_once(&format!("&lt;{name}&gt;"))?;
        rest.split("&lt;").next().map(str::to_string)
    };
    Some(format!("{}, {}", value("key-name")?, value("key-fingerprint")?))
}

/// The error for metadata or packages that could not be fetched or trusted.
pub(super) fn of_transfer(what: &str, ended: &Ended, said: &[String], used: &[&Repository]) -> Error {
    let contains = |needle: &&str| said.iter().any(|line| line.contains(*needle));
    let integrity = INTEGRITY.iter().any(contains);
    let about = |repository: &&&Repository| {
        let source = &repository.source;
        let url = source.url.strip_prefix("file:").unwrap_or(&source.url);
        let names = [format!("'{}'", repository.id()), format!("({})", repository.id()), url.to_string()];
        said.iter().any(|line| names.iter().any(|name| line.contains(name.as_str())))
    };
    let repository = used.iter().find(about).copied();
    let local = repository.is_some_and(|repository| repository.source.url.starts_with("file:"));
    let (exit, hint) = if certificates::are_refused(&said.join("\n")) {
        (Exit::Integrity, Some(certificates::HINT))
    } else if integrity {
        (
            Exit::Integrity,
            Some(
                "only the keys of <signing key=.../> are trusted; a repository without signature is used \
                                only with repository_gpgcheck=\"false\", and the manifest says so",
            ),
        )
    } else if contains(&"Login failed") || contains(&"HTTP response: 401") || contains(&"HTTP response: 403") {
        (Exit::Description, Some(LOGIN))
    } else if contains(&"No space left on device") {
        (Exit::Io, Some("free some space, or choose another --cache-dir"))
    } else if TEMPORARY.iter().any(contains) {
        (Exit::Temporary, Some("is the mirror reachable? This may pass: try again later"))
    } else if contains(&"metadata not found") || contains(&"not found on medium") || contains(&"Can't find") {
        let hint = "there is no repository: look at the `path` of its <source>";
        (if local { Exit::InputMissing } else { Exit::Description }, Some(hint))
    } else {
        (Exit::Temporary, Some("is the mirror reachable? This may pass: try again later"))
    };
    let mut shown: Vec<&String> = said.iter().collect();
    let relevant = |line: &&String| !INTEGRITY.iter().chain(TEMPORARY).any(|needle| line.contains(needle));
    shown.sort_by_key(relevant);
    let reason: Vec<String> = shown.iter().take(6).map(|line| without_password(line)).collect();
    let mut error = Error::cannot(exit, what);
    error = match reason.is_empty() {
        true => error.because(status_text(ended.status)),
        false => error.because(reason.join("\n")),
    };
    if let Some(repository) = repository {
        error = error.at(repository.source.place.clone());
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A line without the password of a URL in it.
pub(super) fn without_password(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(['/', ' ', '\'', '"']).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => &after[at + 1..],
            None => after,
        };
    }
    shown + rest
}

/// Lines of rpm that say nothing about the packages: Debian's advice to use another program.
pub(super) fn is_advice(line: &str) -> bool {
    line.starts_with("rpm: RPM should not be used directly")
        || line.starts_with("rpm: However assuming you know what you are doing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        for (line, shown) in [
            ("Failed to fetch http://me:secret@h/x and https://a@b", "Failed to fetch http://h/x and https://b"),
            ("file:///x@y nothing", "file:///x@y nothing"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_password(line), shown);
        }
    }

    #[test]
    fn zyppers_complaints_are_told_from_its_chatter() {
        let said = "<?xml version='1.0'?><stream><message type=\"info\">Loading</message>\
                    <progress id=\"1\" name=\"x\"/><message type=\"error\">Repository &apos;t&apos; is bad.\n\nNo</message>\
                    <prompt id=\"2\"><description>Problem: nothing provides x &gt;= 7\n</description>\
                    <text>Choose</text></prompt>";
        assert_eq!(messages(said), ["Repository 't' is bad.", "No", "Problem: nothing provides x >= 7"]);
    }
}
