//! dpkg's own configuration in the tree: which paths of packages it leaves out.
//!
//! In: `dpkg.cfg.d`, `dpkg.cfg` and root's `.dpkg.cfg` of the tree (dpkg.cfg(5)); slim base images leave documentation
//! and translations out with them. Out: whether an entry is left out, and whether an option is set that only the real
//! dpkg follows. Never writes.

use super::staging::{Entry, Item};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};

/// Options that change nothing of how packages are unpacked: some are for their configuration, which is dpkg's.
const HARMLESS: [&str; 11] = [
    "no-debsig",
    "log",
    "no-pager",
    "color",
    "verify-format",
    "force-unsafe-io",
    "force-confdef",
    "force-confold",
    "force-confnew",
    "force-confmiss",
    "force-confask",
];

/// `path-exclude` or `path-include`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    pattern: Vec<u8>,
    includes: bool,
}

/// What the tree's configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// In the order in which dpkg reads them: the last one that fits counts.
    filters: Vec<Filter>,
    /// The first line that is not followed here.
    foreign: Option<String>,
}

impl Configuration {
    /// Reads the tree.
    pub fn read(tree: &Rooted) -> Result<Configuration> {
        let folder = RootPath::new("/etc/dpkg/dpkg.cfg.d");
        let mut names = tree.names(&folder)?;
        names.retain(|name| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)));
        names.sort();
        let others = ["/etc/dpkg/dpkg.cfg", "/root/.dpkg.cfg"].map(RootPath::new);
        let mut found = Configuration::default();
        for path in names.iter().map(|name| folder.join(name)).chain(others) {
            let text = tree.read_if_there(&path)?.unwrap_or_default();
            text.split(|byte| *byte == b'\n').for_each(|line| found.add(line.trim_ascii_end()));
        }
        Ok(found)
    }

    /// `option`, `option value` or `option=value`.
    fn add(&mut self, line: &[u8]) {
        if line.is_empty() || line.starts_with(b"#") {
            return;
        }
        let end = line.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-').unwrap_or(line.len());
        let (option, rest) = (String::from_utf8_lossy(&line[..end]), line[end..].trim_ascii_start());
        let value = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
        let quoted = |quote: &[u8]| value.strip_prefix(quote)?.strip_suffix(quote);
        let value = quoted(b"\"").or_else(|| quoted(b"'")).unwrap_or(value);
        let has_class = value.windows(2).any(|pair| matches!(pair, b"[:" | b"[." | b"[="));
        match &*option {
            "path-exclude" | "path-include" if !has_class => {
                self.filters.push(Filter { pattern: value.to_vec(), includes: option == "path-include" });
            }
            harmless if HARMLESS.contains(&harmless) => {}
            _ => self.foreign = self.foreign.take().or(Some(String::from_utf8_lossy(line).into_owned())),
        }
    }

    /// The first line that only the real dpkg follows.
    pub fn foreign(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// Whether an entry of a package is left out. Folders and symlinks stay where something below them may be wanted.
    pub fn leaves_out(&self, entry: &Entry) -> bool {
        let path = entry.path.strip_suffix(b"/.").unwrap_or(&entry.path);
        let last = self.filters.iter().rev().find(|filter| fits(&filter.pattern, path));
        if last.is_none_or(|filter| filter.includes) {
            return false;
        }
        let may_lead = matches!(entry.item, Item::Folder | Item::Symlink(_));
        let leads = |filter: &Filter| {
            let plain = filter.pattern.split(|byte| b"*?[\\".contains(byte)).next().unwrap_or_default();
            let length = plain.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            path.starts_with(&plain[..length])
        };
        !(may_lead && self.filters.iter().any(|filter| filter.includes && leads(filter)))
    }
}

/// fnmatch(3) without any flag: `*` and `?` match slashes and leading dots, too.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // What is behind the last `*`, and the text from where that was tried.
    let mut last: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                (pattern, last) = (rest, Some((rest, text)));
                continue;
            }
            ([_, ..], [byte, left @ ..]) => {
                if let Some(rest) = one(pattern, *byte) {
                    (pattern, text) = (rest, left);
                    continue;
                }
            }
            _ => {}
        }
        let Some((rest, [_, left @ ..])) = last else { return false };
        (pattern, text, last) = (rest, left, Some((rest, left)));
    }
}

