//! What the tree says about paths and owners: diversions, stat overrides, users and groups.
//!
//! In: dpkg's `diversions` and `statoverride` (dpkg-divert(1), dpkg-statoverride(1)), `/etc/passwd` and `/etc/group`
//! of the tree. Out: where a path of a package really goes and who owns it. Never writes them; a preinst may have, so
//! that they are read again after each script.

use std::collections::{HashMap, HashSet};

use super::names::entry_name;
use super::staging::Owner;
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};

/// Where a diverted path goes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diversion {
    instead: Vec<u8>,
    /// The package that keeps the path; none for a local diversion.
    by: Option<String>,
}

/// Permissions that count instead of a package's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Everything in the tree that changes where and how a package's files are placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    diversions: HashMap<Vec<u8>, Diversion>,
    /// Targets of diversions: no package may ship them.
    taken: HashSet<Vec<u8>>,
    permissions: HashMap<Vec<u8>, Permissions>,
    users: HashMap<Vec<u8>, u32>,
    groups: HashMap<Vec<u8>, u32>,
}

impl Overrides {
    /// Reads the tree. 65 for a `diversions` or `statoverride` that is malformed or names unknown users.
    pub fn read(tree: &Rooted) -> Result<Overrides> {
        let text = |path: &str| tree.read_if_there(&RootPath::new(path)).map(Option::unwrap_or_default);
        let mut found =
            Overrides { users: ids(&text("/etc/passwd")?), groups: ids(&text("/etc/group")?), ..Overrides::default() };
        let broken =
            |file: &str, why: String| Error::cannot(Exit::Description, format!("read dpkg's {file}")).because(why);
        let diversions = text("/var/lib/dpkg/diversions")?;
        found.add_diversions(&diversions).map_err(|why| broken("diversions", why))?;
        let overrides = text("/var/lib/dpkg/statoverride")?;
        found.add_permissions(&overrides).map_err(|why| broken("statoverride", why))?;
        Ok(found)
    }

    /// Three lines each: the path, where it goes, the package that keeps it or `:`.
    fn add_diversions(&mut self, text: &[u8]) -> Result<(), String> {
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let lines = lines.strip_suffix(&[b"".as_slice()]).unwrap_or(&lines);
        for diversion in lines.chunks(3) {
            let [path, instead, by] = diversion else { return Err("it ends in the middle of a diversion".into()) };
            let by = if *by == b":" { None } else { Some(String::from_utf8_lossy(by).into_owned()) };
            let instead = entry_name(instead)?;
            self.taken.insert(instead.clone());
            self.diversions.insert(entry_name(path)?, Diversion { instead, by });
        }
        Ok(())
    }

    /// A line each: user, group, mode, path.
    fn add_permissions(&mut self, text: &[u8]) -> Result<(), String> {
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut words = line.splitn(4, |byte| *byte == b' ');
            let mut word = || words.next().ok_or_else(|| format!("the line `{}`", line.escape_ascii()));
            let id = |names: &HashMap<Vec<u8>, u32>, word: &[u8]| {
                let number = word.strip_prefix(b"#").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                number.or(names.get(word).copied()).ok_or_else(|| format!("`{}` is unknown", word.escape_ascii()))
            };
            let (uid, gid) = (id(&self.users, word()?)?, id(&self.groups, word()?)?);
            let mode = std::str::from_utf8(word()?).ok().and_then(|mode| u32::from_str_radix(mode, 8).ok());
            let mode = mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| format!("`{}`", line.escape_ascii()))?;
            self.permissions.insert(entry_name(word()?)?, Permissions { uid, gid, mode });
        }
        Ok(())
    }

    /// Where a path of the package `name` goes.
    pub fn place_of<'a>(&'a self, path: &'a [u8], name: &str) -> &'a [u8] {
        match self.diversions.get(path) {
            Some(diversion) if diversion.by.as_deref() != Some(name) => &diversion.instead,
            _ => path,
        }
    }

    /// Whether a path is diverted, and by which package (none: locally).
    pub fn diverted(&self, path: &[u8]) -> Option<Option<&str>> {
        self.diversions.get(path).map(|diversion| diversion.by.as_deref())
    }

    /// Whether another path is diverted to this one.
    pub fn is_taken(&self, path: &[u8]) -> bool {
        self.taken.contains(path)
    }

    /// Permissions that count for a path instead of its package's.
    pub fn permissions(&self, path: &[u8]) -> Option<Permissions> {
        self.permissions.get(path).copied()
    }

    /// Whether it says anything about this path of the package `name`.
    pub fn touches(&self, path: &[u8], name: &str) -> bool {
        self.place_of(path, name) != path || self.is_taken(path) || self.permissions.contains_key(path)
    }

    /// The numbers of an archive's owner: names count where the tree knows them.
    pub fn owner(&self, owner: &Owner) -> (u32, u32) {
        let uid = self.users.get(&*owner.user).copied().unwrap_or(owner.uid);
        (uid, self.groups.get(&*owner.group).copied().unwrap_or(owner.gid))
    }
}

