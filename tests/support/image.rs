//! Descriptions of images in the tiny world, and the built `ingot` that casts them.
//!
//! In: XML that a test edits, files that it adds. Out: a folder that `ingot` reads, and what `ingot` answered.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::world::{SUITE, World};

/// A folder with a description of an image of the tiny world.
pub struct Description {
    folder: PathBuf,
}

impl Description {
    /// A container (`docker`) of about ten packages with a package manager.
    pub fn container(world: &World, folder: &Path) -> Description {
        let config =
            "<containerconfig name=\"tiny\" tag=\"1\"><entrypoint execute=\"/usr/bin/tiny-app\"/></containerconfig>";
        Description::write(world, folder, &format!("<type image=\"docker\">{config}</type>"), "")
    }

    /// A disk (`oem`, qcow2) with ext4 that claims to start from BIOS and UEFI.
    pub fn disk(world: &World, folder: &Path) -> Description {
        let kind = "<type image=\"oem\" filesystem=\"ext4\" format=\"qcow2\" firmware=\"efi\" \
                    kernelcmdline=\"console=ttyS0\">\
                    <bootloader name=\"grub2\" timeout=\"1\"/>\
                    <oemconfig><oem-resize>false</oem-resize></oemconfig></type>";
        let packages = ["linux-image-tiny", "systemd-sysv", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin"];
        let packages = packages.map(|name| format!("<package name=\"{name}\"/>")).concat();
        Description::write(world, folder, kind, &packages)
    }

    fn write(world: &World, folder: &Path, kind: &str, packages: &str) -> Description {
        fs::create_dir_all(folder).unwrap();
        fs::copy(world.key(), folder.join("tiny.asc")).unwrap();
        let xml = format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="tiny">
  <description type="system">
    <author>Tiny World</author>
    <contact>tiny@example.org</contact>
    <specification>An image of the tiny world</specification>
  </description>
  <preferences>
    <version>1.2.3</version>
    <packagemanager>apt</packagemanager>
    {kind}
  </preferences>
  <repository type="apt-deb" alias="tiny" distribution="{SUITE}" components="main">
    <source path="mirror://tiny"><signing key="this://tiny.asc"/></source>
  </repository>
  <packages type="bootstrap">
    <package name="passwd"/>
  </packages>
  <packages type="image">
    <package name="tiny-app"/>
    {packages}
  </packages>
</image>
"#
        );
        fs::write(folder.join("config.xml"), xml).unwrap();
        Description { folder: folder.to_path_buf() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text of config.xml.
    pub fn xml(&self) -> String {
        fs::read_to_string(self.folder.join("config.xml")).unwrap()
    }

    /// Replaces a part of config.xml that must be there exactly once.
    #[track_caller]
    pub fn edit(self, old: &str, new: &str) -> Description {
        let xml = self.xml();
        assert_eq!(xml.matches(old).count(), 1, "{old:?} in\n{xml}");
        fs::write(self.folder.join("config.xml"), xml.replacen(old, new, 1)).unwrap();
        self
    }

    /// Adds a package to the image.
    pub fn package(self, name: &str) -> Description {
        self.edit("<package name=\"tiny-app\"/>", &format!("<package name=\"tiny-app\"/><package name=\"{name}\"/>"))
    }

    /// Adds a file beside config.xml.
    pub fn file(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Description {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Adds a script (`config.sh`) that stops at its first error.
    pub fn script(self, name: &str, body: &str) -> Description {
        let description = self.file(name, format!("#!/bin/sh\nset -e\n{body}\n"));
        let path = description.folder.join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        description
    }
}

/// A call of the built `ingot`.
pub struct Ingot {
    command: Command,
}

impl Ingot {
    /// `ingot ARGUMENTS`, with a clean environment.
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ingot {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingot"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        // A person's own mirrors and cache are no part of a test.
        command.env("HOME", "/nonexistent");
        Ingot { command }
    }

    /// `ingot build DESCRIPTION --target-dir TARGET --cache-dir CACHE --mirror tiny=MIRROR`.
    pub fn build(description: &Path, target: &Path, cache: &Path, mirror: &str) -> Ingot {
        let ingot = Ingot::new(["build"]).arg(description).arg("--target-dir").arg(target);
        ingot.arg("--cache-dir").arg(cache).arg("--mirror").arg(format!("tiny={mirror}"))
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Ingot {
        self.command.arg(argument);
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Ingot {
        self.command.env(name, value);
        self
    }

    /// The working directory.
    pub fn in_folder(mut self, folder: &Path) -> Ingot {
        self.command.current_dir(folder);
        self
    }

    /// Runs under another umask.
    pub fn umask(self, mask: u32) -> Ingot {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {mask:04o}; exec \"$@\"")).arg("sh");
        shell.arg(self.command.get_program()).args(self.command.get_args()).env_clear().stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = self.command.get_current_dir() {
            shell.current_dir(folder);
        }
        Ingot { command: shell }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Answer {
        let output = self.command.output().unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts it in a process group of its own, with its output thrown away.
    pub fn spawn(mut self) -> Child {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
    }
}

/// How a call of `ingot` ended.
#[derive(Debug)]
pub struct Answer {
    /// Exit code; none: killed.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Answer {
    /// Panics with the whole output unless it ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Answer {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless stderr has all of these parts.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Answer {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in\n{}", self.stderr);
        }
        self
    }
}

/// The one file in `folder` whose name ends so.
#[track_caller]
pub fn result(folder: &Path, end: &str) -> PathBuf {
    let all = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = all.flatten().map(|entry| entry.path()).collect();
    found.sort();
    let names = format!("{found:?}");
    found.retain(|path| path.to_string_lossy().ends_with(end));
    assert_eq!(found.len(), 1, "one *{end} in {names}");
    found.remove(0)
}
