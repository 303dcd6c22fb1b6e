//! What pacman's messages mean for a person and for a build farm.
//!
//! In: what pacman said before it failed; what it said although it did not. Out: an [`Error`] with the right exit code, the
//! place of the name or repository it is about, a hint. Never hides pacman's own words.

use super::Pacman;
use super::request::base_name;
use crate::error::{Error, Exit};
use crate::host::program::{Ended, failure};
use crate::package::certificates;
use crate::package::failure::{LOGIN, text_of};

/// Messages that mean: something is not what its signer signed.
const INTEGRITY: &[&str] = &[
    "PGP signature",
    "(checksum)",
    "missing required signature",
    "required key missing",
    "keyring is not writable",
    "unknown trust",
    "marginal trust",
    "never trust",
    "invalid or corrupted",
    "key is disabled",
    "expired",
    "Unrecognized archive format",
    "Truncated",
];
/// Messages that mean: the description asks for what cannot be.
const DESCRIPTION: &[&str] = &[
    "target not found",
    "unable to satisfy dependency",
    "could not satisfy dependencies",
    "breaks dependency",
    "are in conflict",
    "conflicting dependencies",
    "conflicting files",
    " exists in ",
    "invalid architecture",
    "invalid name",
];
/// Messages that mean: try again later.
const TEMPORARY: &[&str] =
    &["failed retrieving file", "failed to retrieve some files", "download library error", "invalid url for server"];
/// Messages about a script or hook that failed.
const FAILED: &[&str] = &["error: command ", "error: could not ", "error: unable to run hook", "error: call to "];
const NO_ROOM: &[&str] = &["No space left on device", "not enough free disk space", "Disk quota exceeded"];

