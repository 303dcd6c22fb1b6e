//! The tiny RPM world: a signed rpm-md repository of some thirty hand-made packages, made once per host and kept in the
//! target folder.
//!
//! In: the spec files in `rpm/`, this host's rpmbuild, C compiler and static busybox, and keys made on the spot. Out:
//! [`RpmWorld`], from which a test takes the folder or starts a server, and which it copies to spoil it. Never touches
//! the network nor the host's rpm database.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::once::made_once;
use super::packages::DATE;

/// What the world is made and spoilt with, for `need!`.
macro_rules! need_rpm_world {
    () => {
        $crate::support::need!("rpmsign", "rpm", "createrepo_c", "modifyrepo_c", "gpg");
        if std::env::var_os($crate::support::rpm::MADE).is_none() {
            $crate::support::need!("rpmbuild", "cc", "busybox");
        }
    };
}
pub(crate) use need_rpm_world;

/// The environment variable that names a world which somebody else made: another host's programs would make another one.
pub const MADE: &str = "INGOT_TEST_RPM_WORLD";

/// Where the repository is, and what belongs to it.
pub struct RpmWorld {
    folder: PathBuf,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Whose key is [`RpmWorld::key`].
    Own,
    /// Whose key is [`RpmWorld::other_key`].
    Other,
    /// Whose key is [`RpmWorld::expired_key`]: it was valid for a year when it signed.
    Expired,
}

impl Signer {
    const ALL: [Signer; 3] = [Signer::Own, Signer::Other, Signer::Expired];

    fn name(self) -> &'static str {
        match self {
            Signer::Own => "tiny",
            Signer::Other => "other",
            Signer::Expired => "expired",
        }
    }

    fn gpg(self, home: &Path) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--yes"]);
        if self == Signer::Expired {
            command.args(["--faked-system-time", "20200101T000000"]);
        }
        command.arg("--homedir").arg(home).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Release of the kernel stand-in `kernel-default`.
pub const KERNEL_RELEASE: &str = "6.1.0-1-default";

/// What busybox is also called in the tiny RPM world.
const APPLETS: &[&str] = &[
    "[", "ash", "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "dirname", "du", "echo",
    "env", "expr", "false", "find", "grep", "gzip", "head", "hostname", "id", "init", "install", "kill", "ln", "ls",
    "mkdir", "mknod", "mktemp", "mount", "mv", "poweroff", "printf", "ps", "pwd", "readlink", "realpath", "rm",
    "rmdir", "sed", "seq", "sh", "sleep", "sort", "stat", "sync", "tail", "tar", "test", "touch", "tr", "true",
    "umount", "uname", "uniq", "wc", "xargs",
];

impl RpmWorld {
    /// Opens the tiny RPM world; makes it where it is missing or was made by other code or other programs.
    pub fn open() -> RpmWorld {
        if let Some(made) = std::env::var_os(MADE) {
            return RpmWorld { folder: made.into() };
        }
        RpmWorld { folder: made_once("rpmworld", &identity(), make) }
    }

    /// Where it is, for [`MADE`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The repository: packages and `repodata/`; read-only for tests, which [`copy`](RpmWorld::copy) it to spoil it.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// The public key that signed packages and metadata (ASCII armour).
    pub fn key(&self) -> PathBuf {
        self.key_of(Signer::Own)
    }

    /// A public key that signed nothing.
    pub fn other_key(&self) -> PathBuf {
        self.key_of(Signer::Other)
    }

    /// A public key that expired years ago.
    pub fn expired_key(&self) -> PathBuf {
        self.key_of(Signer::Expired)
    }

    fn key_of(&self, signer: Signer) -> PathBuf {
        self.folder.join(format!("{}.asc", signer.name()))
    }

    /// A copy of the repository in `folder` that may be spoilt. Files are hard links: replace, never rewrite them.
    pub fn copy(&self, folder: &Path) {
        let status = Command::new("cp").arg("-al").arg(self.repository()).arg(folder).status().unwrap();
        assert!(status.success());
    }

    /// A copy whose metadata nobody signed; its packages are signed.
    pub fn unsigned_metadata(&self, folder: &Path) {
        self.copy(folder);
        fs::remove_file(folder.join("repodata/repomd.xml.asc")).unwrap();
        fs::remove_file(folder.join("repodata/repomd.xml.key")).unwrap();
    }

    /// A copy whose metadata somebody else signed.
    pub fn metadata_signed_by(&self, signer: Signer, folder: &Path) {
        self.copy(folder);
        self.sign(signer, folder);
    }

    /// A copy in which one package is not what the signed metadata says: a byte in its middle is another one.
    pub fn tampered(&self, name: &str, folder: &Path) {
        self.copy(folder);
        let path = folder.join(self.package(name));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        replace(&path, &bytes);
    }

