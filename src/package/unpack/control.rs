//! A package's control archive: its fields, its scripts, and the lists that dpkg acts on.
//!
//! In: the control archive, decompressed. Out: [`Control`]. Reads everything into memory, within bounds; never runs
//! anything.

use std::io::Read;

use super::names::entry_name;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::Kind;
use crate::host::untar::{Dialect, Members, What};
use crate::package::deb822::{self, Stanza};

/// Most bytes of one control file, and of all together.
const MOST: u64 = 64 << 20;

/// A file of the control archive, as it goes to dpkg's info folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// `postinst`, `md5sums`, ...
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// What happens to a conffile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConffileFlag {
    /// It is in the package.
    Shipped,
    /// It is not, and a later version's upgrade removes it (deb-conffiles(5)).
    RemoveOnUpgrade,
}

/// A line of `conffiles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConffileLine {
    /// Absolute path.
    pub path: Vec<u8>,
    /// What happens to it.
    pub flag: ConffileFlag,
}

/// Whether whoever activates a trigger waits for its processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// It does.
    Await,
    /// It does not.
    NoAwait,
}

/// A line of `triggers` (deb-triggers(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// The package is interested in a trigger.
    Interest(String, Awaiting),
    /// The package activates it when its state changes.
    Activate(String, Awaiting),
}

/// Whether several architectures of a package are installed beside each other (`Multi-Arch: same`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// One at a time.
    One,
    /// One for each architecture: names in dpkg's database carry it.
    EachArchitecture,
}

impl Instances {
    /// By the package's fields.
    pub fn of(stanza: &Stanza) -> Instances {
        match stanza.text("Multi-Arch").trim().eq_ignore_ascii_case("same") {
            true => Instances::EachArchitecture,
            false => Instances::One,
        }
    }
}

/// A package's control archive.
#[derive(Clone, Debug)]
pub struct Control {
    /// The fields of `control`.
    pub stanza: Stanza,
    /// Package name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// `amd64`, `all`.
    pub arch: String,
    /// See [`Instances`].
    pub instances: Instances,
    /// All files but `control`, in the archive's order.
    pub files: Vec<ControlFile>,
    /// The lines of `conffiles`.
    pub conffiles: Vec<ConffileLine>,
    /// The lines of `triggers`.
    pub triggers: Vec<Directive>,
}

impl Control {
    /// Reads the control archive of the package `archive`, a name for messages. 65 for one that dpkg refuses, too.
    pub fn read(input: impl Read, archive: &str) -> Result<Control> {
        let broken = |why: String| Error::cannot(Exit::Description, format!("unpack {archive}")).because(why);
        let mut members = Members::new(input);
        let (mut control, mut files, mut total) = (None, Vec::<ControlFile>::new(), 0);
        let reading = |error: std::io::Error| broken(format!("its control archive cannot be read: {error}"));
        while let Some(member) = members.next_member().map_err(reading)? {
            let path = entry_name(&member.name).map_err(|why| broken(format!("its control archive: {why}")))?;
            match &member.what {
                What::Is(Kind::Folder) if path == b"/." => continue,
                What::Is(Kind::File) if member.dialect == Dialect::Plain => {}
                _ => {
                    let shown = member.name.escape_ascii();
                    return Err(broken(format!("its control archive holds something odd: `{shown}`")));
                }
            }
            let name = path.strip_prefix(b"/").and_then(|name| std::str::from_utf8(name).ok());
            let Some(name) = name.filter(|name| !name.contains('/')) else {
                return Err(broken("its control archive holds a folder or a name that is not UTF-8".into()));
            };
            total += member.size;
            if total > MOST {
                return Err(broken("its control archive is larger than 64 MiB".into()));
            }
            let mut content = Vec::with_capacity(member.size as usize);
            members.read_to_end(&mut content).or_cannot(|| format!("read {archive}"))?;
            if name == "control" {
                control = Some(content);
                continue;
            }
            files.retain(|file| file.name != name);
            files.push(ControlFile {
                name: name.to_string(),
                content,
                mode: member.mode,
                uid: member.uid,
                gid: member.gid,
                mtime: member.mtime,
            });
        }
        let control = control.ok_or_else(|| broken("it has no control file".into()))?;
        let text = String::from_utf8(control).map_err(|_| broken("its control file is not UTF-8".into()))?;
        let mut stanzas = deb822::parse(&text).map_err(|malformed| broken(format!("its control file, {malformed}")))?;
        if stanzas.len() != 1 {
            return Err(broken(format!("its control file has {} paragraphs instead of one", stanzas.len())));
        }
        let stanza = stanzas.remove(0);
        let field = |name: &str| match stanza.text(name).trim() {
            "" => Err(broken(format!("its control file has no field `{name}`"))),
            value => Ok(value.to_string()),
        };
        let (name, version, arch) = (field("Package")?, field("Version")?, field("Architecture")?);
        let mut control = Control {
            instances: Instances::of(&stanza),
            stanza,
            name,
            version,
            arch,
            files,
            conffiles: Vec::new(),
            triggers: Vec::new(),
        };
        control.conffiles = conffiles(control.content("conffiles")).map_err(broken)?;
        control.triggers = directives(control.content("triggers")).map_err(broken)?;
        Ok(control)
    }