/// The rest of the pattern if its first element matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'\\', literal, rest @ ..] => (*literal == byte).then_some(rest),
        [b'[', set @ ..] => match bracket(set, byte) {
            Some((matches, rest)) => matches.then_some(rest),
            None => (byte == b'[').then_some(set),
        },
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a byte is in a set, whose `[` is behind us, and what follows the set; `None` where it does not end.
fn bracket(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let (mut found, mut first) = (false, true);
    loop {
        let (low, after) = match rest {
            [b']', after @ ..] if !first => return Some((found != negated, after)),
            [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal, after),
            [] => return None,
        };
        let (high, after) = match after {
            [b'-', b'\\', high, after @ ..] => (*high, after),
            [b'-', high, after @ ..] if *high != b']' => (*high, after),
            _ => (low, after),
        };
        found |= (low..=high).contains(&byte);
        (first, rest) = (false, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(files: &[(&str, &str)]) -> Configuration {
        let folder = tempfile::tempdir().unwrap();
        let tree = Rooted::open(folder.path()).unwrap();
        for (path, text) in files {
            tree.write(&RootPath::new(path), text, 0o644).unwrap();
        }
        Configuration::read(&tree).unwrap()
    }

    #[test]
    fn the_last_filter_that_fits_counts_and_folders_stay_that_lead_to_something() {
        let slim = "# slim\npath-exclude=/usr/share/doc/*\npath-include \"/usr/share/doc/*/copyright\"\n";
        let found = configured(&[
            ("/etc/dpkg/dpkg.cfg.d/docker", slim),
            ("/etc/dpkg/dpkg.cfg.d/not.read", "path-exclude=/*\n"),
            ("/etc/dpkg/dpkg.cfg", "no-debsig\nlog /var/log/dpkg.log\npath-exclude = '/usr/share/man/*'\n"),
            ("/root/.dpkg.cfg", "force-unsafe-io\npath-exclude /opt/*\n"),
        ]);
        assert_eq!(found.foreign(), None);
        let file = || Item::File { number: 0, md5: None };
        let link = || Item::Symlink(b"elsewhere".as_slice().into());
        for (path, item, out) in [
            ("/usr/share/doc/a/README", file(), true),
            ("/usr/share/doc/a/copyright", file(), false),
            ("/usr/share/doc/a", Item::Folder, false),
            ("/usr/share/doc/a/b", link(), false),
            ("/usr/share/man/man1", Item::Folder, true),
            ("/usr/share/man", Item::Folder, false),
            ("/opt/x", Item::HardLink(b"/a".as_slice().into()), true),
            ("/opt/x", link(), true),
            ("/.", Item::Folder, false),
        ] {
            let entry = Entry { path: path.as_bytes().into(), item, mode: 0, owner: 0, mtime: 0 };
            assert_eq!(found.leaves_out(&entry), out, "{entry:?}");
        }
    }

    #[test]
    fn what_only_dpkg_follows_is_named() {
        for (line, foreign) in [
            ("force-overwrite", true),
            ("path-exclude=/usr/[[:alpha:]]*", true),
            ("post-invoke=true", true),
            ("force-confnew", false),
            ("path-exclude=/usr/[a-c]*", false),
            ("", false),
        ] {
            let found = configured(&[("/etc/dpkg/dpkg.cfg", line)]);
            assert_eq!(found.foreign(), foreign.then_some(line));
        }
    }

    #[test]
    fn patterns_match_as_with_fnmatch() {
        for (pattern, text, fit) in [
            ("/usr/*/x", "/usr/a/b/x", true),
            ("/usr/*/x", "/usr/x", false),
            ("*", "", true),
            ("/a*b*c", "/aXbbXcc", true),
            ("/a?c", "/a/c", true),
            ("/a?c", "/ac", false),
            ("/[a-c]", "/b", true),
            ("/[!a-c]", "/b", false),
            ("/[]x]", "/]", true),
            ("/[a", "/[a", true),
            ("/[a\\]]", "/]", true),
            ("/\\*", "/*", true),
            ("/\\*", "/x", false),
            ("/x", "/xy", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), fit, "{pattern} {text}");
        }
    }
}