    /// A copy in which one package is signed by somebody else, or by nobody; metadata names it and is signed.
    pub fn forged(&self, name: &str, signer: Option<Signer>, folder: &Path) {
        self.copy(folder);
        let path = folder.join(self.package(name));
        replace(&path, &fs::read(&path).unwrap());
        let output = Command::new("rpmsign").arg("--delsign").arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        if let Some(signer) = signer {
            sign_packages(&self.folder, signer, &[path]);
        }
        self.index(folder);
        self.sign(Signer::Own, folder);
    }

    /// Builds the packages of a spec into `folder`, signed, with `--define` for each of `macros`.
    pub fn build(&self, spec: &Path, macros: &[(&str, &str)], folder: &Path) {
        let scratch = tempfile::Builder::new().prefix("test-rpmbuild-").tempdir_in(super::scratch_root()).unwrap();
        let made = rpmbuild(scratch.path(), &[spec], macros, folder);
        sign_packages(&self.folder, Signer::Own, &made);
    }

    /// Makes the metadata of the packages in `folder` anew; nobody signed it.
    pub fn index(&self, folder: &Path) {
        index(folder, DATE);
    }

    /// The same, of another date.
    pub fn index_at(&self, folder: &Path, date: i64) {
        index(folder, date);
    }

    /// Signs the metadata in `folder`, and lays the key beside it.
    pub fn sign(&self, signer: Signer, folder: &Path) {
        sign_metadata(&self.folder, signer, folder);
    }

    /// The file name of a package in the repository: `tiny-app-2.0-3.x86_64.rpm`.
    pub fn package(&self, name: &str) -> String {
        let mut found: Vec<String> = packages_in(&self.repository())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
            // NAME-VERSION-RELEASE.ARCH.rpm: a name may hold dashes, too.
            .filter(|file| file.rsplitn(3, '-').nth(2) == Some(name))
            .collect();
        found.sort();
        found.pop().unwrap_or_else(|| panic!("no package {name}"))
    }
}

/// Another file under the same name: what a hard link shares stays as it is.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Everything that shapes the packages: this code, and the programs of this host that go into them.
fn identity() -> String {
    let mut hash = Sha256::new();
    for text in [include_str!("rpm.rs"), include_str!("rpm/tiny.spec"), include_str!("rpm/others.spec")] {
        hash.update(text);
    }
    for text in [include_str!("rpm/modular.spec"), include_str!("rpm/comps.xml"), include_str!("rpm/modules.yaml")] {
        hash.update(text);
    }
    hash.update(fs::read(super::program("busybox").unwrap()).unwrap());
    let rpm = Command::new("rpmbuild").arg("--version").output().unwrap();
    hash.update(&rpm.stdout);
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn make(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let scratch = folder.join("scratch");
    let repository = folder.join("repository");
    fs::create_dir_all(&scratch).unwrap();
    fs::create_dir_all(&repository).unwrap();
    for signer in Signer::ALL {
        make_key(folder, signer);
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rpm");
    let hello = scratch.join("hello");
    let cc = Command::new("cc").args(["-Os", "-s", "-static", "-o"]).arg(&hello).arg(sources.join("hello.c")).status();
    assert!(cc.unwrap().success(), "cc cannot link statically");
    let applets = scratch.join("applets");
    fs::write(&applets, APPLETS.iter().map(|name| format!("/usr/bin/{name}\n")).collect::<String>()).unwrap();
    let busybox = super::program("busybox").unwrap();
    let key = folder.join("tiny.asc");
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let macros = [
        ("tiny_busybox", text(&busybox)),
        ("tiny_applets", text(&applets)),
        ("tiny_hello", text(&hello)),
        ("tiny_key", text(&key)),
        ("tiny_backend", "sqlite".to_string()),
    ];
    let macros: Vec<(&str, &str)> = macros.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let specs = ["tiny.spec", "others.spec", "modular.spec"].map(|name| sources.join(name));
    let specs: Vec<&Path> = specs.iter().map(PathBuf::as_path).collect();
    let made = rpmbuild(&scratch, &specs, &macros, &repository);
    sign_packages(folder, Signer::Own, &made);
    fs::remove_dir_all(scratch).unwrap();
    index(&repository, DATE);
    sign_metadata(folder, Signer::Own, &repository);
}

/// Builds binary packages into `target`; returns their paths.
fn rpmbuild(scratch: &Path, specs: &[&Path], macros: &[(&str, &str)], target: &Path) -> Vec<PathBuf> {
    let built = scratch.join("RPMS");
    let top = format!("_topdir {}", scratch.display());
    let into = format!("_rpmdir {}", built.display());
    let fixed = [
        top.as_str(),
        into.as_str(),
        "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_buildhost tiny.example.org",
        "use_source_date_epoch_as_buildtime 1",
        "clamp_mtime_to_source_date_epoch 1",
        "_binary_payload w3.zstdio",
        "__os_install_post %{nil}",
        "debug_package %{nil}",
        "_build_id_links none",
    ];
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--nodeps", "--target", "x86_64-linux"]).args(specs);
    for line in fixed {
        command.args(["--define", line]);
    }
    for (name, value) in macros {
        command.args(["--define", &format!("{name} {value}")]);
    }
    let output = command.env("SOURCE_DATE_EPOCH", DATE.to_string()).env("HOME", scratch).output().unwrap();
    assert!(output.status.success(), "rpmbuild: {}", String::from_utf8_lossy(&output.stderr));
    let made = packages_in(&built);
    made.iter()
        .map(|path| {
            let target = target.join(path.file_name().unwrap());
            fs::copy(path, &target).unwrap();
            target
        })
        .collect()
}

fn packages_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "rpm")).collect();
    found.sort();
    found
}

