//! A small tree to run programs in, and plans to change it by.

use std::path::Path;

use ingot::host::rooted::RootPath;
use ingot::host::sandbox::Sandbox;
use ingot::plan::{Choices, Plan};
use ingot::report::Reporter;
use ingot::root::RootTree;

use crate::support::{Turn, scratch, together};

/// A tree that borrows the host's programs: /usr bound read-only, the rest its own.
pub struct Tree {
    folder: tempfile::TempDir,
    _turn: Turn,
}

impl Tree {
    pub fn new() -> Tree {
        let folder = scratch();
        for name in ["usr", "dev", "proc", "sys", "run", "tmp", "root", "etc"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
        }
        // Only there for who looks from outside; programs see the host's.
        std::fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        std::fs::create_dir_all(folder.path().join("usr/lib")).unwrap();
        std::fs::write(folder.path().join("usr/bin/bash"), "").unwrap();
        Tree { folder, _turn: together() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.path()).bind(Path::new("/usr"), &RootPath::new("/usr"))
    }

    /// Status and both outputs of a shell script.
    pub fn shell(&self, script: &str) -> (i32, String) {
        let ended = self.sandbox().run_to_end(&Reporter::silent(), &["sh", "-c", script], |_| {}).unwrap();
        let said = [ended.output.stdout, ended.output.stderr].concat();
        (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    pub fn says(&self, script: &str) -> String {
        let (status, said) = self.shell(script);
        assert_eq!(status, 0, "{script}: {said}");
        said.trim_end().to_string()
    }

    pub fn fails(&self, script: &str) -> String {
        let (status, said) = self.shell(script);
        assert_ne!(status, 0, "{script}: {said}");
        said
    }
}

impl Tree {
    /// Writes a file and the folders above it.
    pub fn write(&self, path: &str, content: &str) {
        self.tree().write(&path.into(), content, 0o644).unwrap();
    }

    /// The tree as the stages see it.
    pub fn tree(&self) -> RootTree {
        RootTree::open(self.path()).unwrap()
    }

    /// Everything but /usr: mode, owner and path a line; a symlink's target, a file's text.
    pub fn listing(&self, folder: &str) -> String {
        let tree = self.tree();
        let mut lines = String::new();
        for entry in tree.walk(&folder.into()).unwrap() {
            let more = match &entry.kind {
                ingot::root::tree::Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
                ingot::root::tree::Kind::File => {
                    format!(" {:?}", String::from_utf8_lossy(&tree.read(&entry.path).unwrap()))
                }
                _ => String::new(),
            };
            lines.push_str(&format!("{:o} {}:{} {}{more}\n", entry.mode, entry.uid, entry.gid, entry.path));
        }
        lines
    }
}

/// The plan of a container whose description, in `folder`, has `body` beside what every description needs.
pub fn plan(folder: &Path, body: &str) -> Plan {
    let xml = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="grown">
  <description type="system"><author>A</author><contact>a@example.org</contact><specification>S</specification></description>
  <preferences><version>1.2.3</version><packagemanager>apt</packagemanager><type image="docker"/></preferences>
  <repository type="apt-deb" distribution="x" components="main"><source path="http://localhost/"/></repository>
  {body}
  <packages type="bootstrap"><package name="base-files"/></packages>
</image>
"#
    );
    std::fs::write(folder.join("config.xml"), xml).unwrap();
    let choices = Choices { arch: "x86_64".into(), source_date_epoch: Some(1_700_000_000), ..Choices::default() };
    let description = ingot::description::load(folder).unwrap_or_else(|problems| panic!("{problems:?}"));
    ingot::plan::make(&description, &choices).unwrap_or_else(|problems| panic!("{problems:?}"))
}