/// Names and numbers of passwd(5) or group(5); the first of a name counts.
fn ids(text: &[u8]) -> HashMap<Vec<u8>, u32> {
    let mut found = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        if let (Some(name), Some(number)) = (fields.next().filter(|name| !name.is_empty()), fields.nth(1))
            && let Some(number) = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok())
        {
            found.entry(name.to_vec()).or_insert(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(files: &[(&str, &str)]) -> Result<Overrides> {
        let folder = tempfile::tempdir().unwrap();
        let tree = Rooted::open(folder.path()).unwrap();
        for (path, content) in files {
            tree.write(&RootPath::new(path), content, 0o644).unwrap();
        }
        Overrides::read(&tree)
    }

    const USERS: (&str, &str) = ("/etc/passwd", "root:*:0:0::/:/bin/sh\n_apt:x:42:1::/:\n_apt:x:43:1::/:\n+\n");
    const GROUPS: (&str, &str) = ("/etc/group", "root:*:0:\nshadow:x:99:a,b\n");

    #[test]
    fn a_diverted_path_goes_elsewhere_but_for_the_package_that_diverts() {
        let file = ("/var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\ndash\n/x\n/y\n:\n");
        let found = overrides(&[file]).unwrap();
        assert_eq!(found.place_of(b"/bin/sh", "bash"), b"/bin/sh.distrib");
        assert_eq!(found.place_of(b"/bin/sh", "dash"), b"/bin/sh");
        assert_eq!(found.place_of(b"/x", "any"), b"/y");
        assert_eq!(found.place_of(b"/bin/ls", "bash"), b"/bin/ls");
        assert_eq!(found.diverted(b"/bin/sh"), Some(Some("dash")));
        assert!(found.is_taken(b"/y") && found.touches(b"/y", "any") && !found.touches(b"/bin/sh", "dash"));
        assert!(overrides(&[("/var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\n")]).is_err());
    }

    #[test]
    fn names_of_owners_count_where_the_tree_knows_them() {
        let found = overrides(&[USERS, GROUPS]).unwrap();
        let owner = |user: &str, group: &str| {
            let (user, group) = (user.as_bytes().into(), group.as_bytes().into());
            found.owner(&Owner { uid: 7, gid: 42, user, group })
        };
        assert_eq!(owner("root", "shadow"), (0, 99));
        assert_eq!(owner("_apt", "nobody"), (42, 42));
        assert_eq!(owner("", ""), (7, 42));
    }

    #[test]
    fn stat_overrides_name_users_of_the_tree_or_numbers() {
        let file = |text| ("/var/lib/dpkg/statoverride", text);
        let found = overrides(&[USERS, GROUPS, file("root shadow 2755 /a b\n#5 #6 600 /c\n")]).unwrap();
        assert_eq!(found.permissions(b"/a b"), Some(Permissions { uid: 0, gid: 99, mode: 0o2755 }));
        assert_eq!(found.permissions(b"/c"), Some(Permissions { uid: 5, gid: 6, mode: 0o600 }));
        for bad in ["who root 755 /a\n", "root root 98 /a\n", "root root 755\n"] {
            assert!(overrides(&[USERS, GROUPS, file(bad)]).is_err(), "{bad}");
        }
    }
}
