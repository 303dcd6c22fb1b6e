//! Taking packages out of a tree without running any of their scripts.
//!
//! In: a tree with dpkg's database and the packages that go. Out: the same tree without their files, conffiles
//! included, and with a database that describes exactly what is left: status, info, triggers, diversions and
//! alternatives. Never removes a file that a remaining package owns too, never a folder with something in it.

use std::collections::{BTreeMap, BTreeSet};

use super::alternatives;
use super::database::{self, INFO};
use super::deb822::Stanza;
use crate::error::Result;
use crate::host::rooted::{Kind, RootPath, Rooted};

const DIVERSIONS: &str = "/var/lib/dpkg/diversions";
const TRIGGERS: &str = "/var/lib/dpkg/triggers";

/// Folders whose symlinks enable services, and systemd's notes about them.
const ENABLED: &[&str] = &[
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/lib/systemd/deb-systemd-helper-masked",
    "/var/lib/systemd/deb-systemd-user-helper-enabled",
    "/etc/rc0.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rc6.d",
    "/etc/rcS.d",
];

/// A file that a package moved out of the way of its own (dpkg-divert(1)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diversion {
    from: RootPath,
    to: RootPath,
    by: String,
}

/// Removes the packages of `status` at the positions `gone`, and returns what is left of `status`.
pub fn remove(tree: &Rooted, status: Vec<Stanza>, gone: &BTreeSet<usize>) -> Result<Vec<Stanza>> {
    let aliases = Aliases::read(tree)?;
    let diversions = read_diversions(tree)?;
    let really = |package: &str, path: &RootPath| {
        let path = aliases.resolve(path);
        let diverted = diversions.iter().find(|one| aliases.resolve(&one.from) == path && one.by != package);
        diverted.map_or(path, |one| aliases.resolve(&one.to))
    };
    let mut kept: BTreeSet<RootPath> = BTreeSet::new();
    let mut removed: BTreeSet<RootPath> = BTreeSet::new();
    for (at, stanza) in status.iter().enumerate() {
        let package = stanza.text("Package");
        let paths = database::files(tree, stanza)?.into_iter().map(|path| really(package, &path));
        if gone.contains(&at) { removed.extend(paths) } else { kept.extend(paths) }
    }
    removed.retain(|path| !kept.contains(path));
    // Children stand after their folders, so backwards is from the leaves up.
    for path in removed.iter().rev() {
        remove_one(tree, path)?;
    }
    let names: BTreeSet<&str> = gone.iter().map(|at| status[*at].text("Package")).collect();
    let left: BTreeSet<&str> = status
        .iter()
        .enumerate()
        .filter(|(at, _)| !gone.contains(at))
        .map(|(_, stanza)| stanza.text("Package"))
        .collect();
    let names: BTreeSet<&str> = names.difference(&left).copied().collect();
    undo_diversions(tree, diversions, &names, &kept)?;
    forget_triggers(tree, &names)?;
    let mut emptied = alternatives::drop_missing(tree)?;
    emptied.extend(disable(tree, &removed)?);
    emptied.extend(removed.iter().cloned());
    prune(tree, &emptied, &kept)?;
    forget_info(tree, gone.iter().map(|at| &status[*at]))?;
    let left = status.into_iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, stanza)| stanza);
    let left: Vec<Stanza> = left.collect();
    database::write_status(tree, &left)?;
    Ok(left)
}

/// Folders that are other names of other folders: the merged /usr. The symlinks themselves never go.
struct Aliases {
    folders: Vec<(RootPath, RootPath)>,
}

impl Aliases {
    fn read(tree: &Rooted) -> Result<Aliases> {
        let mut folders = Vec::new();
        for name in tree.names(&RootPath::root())? {
            let path = RootPath::root().join(&name);
            if let Some(Kind::Symlink(target)) = tree.entry(&path)?.map(|entry| entry.kind) {
                folders.push((path, RootPath::new(target)));
            }
        }
        Ok(Aliases { folders })
    }

    /// The one name of a path.
    fn resolve(&self, path: &RootPath) -> RootPath {
        for (alias, folder) in &self.folders {
            if path.is_below(alias) {
                return folder.join(&path.as_bytes()[alias.as_bytes().len()..]);
            }
        }
        path.clone()
    }
}

/// A file, or a folder that is empty; and what Python made of a module.
fn remove_one(tree: &Rooted, path: &RootPath) -> Result<()> {
    match tree.entry(path)? {
        None => {}
        Some(entry) if entry.is_folder() => {
            remove_if_empty(tree, path)?;
        }
        Some(_) => tree.remove(path)?,
    }
    if let Some(module) = path.name().strip_suffix(b".py") {
        let cache = path.parent().join("__pycache__");
        let start = [module, b"."].concat();
        for name in tree.names(&cache)?.iter().filter(|name| name.starts_with(&start)) {
            tree.remove(&cache.join(name))?;
        }
        if tree.exists(&cache) {
            remove_if_empty(tree, &cache)?;
        }
    }
    Ok(())
}

