//! dpkg's triggers (deb-triggers(5), dpkg's doc/triggers): who is interested, who was activated.
//!
//! In: the `triggers` folder of dpkg's database and the directives of packages. Out: new interests, written as dpkg
//! writes them, and activations for `Unincorp`, which the next run of the real dpkg takes up. Never processes one.

use std::collections::{BTreeMap, HashSet};

use super::control::{Awaiting, Directive};
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};

const FOLDER: &str = "/var/lib/dpkg/triggers";

/// One package's interest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interest {
    package: String,
    awaiting: Awaiting,
}

impl Interest {
    fn parse(text: &str) -> Interest {
        let (package, option) = text.split_once('/').unwrap_or((text, ""));
        let awaiting = if option == "noawait" { Awaiting::NoAwait } else { Awaiting::Await };
        Interest { package: package.to_string(), awaiting }
    }

    fn text(&self) -> String {
        let option = if self.awaiting == Awaiting::NoAwait { "/noawait" } else { "" };
        format!("{}{option}", self.package)
    }
}

/// All interests, and the activations that dpkg does not know of yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// (path, interest) in the order of the file `File`.
    files: Vec<(String, Interest)>,
    /// By name of the trigger.
    explicit: BTreeMap<String, Vec<Interest>>,
    /// Trigger and who waits (`-`: nobody), in the order in which they happened.
    activations: Vec<(String, String)>,
    changed: bool,
}

impl Triggers {
    /// Reads the tree's interests.
    pub fn read(tree: &Rooted) -> Result<Triggers> {
        let mut found = Triggers::default();
        for name in tree.names(&RootPath::new(FOLDER))? {
            let path = RootPath::new(FOLDER).join(&name);
            let Ok(name) = String::from_utf8(name) else { continue };
            if matches!(name.as_str(), "Unincorp" | "Lock") || name.ends_with(".new") {
                continue;
            }
            let text = String::from_utf8_lossy(&tree.read(&path)?).into_owned();
            for line in text.lines() {
                if name != "File" {
                    found.explicit.entry(name.clone()).or_default().push(Interest::parse(line));
                    continue;
                }
                let (path, package) = line.split_once(' ').ok_or_else(|| {
                    Error::cannot(Exit::Description, "read dpkg's file triggers").because(format!("the line `{line}`"))
                })?;
                found.files.push((path.to_string(), Interest::parse(package)));
            }
        }
        Ok(found)
    }

    /// Takes up the interests of an unpacked package, called `package` in the database.
    pub fn interests(&mut self, package: &str, directives: &[Directive]) {
        for directive in directives {
            let Directive::Interest(trigger, awaiting) = directive else { continue };
            let interest = Interest { package: package.to_string(), awaiting: *awaiting };
            self.changed = true;
            if !trigger.starts_with('/') {
                let interests = self.explicit.entry(trigger.clone()).or_default();
                interests.retain(|old| old.package != package);
                interests.push(interest);
            } else if let Some((_, old)) =
                self.files.iter_mut().find(|(path, old)| path == trigger && old.package == package)
            {
                *old = interest;
            } else {
                self.files.push((trigger.clone(), interest));
            }
        }
    }

    /// The activations that a package's own directives ask for when its state changes. `listens` says whether a
    /// package is far enough configured to care.
    pub fn directives(&mut self, package: &str, directives: &[Directive], listens: impl Fn(&str) -> bool) {
        for directive in directives {
            let Directive::Activate(trigger, awaiting) = directive else { continue };
            let below =
                |path: &str| trigger.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let files = self.files.iter().filter(|(path, _)| below(path)).map(|(_, interest)| interest);
            let interests = self.explicit.get(trigger).into_iter().flatten().chain(files);
            if interests.into_iter().any(|interest| listens(&interest.package)) {
                let who = if *awaiting == Awaiting::Await { package } else { "-" };
                self.activate(trigger.clone(), who.to_string());
            }
        }
    }

    /// The paths whose change some package that `listens` wants to hear of.
    pub fn heard(&self, listens: impl Fn(&str) -> bool) -> HashSet<Vec<u8>> {
        let heard = self.files.iter().filter(|(_, interest)| listens(&interest.package));
        heard.map(|(path, _)| path.as_bytes().to_vec()).collect()
    }

    /// Notes that `package` has something at a path that is [heard](Triggers::heard) of.
    pub fn file(&mut self, path: &[u8], package: &str) {
        // Whether it waits is each interest's affair when dpkg takes the activation up.
        self.activate(String::from_utf8_lossy(path).into_owned(), package.to_string());
    }

    fn activate(&mut self, trigger: String, package: String) {
        if !self.activations.iter().any(|(old, who)| *old == trigger && *who == package) {
            self.activations.push((trigger, package));
        }
    }

    /// Writes what has changed since it was read or written.
    pub fn write(&mut self, tree: &Rooted) -> Result<()> {
        let folder = RootPath::new(FOLDER);
        tree.create_folders(&folder, 0o755)?;
        if std::mem::take(&mut self.changed) {
            let lines = self.files.iter().map(|(path, interest)| format!("{path} {}\n", interest.text()));
            let lines: String = lines.collect();
            if !lines.is_empty() {
                tree.write(&folder.join("File"), lines, 0o644)?;
            }
            for (trigger, interests) in &self.explicit {
                let lines: String = interests.iter().map(|interest| format!("{}\n", interest.text())).collect();
                tree.write(&folder.join(trigger), lines, 0o644)?;
            }
        }
        let unincorporated = folder.join("Unincorp");
        let mut lines = tree.read_if_there(&unincorporated)?.unwrap_or_default();
        for (trigger, package) in self.activations.drain(..) {
            lines.extend_from_slice(format!("{trigger} {package}\n").as_bytes());
        }
        tree.write(&unincorporated, lines, 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(trigger: &str, awaiting: Awaiting) -> Directive {
        Directive::Interest(trigger.into(), awaiting)
    }

    #[test]
    fn interests_and_activations_are_written_as_dpkg_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Rooted::open(folder.path()).unwrap();
        let mut triggers = Triggers::read(&tree).unwrap();
        triggers.interests("libc-bin", &[interest("ldconfig", Awaiting::NoAwait)]);
        triggers.interests("man-db", &[interest("/usr/share/man", Awaiting::Await), interest("/x", Awaiting::NoAwait)]);
        triggers.interests("a:amd64", &[interest("/usr/share/man", Awaiting::NoAwait)]);
        triggers.directives("b", &[Directive::Activate("ldconfig".into(), Awaiting::NoAwait)], |_| true);
        triggers.directives("c", &[Directive::Activate("/usr/share/man/de".into(), Awaiting::Await)], |_| true);
        triggers.directives("d", &[Directive::Activate("nobody-cares".into(), Awaiting::Await)], |_| true);
        assert_eq!(triggers.heard(|package| package == "man-db").len(), 2);
        triggers.file(b"/usr/share/man", "e");
        triggers.file(b"/usr/share/man", "e");
        triggers.write(&tree).unwrap();
        let text = |name: &str| String::from_utf8(tree.read(&RootPath::new(FOLDER).join(name)).unwrap()).unwrap();
        assert_eq!(text("File"), "/usr/share/man man-db\n/x man-db/noawait\n/usr/share/man a:amd64/noawait\n");
        assert_eq!(text("ldconfig"), "libc-bin/noawait\n");
        assert_eq!(text("Unincorp"), "ldconfig -\n/usr/share/man/de c\n/usr/share/man e\n");
        let again = Triggers::read(&tree).unwrap();
        assert_eq!((again.files, again.explicit), (triggers.files, triggers.explicit));
    }
}
