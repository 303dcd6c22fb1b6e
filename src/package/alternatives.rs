//! Debian's alternatives (update-alternatives(1)) in a tree whose packages were removed without their scripts.
//!
//! In: a tree. Out: groups without choices that are gone: the link goes with its last choice, and to the best one left
//! where it pointed to one that is gone. Never touches a group whose choices are all there.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::host::rooted::{Kind, RootPath, Rooted};

const DATABASE: &str = "/var/lib/dpkg/alternatives";
const LINKS: &str = "/etc/alternatives";

/// A group as its file in the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    mode: String,
    link: String,
    /// Names and links of what follows the master.
    slaves: Vec<(String, String)>,
    choices: Vec<Choice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    path: String,
    priority: i64,
    /// As many as there are slaves; empty where this choice has none.
    slaves: Vec<String>,
}

impl Group {
    fn parse(text: &str) -> Option<Group> {
        let mut lines = text.lines();
        let (mode, link) = (lines.next()?.to_string(), lines.next()?.to_string());
        let mut slaves = Vec::new();
        while let Some(name) = lines.next().filter(|line| !line.is_empty()) {
            slaves.push((name.to_string(), lines.next()?.to_string()));
        }
        let mut choices = Vec::new();
        while let Some(path) = lines.next().filter(|line| !line.is_empty()) {
            let priority = lines.next()?.parse().ok()?;
            let of_choice = slaves.iter().map(|_| lines.next().map(str::to_string)).collect::<Option<_>>()?;
            choices.push(Choice { path: path.to_string(), priority, slaves: of_choice });
        }
        Some(Group { mode, link, slaves, choices })
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.mode, self.link);
        for (name, link) in &self.slaves {
            text.push_str(&format!("{name}\n{link}\n"));
        }
        text.push('\n');
        for choice in &self.choices {
            text.push_str(&format!("{}\n{}\n", choice.path, choice.priority));
            choice.slaves.iter().for_each(|path| text.push_str(&format!("{path}\n")));
        }
        text.push('\n');
        text
    }
}

/// Drops choices whose file is gone. Returns the links that it removed.
pub fn drop_missing(tree: &Rooted) -> Result<BTreeSet<RootPath>> {
    let mut removed = BTreeSet::new();
    let folder = RootPath::from(DATABASE);
    for name in tree.names(&folder)? {
        let path = folder.join(&name);
        let text = String::from_utf8_lossy(&tree.read(&path)?).into_owned();
        let Some(mut group) = Group::parse(&text) else { continue };
        let before = group.choices.len();
        group.choices.retain(|choice| tree.exists(&choice.path.as_str().into()));
        if group.choices.len() == before {
            continue;
        }
        let master = RootPath::from(LINKS).join(&name);
        // The first of equal ones, as update-alternatives chooses.
        let best = group.choices.iter().rev().max_by_key(|choice| choice.priority).cloned();
        match best {
            None => {
                let slaves = group.slaves.iter().map(|(name, link)| (RootPath::from(LINKS).join(name), link));
                for (link, public) in slaves.chain([(master, &group.link)]) {
                    unlink(tree, &public.as_str().into(), &link, &mut removed)?;
                }
                tree.remove(&path)?;
            }
            Some(best) => {
                if !tree.exists(&master) {
                    group.mode = "auto".into();
                    choose(tree, &group, &master, &best, &mut removed)?;
                }
                tree.write(&path, group.text(), 0o644)?;
            }
        }
    }
    Ok(removed)
}

fn choose(
    tree: &Rooted,
    group: &Group,
    master: &RootPath,
    best: &Choice,
    removed: &mut BTreeSet<RootPath>,
) -> Result<()> {
    tree.symlink(&best.path, master)?;
    for ((name, link), path) in group.slaves.iter().zip(&best.slaves) {
        let slave = RootPath::from(LINKS).join(name);
        if path.is_empty() || !tree.exists(&path.as_str().into()) {
            unlink(tree, &link.as_str().into(), &slave, removed)?;
        } else {
            tree.symlink(path, &slave)?;
            tree.symlink(slave.as_bytes(), &link.as_str().into())?;
        }
    }
    Ok(())
}

