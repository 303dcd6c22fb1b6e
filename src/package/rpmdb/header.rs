//! One package's header, as a database holds it (rpm's "immutable region" and what the installation added to it).
//!
//! In: an index of tags and a store of values, all big-endian. Out: texts, numbers and files by tag, and the header with
//! another time of installation. A header may lie about every offset: what is outside is not there.

mod details;

pub use details::Shipped;

use crate::host::rooted::RootPath;

/// A header: two lengths, the index (16 bytes for each tag), the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: RootPath,
    /// `%ghost`: the package answers for it, but does not bring it.
    pub is_ghost: bool,
}

// Tags (rpm: docs/manual/tags.md).
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const INSTALLTIME: u32 = 1008;
const SIZE: u32 = 1009;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const OLDFILENAMES: u32 = 1027;
const FILEFLAGS: u32 = 1037;
const SOURCERPM: u32 = 1044;
const PROVIDENAME: u32 = 1047;
const REQUIREFLAGS: u32 = 1048;
const REQUIRENAME: u32 = 1049;
const PROVIDEVERSION: u32 = 1113;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;
const INSTALLTID: u32 = 1128;
const LONGSIZE: u32 = 5009;
const RECOMMENDNAME: u32 = 5046;

/// `%ghost` among the flags of a file.
const GHOST: u32 = 1 << 6;
/// A requirement on rpm itself among the flags of requirements.
const RPMLIB: u32 = 1 << 24;

/// An entry of the index.
#[derive(Clone, Copy)]
struct Tag {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

impl Header {
    /// A header of these bytes; `None` where its own lengths do not fit.
    pub fn new(bytes: Vec<u8>) -> Option<Header> {
        let header = Header { bytes };
        let (tags, store) = (header.word(0)? as usize, header.word(4)? as usize);
        let length = tags.checked_mul(16)?.checked_add(store)?.checked_add(8)?;
        (length == header.bytes.len()).then_some(header)
    }

    /// The header as it stands in a database.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn store(&self) -> usize {
        8 + 16 * self.word(0).unwrap_or_default() as usize
    }

    fn tags(&self) -> impl Iterator<Item = Tag> {
        let tags = self.word(0).unwrap_or_default() as usize;
        (0..tags).filter_map(|index| {
            let at = 8 + 16 * index;
            let offset = self.store().checked_add(self.word(at + 8)? as usize)?;
            Some(Tag { tag: self.word(at)?, kind: self.word(at + 4)?, offset, count: self.word(at + 12)? as usize })
        })
    }

    fn tag(&self, wanted: u32) -> Option<Tag> {
        self.tags().find(|tag| tag.tag == wanted)
    }

    /// All strings of a tag.
    fn texts(&self, wanted: u32) -> Vec<&[u8]> {
        let Some(tag) = self.tag(wanted).filter(|tag| [STRING, STRING_ARRAY, I18N_STRING].contains(&tag.kind)) else {
            return Vec::new();
        };
        let store = self.bytes.get(tag.offset..).unwrap_or_default();
        // Each string ends with a zero byte; what has none was cut off.
        store.split_inclusive(|byte| *byte == 0).take(tag.count).filter_map(|text| text.strip_suffix(b"\0")).collect()
    }

    fn text(&self, wanted: u32) -> String {
        self.texts(wanted).first().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }

    /// All 32 bit numbers of a tag.
    fn numbers(&self, wanted: u32) -> Vec<u32> {
        let Some(tag) = self.tag(wanted).filter(|tag| tag.kind == INT32) else { return Vec::new() };
        (0..tag.count).map_while(|index| self.word(index.checked_mul(4)?.checked_add(tag.offset)?)).collect()
    }

    /// Name of the package.
    pub fn name(&self) -> String {
        self.text(NAME)
    }

    /// Version and release, with the epoch where there is one: `1:2.0-3`.
    pub fn version(&self) -> String {
        let epoch = self.numbers(EPOCH).first().map(|epoch| format!("{epoch}:")).unwrap_or_default();
        format!("{epoch}{}-{}", self.text(VERSION), self.text(RELEASE))
    }

    /// `x86_64`, `noarch`; empty for a key.
    pub fn arch(&self) -> String {
        self.text(ARCH)
    }

    /// What the package says its licence is.
    pub fn licence(&self) -> String {
        self.text(LICENSE)
    }

    /// Who made it.
    pub fn vendor(&self) -> String {
        self.text(VENDOR)
    }

    /// The source package: `tiny-1.0-1.src.rpm`.
    pub fn source(&self) -> String {
        self.text(SOURCERPM)
    }

    /// Length of all its files in bytes.
    pub fn size(&self) -> u64 {
        let long = self.tag(LONGSIZE).filter(|tag| tag.kind == INT64).and_then(|tag| {
            let (high, low) = (self.word(tag.offset)?, self.word(tag.offset.checked_add(4)?)?);
            Some(u64::from(high) << 32 | u64::from(low))
        });
        long.unwrap_or_else(|| self.numbers(SIZE).first().copied().unwrap_or_default().into())
    }

    /// When it was installed, in seconds since 1970; 0 where nothing is said.
    pub fn installed(&self) -> u32 {
        self.numbers(INSTALLTIME).first().copied().unwrap_or_default()
    }

    /// Whether this is a public key that rpm trusts, not a package.
    pub fn is_key(&self) -> bool {
        self.texts(NAME).first() == Some(&b"gpg-pubkey".as_slice())
    }

    /// What tells two packages apart, and their order.
    pub fn identity(&self) -> (String, String, String) {
        (self.name(), self.version(), self.arch())
    }

