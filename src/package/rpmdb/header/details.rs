//! What a header says of a package for people, and of the content of its files.
//!
//! In: a [`Header`]. Out: texts as `rpm --query` prints them, the digests that `rpm --verify` compares. A digest that
//! nobody may rely on (`%verify(not filedigest)`, a file that was not installed) is not there.

use super::{FILEFLAGS, GHOST, Header, RELEASE, VERSION};
use crate::host::rooted::RootPath;

// Tags (rpm: docs/manual/tags.md).
const SUMMARY: u32 = 1004;
const URL: u32 = 1020;
const FILESTATES: u32 = 1029;
const FILEDIGESTS: u32 = 1035;
const FILEVERIFYFLAGS: u32 = 1045;
const CHANGELOGTIME: u32 = 1080;
const CHANGELOGNAME: u32 = 1081;
const CHANGELOGTEXT: u32 = 1082;
const DISTURL: u32 = 1123;
const FILEDIGESTALGO: u32 = 5011;

const CHAR: u32 = 1;

/// `%config` among the flags of a file.
const CONFIGURATION: u32 = 1;
/// `%config(missingok)`
const MAY_BE_MISSING: u32 = 1 << 3;
/// Whether the digest is compared.
const VERIFY_DIGEST: u32 = 1;

/// A file whose content the package knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Where it is.
    pub path: RootPath,
    /// Number of the digest's algorithm, as OpenPGP counts them: 1 MD5, 8 SHA-256, 10 SHA-512.
    pub algorithm: u32,
    /// The digest in hexadecimal.
    pub digest: String,
    /// Whether it is there to be changed.
    pub is_configuration: bool,
}

impl Header {
    /// The epoch, where there is one.
    pub fn epoch(&self) -> Option<u32> {
        self.numbers(super::EPOCH).first().copied()
    }

    /// The version alone.
    pub fn plain_version(&self) -> String {
        self.text(VERSION)
    }

    /// The release alone.
    pub fn release(&self) -> String {
        self.text(RELEASE)
    }

    /// One line about it.
    pub fn summary(&self) -> String {
        self.text(SUMMARY)
    }

    /// Its home page.
    pub fn url(&self) -> String {
        self.text(URL)
    }

    /// Where a build service has its sources.
    pub fn dist_url(&self) -> String {
        self.text(DISTURL)
    }

    /// Its regular files with their digests.
    pub fn shipped(&self) -> Vec<Shipped> {
        let (flags, verified) = (self.numbers(FILEFLAGS), self.numbers(FILEVERIFYFLAGS));
        let (digests, states) = (self.texts(FILEDIGESTS), self.states());
        let algorithm = self.numbers(FILEDIGESTALGO).first().copied().unwrap_or(1);
        let shipped = |(index, path): (usize, RootPath)| {
            let flags = flags.get(index).copied().unwrap_or_default();
            let digest = String::from_utf8_lossy(digests.get(index)?).into_owned();
            let verified = verified.get(index).is_none_or(|verified| verified & VERIFY_DIGEST != 0);
            // 0: installed as it should be; a file that another package replaced or that was left out is not its own.
            let installed = states.get(index).is_none_or(|state| *state == 0);
            let counts = !digest.is_empty() && verified && installed && flags & (GHOST | MAY_BE_MISSING) == 0;
            counts.then_some(Shipped { path, algorithm, digest, is_configuration: flags & CONFIGURATION != 0 })
        };
        self.paths().into_iter().filter_map(shipped).collect()
    }

    fn states(&self) -> &[u8] {
        let tag = self.tag(FILESTATES).filter(|tag| tag.kind == CHAR);
        let range = tag.and_then(|tag| self.bytes.get(tag.offset..tag.offset.checked_add(tag.count)?));
        range.unwrap_or_default()
    }

    /// Its changelog, the newest entry first, as `rpm --query --changelog` prints it; empty where there is none.
    pub fn changelog(&self) -> String {
        let (names, texts) = (self.texts(CHANGELOGNAME), self.texts(CHANGELOGTEXT));
        let entries = self.numbers(CHANGELOGTIME).into_iter().zip(names).zip(texts);
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        entries.map(|((time, name), text)| format!("* {} {}\n{}\n\n", day(time), shown(name), shown(text))).collect()
    }
}

/// `Tue Nov 14 2023`, in UTC.
fn day(time: u32) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = i64::from(time) / 86400;
    let (year, month, day) = crate::report::civil_date(days);
    format!("{} {} {day:02} {year}", DAYS[(days % 7) as usize], MONTHS[month as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::super::tests::header;
    use super::super::{BASENAMES, DIRINDEXES, DIRNAMES};
    use super::*;

    #[test]
    fn digests_of_what_is_not_there_or_may_change_are_left_out() {
        let names = ["tool", "tool.conf", "tool.log", "free"];
        let digests = ["a1", "b2", "c3", "d4"];
        let texts: [(u32, &[&str]); 3] = [(BASENAMES, &names), (DIRNAMES, &["/x/"]), (FILEDIGESTS, &digests)];
        let numbers: [(u32, &[u32]); 4] = [
            (DIRINDEXES, &[0; 4]),
            (FILEFLAGS, &[0, CONFIGURATION, GHOST, 0]),
            (FILEVERIFYFLAGS, &[!0, !0, !0, !1]),
            (FILEDIGESTALGO, &[8]),
        ];
        let shipped = |path: &str, digest: &str, is_configuration| Shipped {
            path: path.into(),
            algorithm: 8,
            digest: digest.into(),
            is_configuration,
        };
        let wanted = [shipped("/x/tool", "a1", false), shipped("/x/tool.conf", "b2", true)];
        assert_eq!(header(&texts, &numbers).shipped(), wanted);
    }

    #[test]
    fn a_changelog_is_what_rpm_prints() {
        let texts: [(u32, &[&str]); 2] =
            [(CHANGELOGNAME, &["Me <me@x> - 2-1", "Me"]), (CHANGELOGTEXT, &["- new", "- old"])];
        let changelog = header(&texts, &[(CHANGELOGTIME, &[1_700_000_000, 951_825_600])]).changelog();
        assert_eq!(changelog, "* Tue Nov 14 2023 Me <me@x> - 2-1\n- new\n\n* Tue Feb 29 2000 Me\n- old\n\n");
    }
}