/// Folders that lost their last entry and that nobody owns: update-alternatives and others make some.
fn prune(tree: &Rooted, emptied: &BTreeSet<RootPath>, kept: &BTreeSet<RootPath>) -> Result<()> {
    let mut folders: BTreeSet<RootPath> = BTreeSet::new();
    for path in emptied {
        let mut folder = path.clone();
        while folder != RootPath::root() && !kept.contains(&folder) && folders.insert(folder.clone()) {
            folder = folder.parent();
        }
    }
    for folder in folders.iter().rev() {
        if tree.entry(folder)?.is_some_and(|entry| entry.is_folder()) {
            remove_if_empty(tree, folder)?;
        }
    }
    Ok(())
}

fn remove_if_empty(tree: &Rooted, folder: &RootPath) -> Result<()> {
    if tree.names(folder)?.is_empty() { tree.remove(folder) } else { Ok(()) }
}

fn read_diversions(tree: &Rooted) -> Result<Vec<Diversion>> {
    let bytes = tree.read_if_there(&DIVERSIONS.into())?.unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let diversion = |lines: &[&[u8]]| Diversion {
        from: RootPath::new(lines[0]),
        to: RootPath::new(lines[1]),
        by: String::from_utf8_lossy(lines[2]).into_owned(),
    };
    Ok(lines.chunks_exact(3).map(diversion).collect())
}

/// What a removed package had moved away goes back, if somebody still owns it.
fn undo_diversions(
    tree: &Rooted,
    diversions: Vec<Diversion>,
    names: &BTreeSet<&str>,
    kept: &BTreeSet<RootPath>,
) -> Result<()> {
    let (undone, left): (Vec<_>, Vec<_>) = diversions.into_iter().partition(|one| names.contains(one.by.as_str()));
    if undone.is_empty() {
        return Ok(());
    }
    for one in undone {
        if tree.entry(&one.to)?.is_some() {
            if kept.contains(&one.to) { tree.rename(&one.to, &one.from)? } else { tree.remove(&one.to)? }
        }
    }
    let mut text = Vec::new();
    for one in left {
        for part in [one.from.as_bytes(), one.to.as_bytes(), one.by.as_bytes()] {
            text.extend_from_slice(part);
            text.push(b'\n');
        }
    }
    tree.write(&DIVERSIONS.into(), text, 0o644)
}

/// Interests in triggers: `File` has lines of a path and a package, other files one package per line.
fn forget_triggers(tree: &Rooted, names: &BTreeSet<&str>) -> Result<()> {
    let folder = RootPath::from(TRIGGERS);
    for name in tree.names(&folder)? {
        let path = folder.join(&name);
        if matches!(name.as_slice(), b"Lock" | b"Unincorp") || !tree.entry(&path)?.is_some_and(|entry| entry.is_file())
        {
            continue;
        }
        let before = tree.read(&path)?;
        let text = String::from_utf8_lossy(&before).into_owned();
        let stays = |line: &&str| {
            let package = line.rsplit(' ').next().unwrap_or_default();
            !names.contains(package.split(['/', ':']).next().unwrap_or_default())
        };
        let after: String = text.lines().filter(stays).map(|line| format!("{line}\n")).collect();
        if after.is_empty() && name != b"File" {
            tree.remove(&path)?;
        } else if after.as_bytes() != before {
            tree.write(&path, after, 0o644)?;
        }
    }
    Ok(())
}

/// Symlinks that started a unit or script that is gone, and the notes that a unit was enabled. Returns what it removed.
fn disable(tree: &Rooted, removed: &BTreeSet<RootPath>) -> Result<BTreeSet<RootPath>> {
    let mut disabled = BTreeSet::new();
    let unit = |path: &RootPath| {
        path.as_bytes().windows(9).any(|part| part == b"/systemd/") || path.is_below(&"/etc/init.d".into())
    };
    let units: BTreeSet<&[u8]> = removed.iter().filter(|path| unit(path)).map(RootPath::name).collect();
    for folder in ENABLED.iter().map(|folder| RootPath::from(*folder)) {
        for entry in tree.walk(&folder)?.into_iter().rev() {
            let goes = match &entry.kind {
                Kind::Symlink(target) => {
                    let target =
                        if target.starts_with(b"/") { RootPath::new(target) } else { entry.path.parent().join(target) };
                    !tree.exists(&entry.path) && (units.contains(target.name()) || units.contains(entry.path.name()))
                }
                Kind::File => {
                    let name = entry.path.name();
                    folder.as_bytes().starts_with(b"/var/lib/")
                        && units.contains(name.strip_suffix(b".dsh-also").unwrap_or(name))
                }
                _ => false,
            };
            if goes {
                tree.remove(&entry.path)?;
                disabled.insert(entry.path);
            }
        }
    }
    Ok(disabled)
}