fn make_key(folder: &Path, signer: Signer) {
    let home = folder.join(format!("gnupg-{}", signer.name()));
    fs::create_dir_all(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let valid_for = if signer == Signer::Expired { "1y" } else { "never" };
    let name = format!("{} of the tiny world", signer.name());
    let status = signer.gpg(&home).args(["--quick-gen-key", &name, "rsa2048", "sign", valid_for]).status();
    assert!(status.unwrap().success(), "gpg cannot make a key");
    let exported = signer.gpg(&home).args(["--armor", "--export"]).output().unwrap();
    assert!(exported.status.success());
    fs::write(folder.join(format!("{}.asc", signer.name())), exported.stdout).unwrap();
    stop_agent(&home);
}

fn stop_agent(home: &Path) {
    // No agent that outlives the test.
    let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).stderr(Stdio::null()).status();
}

/// One at a time: who has signed stops the agent that others may talk to.
fn turn_to_sign() -> fs::File {
    let lock = fs::File::create(super::scratch_root().join("rpmworld-sign.lock")).unwrap();
    rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive).unwrap();
    lock
}

fn sign_packages(world: &Path, signer: Signer, packages: &[PathBuf]) {
    let _turn = turn_to_sign();
    let home = world.join(format!("gnupg-{}", signer.name()));
    let output = Command::new("rpmsign")
        .args(["--addsign", "--define", &format!("_gpg_path {}", home.display())])
        .args(["--define", &format!("_gpg_name {} of the tiny world", signer.name())])
        .args(["--define", &format!("__gpg {}", super::program("gpg").unwrap().display())])
        .args(packages)
        .output()
        .unwrap();
    assert!(output.status.success(), "rpmsign: {}", String::from_utf8_lossy(&output.stderr));
    stop_agent(&home);
}

fn index(folder: &Path, date: i64) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rpm");
    let _ = fs::remove_dir_all(folder.join("repodata"));
    let run = |program: &str, arguments: &[&str], last: &Path| {
        let output = Command::new(program).args(arguments).arg(last).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let groups = sources.join("comps.xml");
    let date = date.to_string();
    let options = ["--quiet", "--no-database", "--set-timestamp-to-revision", "--general-compress-type=gz"];
    let own = ["--revision", &date, "--groupfile", groups.to_str().unwrap()];
    run("createrepo_c", &[&options[..], &own].concat(), folder);
    let modules = sources.join("modules.yaml");
    run("modifyrepo_c", &["--mdtype=modules", modules.to_str().unwrap()], &folder.join("repodata"));
    // modifyrepo_c knows the time of this very moment only.
    let metadata = folder.join("repodata/repomd.xml");
    let text = fs::read_to_string(&metadata).unwrap();
    let mut parts = text.split("<timestamp>");
    let mut dated = parts.next().unwrap().to_string();
    for part in parts {
        let (_, rest) = part.split_once("</timestamp>").unwrap();
        dated += &format!("<timestamp>{date}</timestamp>{rest}");
    }
    replace(&metadata, dated.as_bytes());
}

fn sign_metadata(world: &Path, signer: Signer, folder: &Path) {
    let _turn = turn_to_sign();
    let home = world.join(format!("gnupg-{}", signer.name()));
    let metadata = folder.join("repodata/repomd.xml");
    for end in ["asc", "key"] {
        let _ = fs::remove_file(metadata.with_extension(format!("xml.{end}")));
    }
    let signature = metadata.with_extension("xml.asc");
    let mut command = signer.gpg(&home);
    command.args(["--armor", "--detach-sign", "--output"]).arg(&signature).arg(&metadata);
    assert!(command.status().unwrap().success(), "gpg cannot sign");
    fs::copy(world.join(format!("{}.asc", signer.name())), metadata.with_extension("xml.key")).unwrap();
    stop_agent(&home);
}