/// The error for a pacman that failed. `names` are those of all packages.
pub(super) fn explained(what: &str, line: &str, ended: &Ended, pacman: &Pacman, names: &[String]) -> Error {
    let text = text_of(ended);
    let mut said: Vec<&str> = text.lines().filter_map(complaint).collect();
    let before = said.len();
    said.dedup();
    let any = |needles: &[&str]| said.iter().any(|line| needles.iter().any(|needle| line.contains(needle)));
    let is_missing = |line: &&&str| line.contains("error: 404") || line.contains("Couldn't open file");
    let missing = |end: &str| said.iter().any(|line| line.contains(end) && is_missing(&line));
    let (exit, hint) = if any(NO_ROOM) {
        (Exit::Io, Some("free some space, or choose another --cache-dir".to_string()))
    } else if certificates::are_refused(&text) {
        (Exit::Integrity, Some(certificates::HINT.to_string()))
    } else if missing(".sig' from") {
        (Exit::Integrity, Some(unsigned(missing(".db.sig' from"))))
    } else if any(INTEGRITY) {
        (Exit::Integrity, integrity_hint(&said))
    } else if any(&["returned error: 401"]) {
        (Exit::Description, Some(LOGIN.to_string()))
    } else if any(DESCRIPTION) {
        (Exit::Description, similar(&said, names))
    } else if missing(".db' from disk") {
        (Exit::InputMissing, Some(NO_DATABASE.to_string()))
    } else if missing(".db' from") {
        (Exit::Description, Some(NO_DATABASE.to_string()))
    } else if any(TEMPORARY) {
        (Exit::Temporary, Some("is the mirror reachable? This may pass: try again later".to_string()))
    } else {
        (Exit::Io, None)
    };
    let mut error = match before {
        0 => failure(line, ended).with_exit(exit).within(what),
        _ => Error::cannot(exit, what).because(said[..said.len().min(8)].join("\n")),
    };
    if let Some(place) = place(&said, pacman) {
        error = error.at(place);
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

const NO_DATABASE: &str = "there is no such database there: look at the repository's `path` and `components`";

/// What complains, without what surrounds it.
fn complaint(line: &str) -> Option<&str> {
    // A question has no newline, and what is said after it stands in its line.
    let line = line.trim();
    let start = line.find("error: ").filter(|at| *at == 0 || line[..*at].ends_with("] "));
    if let Some(at) = start {
        return Some(&line[at..]);
    }
    let told = [" is corrupted (", "unable to satisfy", "breaks dependency", "are in conflict"];
    let is_question = line.ends_with("[Y/n]") || line.ends_with("[y/N]");
    let is_told = line.starts_with(":: ") && told.iter().any(|part| line.contains(part)) && !is_question;
    (is_told || line.contains(" exists in ")).then_some(line)
}

fn unsigned(database: bool) -> String {
    match database {
        true => {
            "an unsigned repository is used only with repository_gpgcheck=\"false\", and the manifest says so; where \
                 its packages are signed, package_gpgcheck=\"true\" has them verified"
                .into()
        }
        false => "packages that nobody signed are used only with package_gpgcheck=\"false\"".into(),
    }
}

fn integrity_hint(said: &[&str]) -> Option<String> {
    let contains = |needle: &str| said.iter().any(|line| line.contains(needle));
    let stranger = ["is unknown", "keyring is not writable", "required key missing", "unknown trust"];
    match stranger.into_iter().any(contains) {
        true => Some("name its key with <signing key=.../>".into()),
        false => None,
    }
}

/// `error: target not found: tiny-ap`.
fn similar(said: &[&str], names: &[String]) -> Option<String> {
    let missing = said.iter().find_map(|line| line.strip_prefix("error: target not found: "))?;
    let other = crate::package::similar(base_name(missing), names.iter().map(String::as_str))?;
    Some(format!("did you mean `{other}`?"))
}

/// Where the description speaks of a package or a repository that pacman speaks of.
pub(super) fn place(said: &[&str], pacman: &Pacman) -> Option<crate::error::Place> {
    let words = |line: &str| -> Vec<String> {
        let marks = |char: char| char.is_whitespace() || "'\"`,:()[]".contains(char);
        line.split(marks).filter(|word| !word.is_empty()).map(|word| word.trim_end_matches('.').to_string()).collect()
    };
    let spoken: Vec<String> = said.iter().flat_map(|line| words(line)).collect();
    let groups = [&pacman.request.bootstrap_groups, &pacman.request.image_groups];
    let lists = [&pacman.request.withdrawn, &pacman.request.uninstall, &pacman.request.delete];
    let named = pacman.named().chain(groups.into_iter().flat_map(|groups| &groups.collections));
    let named = named.chain(lists.into_iter().flatten());
    let of_name = named
        .into_iter()
        .find(|named| spoken.iter().any(|word| *word == named.name || base_name(word) == base_name(&named.name)));
    let of_section = || {
        pacman.used().find(|section| {
            let files = [format!("{}.db", section.name), format!("{}.db.sig", section.name)];
            spoken.iter().any(|word| *word == section.name || files.contains(word))
        })
    };
    match of_name {
        Some(named) => Some(named.place.clone()),
        None => of_section().map(|section| section.source.place.clone()),
    }
}

/// What to say of a transaction in which a script or hook failed: pacman complains, goes on and ends well. Its log tells
/// what they printed, each below what pacman did at the time.
pub(super) fn failed_scripts(said: &str, log: &str) -> Option<String> {
    let complaints = said.lines().filter_map(complaint);
    let is_failure = |line: &&str| FAILED.iter().any(|start| line.starts_with(start));
    let mut complaints: Vec<&str> = complaints.filter(is_failure).collect();
    complaints.dedup();
    if complaints.is_empty() {
        return None;
    }
    let mut told = Vec::new();
    let mut doing = None;
    for line in log.lines().filter_map(|line| line.split_once("] ")).map(|(_, line)| line) {
        if let Some(step) = line.strip_prefix("[ALPM] ") {
            doing = Some(step);
        } else if let Some(printed) = line.strip_prefix("[ALPM-SCRIPTLET] ") {
            told.extend(doing.take());
            told.push(printed);
        }
    }
    let told = told.split_off(told.len().saturating_sub(12));
    Some(told.into_iter().chain(complaints).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_progress_and_questions() {
        for (line, said) in [
            ("error: target not found: x", Some("error: target not found: x")),
            ("Do you want to delete it? [Y/n] error: failed to commit", Some("error: failed to commit")),
            (
                ":: unable to satisfy dependency 'a' required by b",
                Some(":: unable to satisfy dependency 'a' required by b"),
            ),
            (":: a and b are in conflict. Remove b? [y/N]", None),
            ("a: /usr/x exists in both 'a' and 'b'", Some("a: /usr/x exists in both 'a' and 'b'")),
            (":: Processing package changes...", None),
            ("warning: directory permissions differ on /x", None),
        ] {
            assert_eq!(complaint(line), said);
        }
    }

    #[test]
    fn a_script_that_failed_is_found_in_the_log_of_a_good_end() {
        let log = "[2026-01-02T03:04:05+0000] [ALPM] transaction started\n\
                   [2026-01-02T03:04:05+0000] [ALPM] installed busybox (1-1)\n\
                   [2026-01-02T03:04:05+0000] [ALPM] installed tiny-broken (1.0-1)\n\
                   [2026-01-02T03:04:05+0000] [ALPM-SCRIPTLET] this cannot work\n\
                   [2026-01-02T03:04:05+0000] [ALPM] transaction completed\n";
        let said = "installing tiny-broken...\nerror: command failed to execute correctly\n";
        assert_eq!(
            failed_scripts(said, log).unwrap(),
            "installed tiny-broken (1.0-1)\nthis cannot work\nerror: command failed to execute correctly"
        );
        assert_eq!(failed_scripts("installing tiny-app...\n", log), None);
    }
}
