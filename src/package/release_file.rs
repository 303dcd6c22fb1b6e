//! A repository's table of contents, after apt accepted it.
//!
//! In: the Release or InRelease file in apt's folder and the keys that may sign it. Out: a [`ReleaseFile`], its
//! signature checked once more by gpgv, whose fingerprint it names. Never accepts what apt refused.

use std::path::{Path, PathBuf};

use super::ReleaseFile;
use super::deb822::{self, Stanza};
use super::repository::Source;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::{Program, failure};
use crate::plan::Signed;
use crate::report::Reporter;

/// A Release file on the host, its fields, and what the manifest says about it.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its fields.
    pub fields: Stanza,
    /// For the manifest.
    pub release: ReleaseFile,
    /// The clear-signed file, where there is one.
    pub signed_file: Option<PathBuf>,
}

/// Reads the Release file whose name begins with `prefix` (apt's `lists/HOST_PATH_dists_SUITE_`); `None` for an
/// unsigned repository that has none. `keyring` is a file of binary keys.
pub fn read(source: &Source, prefix: &Path, keyring: Option<&Path>, reporter: &Reporter) -> Result<Option<Read>> {
    let with = |name: &str| PathBuf::from(format!("{}{name}", prefix.display()));
    let (inline, detached) = (with("InRelease"), with("Release"));
    let path = if file::is_file(&inline) { &inline } else { &detached };
    if !file::is_file(path) {
        return match source.signed {
            Signed::NotChecked => Ok(None),
            Signed::Required => {
                let error = Error::cannot(Exit::Integrity, format!("trust the repository `{}`", source.alias));
                Err(error.because("it has no Release file").at(source.place.clone()))
            }
        };
    }
    let bytes = file::read(path)?;
    let text = deb822::without_signature(&String::from_utf8_lossy(&bytes));
    let malformed = |why: String| {
        Error::cannot(Exit::Integrity, format!("read the Release file of `{}`", source.alias))
            .because(why)
            .at(source.place.clone())
    };
    let stanzas = deb822::parse(&text).map_err(|error| malformed(error.to_string()))?;
    let fields = stanzas.into_iter().next().ok_or_else(|| malformed("it is empty".into()))?;
    let date = date(fields.text("Date"));
    // What a build farm indexes a moment before the build has neither signature nor date.
    if date.is_none() && (source.signed == Signed::Required || fields.get("Date").is_some()) {
        return Err(malformed(format!("its date is `{}`", fields.text("Date"))));
    }
    let signed_by = match (source.signed, keyring) {
        (Signed::Required, Some(keyring)) => {
            let signature = (path == &detached).then(|| with("Release.gpg"));
            signer(path, signature.as_deref(), keyring, reporter)
                .map_err(|error| error.within("verify the signature of a Release file").at(source.place.clone()))?
        }
        _ => None,
    };
    let title = ["Origin", "Suite", "Codename"].map(|name| fields.text(name)).join(" ");
    let release = ReleaseFile {
        repository: source.alias.clone(),
        title: title.trim().to_string(),
        date,
        sha256: Sha256::of(&bytes).to_string(),
        signed: source.signed,
        signed_by,
    };
    let signed_file = (path == &inline && source.signed == Signed::Required).then(|| inline.clone());
    Ok(Some(Read { fields, release, signed_file }))
}

/// The fingerprint of the primary key of the first good signature. `None` where this host has no gpgv: its apt uses
/// another verifier, and has verified. 76 for anything but a good signature.
pub fn signer(path: &Path, signature: Option<&Path>, keyring: &Path, reporter: &Reporter) -> Result<Option<String>> {
    let gpgv = Program::new("gpgv").args(["--status-fd", "1", "--quiet", "--homedir", "/nonexistent", "--keyring"]);
    let gpgv = gpgv.arg(keyring).args(signature).arg(path);
    let line = gpgv.line();
    let ended = match gpgv.run_to_end(reporter, |_| {}) {
        Ok(ended) => ended,
        Err(error) if error.exit() == Exit::HostLacks => return Ok(None),
        Err(error) => return Err(error),
    };
    // gpgv ends with 2 where one of several signatures is by a key that is not there: a good one is enough, as for
    // apt, as long as none is bad.
    let status = String::from_utf8_lossy(&ended.output.stdout).into_owned();
    let said = |what: &str| status.lines().any(|line| line.starts_with(&format!("[GNUPG:] {what}")));
    let valid = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG "));
    match valid.and_then(|valid| valid.split_ascii_whitespace().last()) {
        Some(fingerprint) if said("GOODSIG") && !said("BADSIG") => Ok(Some(fingerprint.to_string())),
        _ if said("EXPKEYSIG") => {
            Err(failure(&line, &ended).with_exit(Exit::Integrity).because("the key that signed it has expired"))
        }
        _ => Err(failure(&line, &ended).with_exit(Exit::Integrity)),
    }
}

/// Whether a clear-signed file carries a good signature by a key of `keyring`; never where this host has no gpgv.
pub fn is_signed_by(path: &Path, keyring: &Path, reporter: &Reporter) -> bool {
    matches!(signer(path, None, keyring, reporter), Ok(Some(_)))
}

/// Seconds since 1970 of `Wed, 18 Nov 2026 22:17:41 UTC` (RFC 5322, 3.3, as apt writes it).
pub fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [_, day, month, year, time, zone] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? as i64 + 1;
    let (day, year) = (day.parse::<i64>().ok()?, year.parse::<i64>().ok()?);
    let clock: Vec<i64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock.as_slice() else { return None };
    let in_range = (1..=31).contains(&day) && (1970..=9999).contains(&year);
    let in_range = in_range && (0..24).contains(hour) && (0..60).contains(minute) && (0..=60).contains(second);
    if !in_range || !matches!(*zone, "UTC" | "GMT" | "Z" | "+0000") {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The proleptic Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_release_files_are_seconds_since_1970() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Wed, 18 Nov 2026 22:17:41 UTC", Some(1_795_040_261)),
            ("Tue, 29 Feb 2000  1:02:03 +0000", Some(951_786_123)),
            ("Sat, 11 Jul 2026 10:16:37 CEST", None),
            ("2026-11-18", None),
            ("", None),
            ("Wed, 99 Nov 2026 22:17:41 UTC", None),
        ] {
            assert_eq!(date(text), seconds, "{text}");
        }
    }
}
