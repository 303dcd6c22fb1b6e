//! Descriptions of images of the tiny RPM world, and where they are built.
//!
//! In: [`RpmWorld`], a server. Out: a folder in which one test's builds take place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::{Description, Ingot, unpack_docker};
use super::rpm::RpmWorld;
use super::server::Server;

/// The tiny RPM world, a mirror of it, and a folder of one test.
pub struct RpmBench {
    /// The repository and its keys.
    pub world: RpmWorld,
    /// What `mirror://tiny` is.
    pub mirror: Server,
    folder: tempfile::TempDir,
}

impl RpmBench {
    /// With a mirror that behaves.
    pub fn new() -> RpmBench {
        let mirror = Server::start(RpmWorld::open().repository());
        RpmBench::with_mirror(mirror)
    }

    /// With this mirror.
    pub fn with_mirror(mirror: Server) -> RpmBench {
        let bench = RpmBench { world: RpmWorld::open(), mirror, folder: super::scratch() };
        for name in ["work", "cache"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        bench
    }

    /// A path in the bench's folder: `work` is the scratch space of builds, `cache` their cache, `out` the target.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A container (`docker`) of about ten packages that this manager installs.
    pub fn container(&self, manager: &str) -> Description {
        let xml = format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="tiny">
  <description type="system">
    <author>Tiny World</author>
    <contact>tiny@example.org</contact>
    <specification>An image of the tiny RPM world</specification>
  </description>
  <preferences>
    <version>1.2.3</version>
    <packagemanager>{manager}</packagemanager>
    <type image="docker"><containerconfig name="tiny" tag="1"><entrypoint execute="/usr/bin/tiny-app"/></containerconfig></type>
  </preferences>
  <repository type="rpm-md" alias="tiny">
    <source path="mirror://tiny"><signing key="this://tiny.asc"/></source>
  </repository>
  <packages type="bootstrap">
    <package name="filesystem"/>
    <package name="busybox"/>
  </packages>
  <packages type="image">
    <package name="tiny-app"/>
  </packages>
</image>
"#
        );
        let folder = self.path("image");
        let _ = fs::remove_dir_all(&folder);
        let description = Description::of(&folder, &xml);
        fs::copy(self.world.key(), folder.join("tiny.asc")).unwrap();
        description
    }

    /// `ingot build DESCRIPTION` into a folder of the bench.
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

    /// The same into `out`.
    pub fn build(&self, description: &Description) -> Ingot {
        self.build_into(description, "out")
    }

    /// The tree of a docker archive in `out`, unpacked.
    pub fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        let _ = fs::remove_dir_all(&tree);
        unpack_docker(&super::image::result(&self.path("out"), ".docker.tar"), &tree);
        tree
    }
}

/// The host's rpm on a tree: what it says on both channels.
pub fn rpm(tree: &Path, words: &[&str]) -> String {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(tree).args(["--dbpath", "/usr/lib/sysimage/rpm"]).args(words).env("LC_ALL", "C");
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