fn forget_info<'a>(tree: &Rooted, gone: impl Iterator<Item = &'a Stanza>) -> Result<()> {
    let folder = RootPath::from(INFO);
    let mut by_name: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for name in tree.names(&folder)? {
        // A package's name has dots, the kind after the last one has none.
        if let Some(dot) = name.iter().rposition(|byte| *byte == b'.') {
            by_name.entry(name[..dot].to_vec()).or_default().push(name);
        }
    }
    for stanza in gone {
        for name in by_name.remove(database::info_name(stanza).as_bytes()).unwrap_or_default() {
            tree.remove(&folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of two packages that share a folder and a file; everything of `b` goes.
    #[test]
    fn what_a_remaining_package_owns_stays_and_the_database_describes_it() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Rooted::open(folder.path()).unwrap();
        let write = |path: &str, text: &str| tree.write(&path.into(), text, 0o644).unwrap();
        tree.create_folders(&"/usr/lib".into(), 0o755).unwrap();
        tree.symlink("usr/lib", &"/lib".into()).unwrap();
        let status = "Package: a\nStatus: install ok installed\nArchitecture: all\n\n\
                      Package: b\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n";
        write("/var/lib/dpkg/status", status);
        write("/var/lib/dpkg/info/a.list", "/.\n/usr\n/usr/lib\n/usr/lib/shared\n/etc\n/usr/lib/tool\n");
        let list = "/.\n/lib\n/lib/shared\n/lib/b\n/lib/b/m.py\n/etc\n/etc/b.conf\n/lib/systemd\n/lib/systemd/system\n\
                    /lib/systemd/system/b.timer\n/lib/tool\n/lib/full\n";
        write("/var/lib/dpkg/info/b:amd64.list", list);
        write("/var/lib/dpkg/info/b:amd64.postinst", "");
        write("/var/lib/dpkg/info/a.postinst", "");
        write("/var/lib/dpkg/diversions", "/usr/lib/tool\n/usr/lib/tool.a\nb\n/x\n/y\na\n");
        write("/var/lib/dpkg/triggers/File", "/usr/lib b/noawait\n/usr/share a\n");
        write("/var/lib/dpkg/triggers/ldconfig", "b:amd64\n");
        for path in [
            "/usr/lib/shared",
            "/usr/lib/b/m.py",
            "/usr/lib/b/__pycache__/m.cpython-311.pyc",
            "/etc/b.conf",
            "/usr/lib/tool",
        ] {
            write(path, path);
        }
        write("/usr/lib/tool.a", "a's own");
        write("/usr/lib/full/kept", "nobody's");
        write("/usr/lib/systemd/system/b.timer", "");
        tree.symlink("/lib/systemd/system/b.timer", &"/etc/systemd/system/timers.target.wants/b.timer".into()).unwrap();
        write("/var/lib/systemd/deb-systemd-helper-enabled/b.timer.dsh-also", "");
        tree.symlink("/nowhere", &"/etc/systemd/system/mine.service".into()).unwrap();

        let left = remove(&tree, database::status(&tree).unwrap(), &BTreeSet::from([1])).unwrap();

        assert_eq!(left.len(), 1);
        assert_eq!(
            tree.read(&"/var/lib/dpkg/status".into()).unwrap(),
            b"Package: a\nStatus: install ok installed\nArchitecture: all\n\n"
        );
        assert_eq!(tree.read(&"/usr/lib/tool".into()).unwrap(), b"a's own");
        assert_eq!(tree.read(&"/var/lib/dpkg/diversions".into()).unwrap(), b"/x\n/y\na\n");
        assert_eq!(tree.read(&"/var/lib/dpkg/triggers/File".into()).unwrap(), b"/usr/share a\n");
        let paths: Vec<String> =
            tree.walk(&RootPath::root()).unwrap().iter().map(|entry| entry.path.to_string()).collect();
        let below = |part: &str| paths.iter().filter(|path| path.starts_with(part)).cloned().collect::<Vec<_>>();
        assert_eq!(below("/usr/lib/"), ["/usr/lib/full", "/usr/lib/full/kept", "/usr/lib/shared", "/usr/lib/tool"]);
        assert_eq!(below("/etc/"), ["/etc/systemd", "/etc/systemd/system", "/etc/systemd/system/mine.service"]);
        assert_eq!(below("/var/lib/dpkg/info/"), ["/var/lib/dpkg/info/a.list", "/var/lib/dpkg/info/a.postinst"]);
        assert_eq!(below("/var/lib/dpkg/triggers/"), ["/var/lib/dpkg/triggers/File"]);
        assert_eq!(below("/lib"), ["/lib"]);
    }
}