/// The public link, if it is one to the database's, and that one.
fn unlink(tree: &Rooted, public: &RootPath, link: &RootPath, removed: &mut BTreeSet<RootPath>) -> Result<()> {
    if let Some(Kind::Symlink(target)) = tree.entry(public)?.map(|entry| entry.kind)
        && target == link.as_bytes()
    {
        tree.remove(public)?;
        removed.insert(public.clone());
    }
    removed.insert(link.clone());
    tree.remove(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDITOR: &str = "auto\n/usr/bin/editor\neditor.1\n/usr/share/man/editor.1\n\n\
                          /bin/ed\n-100\n\n/bin/nano\n40\n/usr/share/man/nano.1\n/bin/vi\n30\n/usr/share/man/vi.1\n\n";

    fn tree(there: &[&str]) -> (tempfile::TempDir, Rooted) {
        let folder = tempfile::tempdir().unwrap();
        let tree = Rooted::open(folder.path()).unwrap();
        for path in there {
            tree.write(&(*path).into(), "", 0o755).unwrap();
        }
        tree.write(&"/var/lib/dpkg/alternatives/editor".into(), EDITOR, 0o644).unwrap();
        for (link, target) in [
            ("/usr/bin/editor", "/etc/alternatives/editor"),
            ("/etc/alternatives/editor", "/bin/nano"),
            ("/usr/share/man/editor.1", "/etc/alternatives/editor.1"),
            ("/etc/alternatives/editor.1", "/usr/share/man/nano.1"),
        ] {
            tree.symlink(target, &link.into()).unwrap();
        }
        (folder, tree)
    }

    fn target(tree: &Rooted, path: &str) -> Option<String> {
        match tree.entry(&path.into()).unwrap()?.kind {
            Kind::Symlink(target) => Some(String::from_utf8(target).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn a_group_survives_its_text() {
        assert_eq!(Group::parse(EDITOR).unwrap().text(), EDITOR);
    }

    #[test]
    fn the_best_choice_that_is_left_takes_over_with_its_slaves() {
        let (_folder, tree) = tree(&["/bin/ed", "/bin/vi", "/usr/share/man/vi.1"]);
        drop_missing(&tree).unwrap();
        assert_eq!(target(&tree, "/etc/alternatives/editor").as_deref(), Some("/bin/vi"));
        assert_eq!(target(&tree, "/etc/alternatives/editor.1").as_deref(), Some("/usr/share/man/vi.1"));
        let text = tree.read(&"/var/lib/dpkg/alternatives/editor".into()).unwrap();
        assert_eq!(Group::parse(std::str::from_utf8(&text).unwrap()).unwrap().choices.len(), 2);
    }

    #[test]
    fn a_choice_without_a_slave_takes_the_slaves_link_away() {
        let (_folder, tree) = tree(&["/bin/ed"]);
        drop_missing(&tree).unwrap();
        assert_eq!(target(&tree, "/etc/alternatives/editor").as_deref(), Some("/bin/ed"));
        assert_eq!(
            (target(&tree, "/etc/alternatives/editor.1"), target(&tree, "/usr/share/man/editor.1")),
            (None, None)
        );
    }

    #[test]
    fn a_group_goes_with_its_last_choice() {
        let (_folder, tree) = tree(&[]);
        drop_missing(&tree).unwrap();
        for path in [
            "/usr/bin/editor",
            "/etc/alternatives/editor",
            "/usr/share/man/editor.1",
            "/var/lib/dpkg/alternatives/editor",
        ] {
            assert!(tree.entry(&path.into()).unwrap().is_none(), "{path}");
        }
    }

    #[test]
    fn a_group_that_is_whole_is_not_touched() {
        let (_folder, tree) = tree(&["/bin/ed", "/bin/vi", "/bin/nano"]);
        drop_missing(&tree).unwrap();
        assert_eq!(target(&tree, "/etc/alternatives/editor").as_deref(), Some("/bin/nano"));
        assert_eq!(tree.read(&"/var/lib/dpkg/alternatives/editor".into()).unwrap(), EDITOR.as_bytes());
    }
}
