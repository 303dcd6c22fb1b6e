//! Descriptions of images in the tiny world, and the built `ingot` that casts them.
//!
//! In: XML that a test edits, files that it adds. Out: a folder that `ingot` reads, and what `ingot` answered.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::leaks::Host;
use super::server::Server;
use super::world::{SUITE, World};

/// The tiny world, a mirror of it, and a folder in which one test's builds take place.
pub struct Bench {
    /// The repository and its keys.
    pub world: World,
    /// What `mirror://tiny` is.
    pub mirror: Server,
    folder: tempfile::TempDir,
}

impl Bench {
    /// With a mirror that behaves.
    pub fn new() -> Bench {
        let world = World::open();
        let mirror = Server::start(world.repository());
        Bench::with_mirror(mirror)
    }

    /// With this mirror.
    pub fn with_mirror(mirror: Server) -> Bench {
        let bench = Bench { world: World::open(), mirror, folder: super::scratch() };
        for name in ["work", "cache"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        bench
    }

    /// A path in the bench's folder: `work` is the scratch space of builds, `cache` their cache, `out` the target.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The host and this folder as they are now.
    pub fn look(&self) -> Host {
        Host::look(&[&self.path(""), &self.path("work")])
    }

    /// See [`Host::assert_nothing_left`]: neither on the host nor beside the target nor in the scratch space.
    #[track_caller]
    pub fn assert_nothing_left(&self, before: &Host) {
        before.assert_nothing_left(&[&self.path(""), &self.path("work")]);
    }

    /// See [`Description::container`].
    pub fn container(&self) -> Description {
        Description::container(&self.world, &self.path("image"))
    }

    /// See [`Description::disk`].
    pub fn disk(&self) -> Description {
        Description::disk(&self.world, &self.path("image"))
    }

    /// `ingot build DESCRIPTION` into `out`.
    pub fn build(&self, description: &Description) -> Ingot {
        self.build_into(description, "out")
    }

    /// `ingot build DESCRIPTION` into another folder of the bench.
    pub fn build_into(&self, description: &Description, target: &str) -> Ingot {
        Ingot::new(["build"])
            .arg(description.folder())
            .arg("--target-dir")
            .arg(self.path(target))
            .arg("--mirror")
            .arg(format!("tiny={}", self.mirror.url()))
            .env("INGOT_CACHE_DIR", self.path("cache").to_str().unwrap())
            .env("INGOT_WORK_DIR", self.path("work").to_str().unwrap())
    }
}

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

    /// With this config.xml.
    pub fn of(folder: &Path, xml: &str) -> Description {
        fs::create_dir_all(folder).unwrap();
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

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Ingot {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Ingot {
        self.command.args(arguments);
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
        self.after(&format!("umask {mask:04o}"))
    }

    /// Runs after a line of shell has changed the process (`umask 077`, `ulimit -n 64`).
    pub fn after(self, line: &str) -> Ingot {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{line}; exec \"$@\"")).arg("sh");
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
        Answer::of(&mut self.command)
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
    /// Runs a command that ends as `ingot` does.
    pub fn of(command: &mut Command) -> Answer {
        let output = command.output().unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Panics with the whole output unless it ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Answer {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics with the whole output unless it ended with one of these exit codes.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Answer {
        let good = self.code.is_some_and(|code| codes.contains(&code));
        assert!(good, "{:?} is none of {codes:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr);
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

/// Names and SHA-256 of all files in `folder`, except logs, which hold times.
pub fn digests(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files =
        entries.flatten().filter(|entry| entry.path().is_file() && !entry.path().to_string_lossy().ends_with(".log"));
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), super::world::sha256(&fs::read(entry.path()).unwrap())))
        .collect()
}

/// Every regular file of an archive, unpacked with GNU tar below `folder`, archives and gzip inside it unpacked too.
pub fn unpack(archive: &Path, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let tar = ["--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "--file"];
    let status = Command::new("tar").args(tar).arg(archive).arg("--directory").arg(folder).status().unwrap();
    assert!(status.success(), "GNU tar cannot unpack {}", archive.display());
}

/// The root filesystem in a docker archive, unpacked with GNU tar into `folder`.
pub fn unpack_docker(archive: &Path, folder: &Path) {
    let outer = folder.with_extension("outer");
    unpack(archive, &outer);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(outer.join("manifest.json")).unwrap()).unwrap();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        unpack(&outer.join(layer.as_str().unwrap()), folder);
    }
    fs::remove_dir_all(outer).unwrap();
}

/// Where the partitions of a raw disk are: `(number, start, length)` in bytes, as sfdisk reads them.
pub fn partitions(raw: &Path) -> Vec<(String, u64, u64)> {
    let output = Command::new("sfdisk").arg("--json").arg(raw).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let table = &table["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    let partitions = table["partitions"].as_array().unwrap().iter();
    partitions
        .map(|partition| {
            let number = |name: &str| partition[name].as_u64().unwrap() * sector;
            (partition["name"].as_str().unwrap_or_default().to_string(), number("start"), number("size"))
        })
        .collect()
}

/// Panics unless `ingot cache list` names each folder of a cache in which there is something, these among them, `verify`
/// finds it sound and `gc` leaves nothing but locks.
#[track_caller]
pub fn assert_cache_is_looked_after(cache: &Path, folders: &[&str]) {
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
        entries.flat_map(below).filter(|path| path.file_name() != Some(OsStr::new("lock"))).collect()
    }
    let ingot = |words: &[&str]| Ingot::new(["cache"]).args(words).arg("--cache-dir").arg(cache).run();
    let left = files(cache);
    for folder in folders {
        assert!(left.iter().any(|path| path.starts_with(cache.join(folder))), "nothing is kept in {folder}: {left:?}");
    }
    let listed: serde_json::Value = serde_json::from_str(&ingot(&["list", "--json"]).expect(0).stdout).unwrap();
    let kinds = listed.as_object().unwrap().values().filter(|kind| kind["count"].as_u64() > Some(0));
    let named = kinds.flat_map(|kind| kind["folders"].as_array().unwrap()).map(|folder| folder.as_str().unwrap());
    let named: Vec<PathBuf> = named.chain(["stages"]).map(|folder| cache.join(folder)).collect();
    for path in &left {
        assert!(named.iter().any(|folder| path.starts_with(folder)), "{} is in none of {named:?}", path.display());
    }
    ingot(&["verify"]).expect(0);
    ingot(&["gc", "--limit", "0"]).expect(0);
    assert_eq!(files(cache), Vec::<PathBuf>::new());
}

/// The root filesystem of a raw disk, the last partition, as a file of its own (sparse).
pub fn root_filesystem(raw: &Path, to: &Path) {
    let (_, start, length) = partitions(raw).pop().unwrap();
    let status = Command::new("dd")
        .args(["bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes"])
        .args([format!("skip={start}"), format!("count={length}")])
        .arg(format!("if={}", raw.display()))
        .arg(format!("of={}", to.display()))
        .status()
        .unwrap();
    assert!(status.success());
}