    /// What it provides: names and versions, empty where none is said.
    pub fn provides(&self) -> Vec<(String, String)> {
        let versions = self.texts(PROVIDEVERSION);
        let version = |at: usize| versions.get(at).map(|text| String::from_utf8_lossy(text).into_owned());
        let names = self.texts(PROVIDENAME).into_iter().enumerate();
        names.map(|(at, name)| (String::from_utf8_lossy(name).into_owned(), version(at).unwrap_or_default())).collect()
    }

    /// What it requires, but for features of rpm: names, paths, and expressions in parentheses.
    pub fn requires(&self) -> Vec<String> {
        let flags = self.numbers(REQUIREFLAGS);
        let of_rpm = |at: usize| flags.get(at).is_some_and(|flags| flags & RPMLIB != 0);
        let names = self.texts(REQUIRENAME).into_iter().enumerate().filter(|(at, _)| !of_rpm(*at));
        names.map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// What it recommends, as [`requires`](Header::requires).
    pub fn recommends(&self) -> Vec<String> {
        self.texts(RECOMMENDNAME).into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Its files and folders, as the package lists them.
    pub fn files(&self) -> Vec<File> {
        let flags = self.numbers(FILEFLAGS);
        let ghost = |index: usize| flags.get(index).is_some_and(|flags| flags & GHOST != 0);
        self.paths().into_iter().map(|(index, path)| File { path, is_ghost: ghost(index) }).collect()
    }

    /// Paths with their places in the tags that say more of them.
    fn paths(&self) -> Vec<(usize, RootPath)> {
        let old = self.texts(OLDFILENAMES);
        if !old.is_empty() {
            return old.into_iter().enumerate().map(|(index, path)| (index, RootPath::new(path))).collect();
        }
        let (folders, indexes) = (self.texts(DIRNAMES), self.numbers(DIRINDEXES));
        let names = self.texts(BASENAMES).into_iter().enumerate();
        let path = |(index, name): (usize, &[u8])| {
            let folder = folders.get(*indexes.get(index)? as usize)?;
            Some((index, RootPath::new([folder, name].concat())))
        };
        names.filter_map(path).collect()
    }

    /// The same header, installed at another time. The signed part of it knows no such time and stays as it is.
    pub(super) fn installed_at(mut self, time: u32) -> Header {
        let times = self.tags().filter(|tag| [INSTALLTIME, INSTALLTID].contains(&tag.tag) && tag.kind == INT32);
        // rpm writes one number for each; a header that claims more is not believed.
        let places: Vec<usize> = times.filter(|tag| tag.count == 1).map(|tag| tag.offset).collect();
        for at in places {
            if let Some(place) = at.checked_add(4).and_then(|end| self.bytes.get_mut(at..end)) {
                place.copy_from_slice(&time.to_be_bytes());
            }
        }
        self
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of strings, string arrays and numbers.
    pub(in super::super) fn header(texts: &[(u32, &[&str])], numbers: &[(u32, &[u32])]) -> Header {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, offset: usize, count: usize| {
            for word in [tag, kind, offset as u32, count as u32] {
                index.extend(word.to_be_bytes());
            }
        };
        for (tag, values) in numbers {
            entry(*tag, INT32, store.len(), values.len());
            store.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        }
        for (tag, values) in texts {
            let kind = if values.len() == 1 { STRING } else { STRING_ARRAY };
            entry(*tag, kind, store.len(), values.len());
            for value in *values {
                store.extend(value.bytes());
                store.push(0);
            }
        }
        let lengths = [(index.len() / 16) as u32, store.len() as u32].map(u32::to_be_bytes).concat();
        Header::new([lengths, index, store].concat()).unwrap()
    }

    /// A package with this name, installed at this time.
    pub(in super::super) fn package(name: &str, time: u32) -> Header {
        let texts: [(u32, &[&str]); 4] = [(NAME, &[name]), (VERSION, &["2.0"]), (RELEASE, &["3"]), (ARCH, &["noarch"])];
        header(&texts, &[(EPOCH, &[1]), (INSTALLTIME, &[time]), (INSTALLTID, &[time])])
    }

    #[test]
    fn a_header_says_what_is_installed_where() {
        let texts: [(u32, &[&str]); 3] =
            [(NAME, &["app"]), (BASENAMES, &["app", "app.log", "lost"]), (DIRNAMES, &["/usr/bin/", "/var/log/"])];
        let app = header(&texts, &[(DIRINDEXES, &[0, 1, 7]), (FILEFLAGS, &[0, GHOST, 0])]);
        let files: Vec<(String, bool)> =
            app.files().iter().map(|file| (file.path.to_string(), file.is_ghost)).collect();
        assert_eq!(files, [("/usr/bin/app".to_string(), false), ("/var/log/app.log".to_string(), true)]);
        assert_eq!(package("app", 7).identity(), ("app".into(), "1:2.0-3".into(), "noarch".into()));
    }

    #[test]
    fn a_new_time_changes_the_time_and_nothing_else() {
        assert_eq!(package("app", 7).installed_at(9), package("app", 9));
    }

    #[test]
    fn a_header_that_lies_about_its_lengths_is_none_and_a_lying_tag_is_not_there() {
        let good = package("app", 7);
        assert!(Header::new(good.bytes()[..good.bytes().len() - 1].to_vec()).is_none());
        assert!(Header::new(vec![0xff; 8]).is_none());
        for at in 8..good.bytes().len() {
            let mut bytes = good.bytes().to_vec();
            bytes[at] ^= 0xff;
            if let Some(header) = Header::new(bytes) {
                let _ = (header.identity(), header.files(), header.size(), header.installed_at(1));
            }
        }
    }
}