    /// Whether there is a control file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// The control file of this name; empty where there is none.
    fn content(&self, name: &str) -> &[u8] {
        self.files.iter().find(|file| file.name == name).map_or(&[], |file| file.content.as_slice())
    }

    /// The name under which dpkg keeps its files: `bash`, `libc6:amd64`.
    pub fn qualified_name(&self) -> String {
        match self.instances {
            Instances::One => self.name.clone(),
            Instances::EachArchitecture => format!("{}:{}", self.name, self.arch),
        }
    }
}

fn conffiles(text: &[u8]) -> Result<Vec<ConffileLine>, String> {
    let mut found = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err("the last line of its `conffiles` does not end".into());
        };
        let line = line.trim_ascii_end();
        let bad = || format!("its `conffiles` has the line `{}`", line.escape_ascii());
        let (flag, path) = match line.strip_prefix(b"remove-on-upgrade ") {
            _ if line.is_empty() => continue,
            Some(path) => (ConffileFlag::RemoveOnUpgrade, path),
            None => (ConffileFlag::Shipped, line),
        };
        if !path.starts_with(b"/") {
            return Err(bad());
        }
        found.push(ConffileLine { path: entry_name(path).map_err(|_| bad())?, flag });
    }
    Ok(found)
}

fn directives(text: &[u8]) -> Result<Vec<Directive>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "its `triggers` is not UTF-8".to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let bad = || format!("its `triggers` has the line `{line}`");
            let (directive, trigger) = line.split_once([' ', '\t']).ok_or_else(bad)?;
            let trigger = trigger.trim_start();
            if !is_trigger(trigger) {
                return Err(bad());
            }
            let trigger = trigger.to_string();
            Ok(match directive {
                "interest" | "interest-await" => Directive::Interest(trigger, Awaiting::Await),
                "interest-noawait" => Directive::Interest(trigger, Awaiting::NoAwait),
                "activate" | "activate-await" => Directive::Activate(trigger, Awaiting::Await),
                "activate-noawait" => Directive::Activate(trigger, Awaiting::NoAwait),
                _ => return Err(bad()),
            })
        })
        .collect()
}

/// A path without doubled or trailing slashes, or something like a package's name.
fn is_trigger(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    match name.strip_prefix('/') {
        Some(path) => path.split('/').all(|part| !part.is_empty()) && path.bytes().all(|byte| byte.is_ascii_graphic()),
        None => name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1);
            builder.append_data(&mut header, format!("./{name}"), content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const CONTROL: &str = "Package: a\nVersion: 1:2-3\nArchitecture: amd64\nMulti-Arch: same\n";

    #[test]
    fn fields_conffiles_and_triggers_are_read() {
        let bytes = archive(&[
            ("control", CONTROL),
            ("conffiles", "/etc/a \n\nremove-on-upgrade /etc/old\n"),
            ("triggers", "# x\n interest /usr/share/a\nactivate-noawait ldconfig\n"),
            ("postinst", "#!/bin/sh\n"),
        ]);
        let control = Control::read(bytes.as_slice(), "a.deb").unwrap();
        assert_eq!((control.qualified_name().as_str(), control.version.as_str()), ("a:amd64", "1:2-3"));
        assert_eq!(
            control.conffiles,
            [
                ConffileLine { path: b"/etc/a".to_vec(), flag: ConffileFlag::Shipped },
                ConffileLine { path: b"/etc/old".to_vec(), flag: ConffileFlag::RemoveOnUpgrade },
            ]
        );
        assert_eq!(
            control.triggers,
            [
                Directive::Interest("/usr/share/a".into(), Awaiting::Await),
                Directive::Activate("ldconfig".into(), Awaiting::NoAwait),
            ]
        );
        let names: Vec<&str> = control.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["conffiles", "triggers", "postinst"]);
    }

    #[test]
    fn what_dpkg_refuses_is_refused() {
        for (files, why) in [
            (vec![("md5sums", "")], "no control file"),
            (vec![("control", "Package: a\nVersion: 1\n")], "no field `Architecture`"),
            (vec![("control", "Package: a\n\nVersion: 1\n")], "2 paragraphs"),
            (vec![("control", "what\n")], "line 1"),
            (vec![("control", CONTROL), ("conffiles", "/etc/a")], "does not end"),
            (vec![("control", CONTROL), ("conffiles", "etc/a\n")], "etc/a"),
            (vec![("control", CONTROL), ("conffiles", "/etc/../a\n")], "etc/../a"),
            (vec![("control", CONTROL), ("triggers", "interest\n")], "interest"),
            (vec![("control", CONTROL), ("triggers", "wish x\n")], "wish x"),
            (vec![("control", CONTROL), ("triggers", "interest ../status\n")], "../status"),
            (vec![("control", CONTROL), ("triggers", "interest /a/\n")], "/a/"),
            (vec![("control", CONTROL), ("x/y", "")], "folder"),
        ] {
            let error = Control::read(archive(&files).as_slice(), "a.deb").unwrap_err();
            assert!(error.to_string().contains(why), "{error}: {why}");
        }
    }
}
