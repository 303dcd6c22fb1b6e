//! The tiny pacman world: a signed pacman repository of some fifteen hand-made packages, made once per host.
//!
//! In: this host's static busybox, bsdtar, repo-add and gpg. Out: [`PacmanWorld`], a folder for a test to serve or to
//! copy and spoil. makepkg refuses to run as root, so the archives are made here, as makepkg(8) lays them out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::once::made_once;
use super::packages::DATE;

/// What the world is made with, for `need!`.
macro_rules! need_pacman_world {
    () => {
        $crate::support::need!("bsdtar", "repo-add", "pacman", "pacman-key", "gpg", "busybox");
    };
}
pub(crate) use need_pacman_world;

/// The name of the repository: its database is `tiny.db`.
pub const REPOSITORY: &str = "tiny";

/// Where the repository is, and what belongs to it.
pub struct PacmanWorld {
    folder: PathBuf,
}

impl PacmanWorld {
    /// Opens the world; makes it where it is missing or was made by other code or other programs.
    pub fn open() -> PacmanWorld {
        PacmanWorld { folder: made_once("pacmanworld", &identity(), make) }
    }

    /// Packages, their signatures and the signed database; read-only for tests.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// The public key that signed everything (ASCII armour).
    pub fn key(&self) -> PathBuf {
        self.folder.join("tiny.asc")
    }

    /// A public key that signed nothing.
    pub fn other_key(&self) -> PathBuf {
        self.folder.join("other.asc")
    }

    /// A copy that may be spoilt. Files are hard links: replace, never rewrite them.
    pub fn copy(&self, folder: &Path) {
        let status = Command::new("cp").arg("-al").arg(self.repository()).arg(folder).status().unwrap();
        assert!(status.success());
    }

    /// A copy whose database nobody signed.
    pub fn unsigned_database(&self, folder: &Path) {
        self.copy(folder);
        fs::remove_file(folder.join("tiny.db.sig")).unwrap();
        fs::remove_file(folder.join("tiny.db.tar.gz.sig")).unwrap();
    }

    /// A copy in which one package is not what was signed: a byte in its middle is another one.
    pub fn tampered(&self, name: &str, folder: &Path) {
        self.copy(folder);
        let path = folder.join(self.package(name));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    /// A copy with more packages: name, version, what it depends on. A newer version takes the place of an older one.
    pub fn with_packages(&self, packages: &[(&'static str, &'static str, &'static str)], folder: &Path) {
        self.copy(folder);
        let scratch = folder.with_extension("scratch");
        let new = folder.with_extension("new");
        fs::create_dir_all(&new).unwrap();
        for (name, version, depends) in packages {
            let package = Package::new(&scratch, name, version).file(&format!("usr/share/{name}"), version);
            let package = if depends.is_empty() { package } else { package.field("depend", depends) };
            package.build(&new);
        }
        fs::remove_dir_all(scratch).unwrap();
        let mut added: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&new).unwrap() {
            let path = entry.unwrap().path();
            let target = folder.join(path.file_name().unwrap());
            fs::rename(path, &target).unwrap();
            added.push(target);
        }
        added.sort();
        index(folder, &added, &self.folder.join("gnupg-tiny"));
    }

    /// The file name of a package: `tiny-app-1:2.0-3-x86_64.pkg.tar.zst`.
    pub fn package(&self, name: &str) -> String {
        let files = fs::read_dir(self.repository()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut found = files.map(|file| file.into_string().unwrap()).filter(|file| {
            // NAME-VERSION-RELEASE-ARCH.pkg.tar.zst: a name may hold dashes, too.
            file.ends_with(".pkg.tar.zst") && file.rsplitn(4, '-').nth(3) == Some(name)
        });
        found.next().unwrap_or_else(|| panic!("no package {name}"))
    }
}

/// One package while it is being made.
struct Package {
    name: &'static str,
    version: &'static str,
    arch: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    folder: PathBuf,
}

impl Package {
    fn new(scratch: &Path, name: &'static str, version: &'static str) -> Package {
        let folder = scratch.join(name);
        fs::create_dir_all(&folder).unwrap();
        Package { name, version, arch: "any", fields: Vec::new(), folder }
    }

    fn native(mut self) -> Package {
        self.arch = "x86_64";
        self
    }

    /// A line of `.PKGINFO`.
    fn field(mut self, name: &'static str, value: &'static str) -> Package {
        self.fields.push((name, value));
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.folder.join(path);
        let parent = path.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        path
    }

    fn bytes(self, path: &str, content: &[u8], mode: u32) -> Package {
        let target = self.at(path);
        fs::write(&target, content).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Package {
        self.bytes(path, content.as_bytes(), 0o644)
    }

    fn folder(self, path: &str, mode: u32) -> Package {
        let target = self.folder.join(path);
        fs::create_dir_all(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Package {
        symlink(target, self.at(path)).unwrap();
        self
    }

    /// `.INSTALL`: functions that pacman calls in the image's shell.
    fn install(self, text: &str) -> Package {
        self.file(".INSTALL", text)
    }

    fn build(self, repository: &Path) {
        let mut info = format!("pkgname = {}\npkgbase = tiny\npkgver = {}\n", self.name, self.version);
        info.push_str(&format!("pkgdesc = {} of the tiny world\nurl = https://example.org/tiny\n", self.name));
        info.push_str(&format!("builddate = {DATE}\npackager = Tiny World <tiny@example.org>\n"));
        info.push_str(&format!("size = 4096\narch = {}\nlicense = Apache\n", self.arch));
        for (name, value) in &self.fields {
            info.push_str(&format!("{name} = {value}\n"));
        }
        fs::write(self.folder.join(".PKGINFO"), info).unwrap();
        let file = format!("{}-{}-{}.pkg.tar.zst", self.name, self.version, self.arch);
        // What makepkg(8) does, with bsdtar's own order made a fixed one.
        let script = "set -e; find . -mindepth 1 -exec touch -h -d @$DATE {} +\n\
             list() { find . -mindepth 1 ! -name .MTREE -printf '%P\\0' | LC_ALL=C sort -z; }\n\
             list | bsdtar -cnf - --uid 0 --gid 0 --format=mtree \
             --options='!all,use-set,type,uid,gid,mode,time,size,md5,sha256,link' --null --files-from - \
             | gzip -c -f -n > .MTREE\n\
             touch -d @$DATE .MTREE\n\
             { printf '.MTREE\\0'; list; } | bsdtar --no-fflags --uid 0 --gid 0 --uname root --gname root \
             --zstd -cnf \"$TARGET\" --null --files-from -";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(&self.folder)
            .env("DATE", DATE.to_string())
            .env("TARGET", repository.join(file))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
    }
}

/// What busybox is also called: what scripts and hooks of the tiny world call.
const APPLETS: &[&str] = &[
    "[", "bash", "cat", "chmod", "chown", "cp", "cut", "echo", "env", "false", "find", "grep", "head", "id", "init",
    "install", "ln", "ls", "mkdir", "mv", "printf", "ps", "readlink", "rm", "rmdir", "sed", "sh", "sleep", "sort",
    "stat", "tail", "test", "touch", "tr", "true", "uname", "uniq", "wc", "xargs",
];

fn build_all(scratch: &Path, repository: &Path) {
    let busybox = fs::read(super::program("busybox").unwrap()).unwrap();
    let mut filesystem = Package::new(scratch, "filesystem", "2026.01-1");
    for (name, target) in [("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib")] {
        filesystem = filesystem.link(name, target);
    }
    for name in ["usr/bin", "usr/lib", "usr/share", "etc", "dev", "proc", "sys", "run", "home", "boot", "mnt", "opt"] {
        filesystem = filesystem.folder(name, 0o755);
    }
    for name in ["srv", "var/cache", "var/lib/misc", "var/log", "var/spool", "var/lib/tiny"] {
        filesystem = filesystem.folder(name, 0o755);
    }
    let filesystem = filesystem
        .folder("root", 0o700)
        .folder("tmp", 0o1777)
        .folder("var/tmp", 0o1777)
        .link("var/run", "../run")
        .link("var/lock", "../run/lock")
        .file("usr/lib/os-release", "NAME=Tiny\nID=tiny\nID_LIKE=arch\nPRETTY_NAME=\"Tiny Linux\"\n")
        .link("etc/os-release", "../usr/lib/os-release")
        .field("backup", "etc/passwd")
        .field("backup", "etc/group")
        .field("backup", "etc/shadow")
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        .file("etc/group", "root:x:0:\nnobody:x:65534:\n")
        .bytes("etc/shadow", b"root:*:19000::::::\nnobody:*:19000::::::\n", 0o600);
    let mut base = Package::new(scratch, "busybox", "1.35.0-1").native().field("depend", "filesystem");
    for name in ["sh", "bash", "coreutils"] {
        base = base.field("provides", name);
    }
    base = base.bytes("usr/bin/busybox", &busybox, 0o755);
    for name in APPLETS {
        base = base.link(&format!("usr/bin/{name}"), "busybox");
    }
    let said = |what: &str| format!("{what}() {{ echo \"tiny-app {what} $*\" >> /var/lib/tiny/scripts; }}\n");
    let functions = ["pre_install", "post_install", "pre_upgrade", "post_upgrade", "pre_remove", "post_remove"];
    let app = Package::new(scratch, "tiny-app", "1:2.0-3")
        .native()
        .field("depend", "libtiny>=1.0")
        .field("depend", "tiny-virtual")
        .field("depend", "sh")
        .field("optdepend", "tiny-optional: more of it")
        .field("group", "tiny-group")
        .field("backup", "etc/tiny/tiny.conf")
        .file("etc/tiny/tiny.conf", "colour=green\n")
        .bytes("usr/bin/tiny-app", b"#!/bin/sh\necho tiny-app \"$@\"\n", 0o755)
        .bytes("usr/bin/tiny-setuid", b"#!/bin/sh\nexit 0\n", 0o4755)
        .file("usr/share/tiny/data", &"a line of data\n".repeat(1000))
        .file("usr/share/doc/tiny-app/README", "Read me.\n")
        .install(&functions.map(said).concat());
    let library = Package::new(scratch, "libtiny", "1.0-1").native().file("usr/lib/libtiny.so.1.0", "no library\n");
    let library = library.link("usr/lib/libtiny.so.1", "libtiny.so.1.0").field("depend", "filesystem");
    let hook = "[Trigger]\nType = Path\nOperation = Install\nTarget = usr/share/tiny/*\n\n\
                [Action]\nDescription = Looking at tiny data...\nWhen = PostTransaction\n\
                Exec = /bin/sh -c 'cat >> /var/lib/tiny/hook'\nNeedsTargets\n";
    let hooks = Package::new(scratch, "tiny-hooks", "1.0-1").field("group", "tiny-group").field("depend", "sh");
    let hooks = hooks.file("usr/share/libalpm/hooks/tiny.hook", hook);
    let stack = Package::new(scratch, "pacman", "6.0.2-1")
        .native()
        .field("depend", "sh")
        .field("depend", "tiny-keyring")
        .field("depend", "libalpm-only")
        .field("backup", "etc/pacman.conf")
        .file("etc/pacman.conf", "[options]\nArchitecture = auto\n")
        .folder("var/lib/pacman", 0o755)
        .folder("var/cache/pacman/pkg", 0o755)
        .bytes("usr/bin/pacman", b"#!/bin/sh\necho 'pacman is a stand-in' >&2\nexit 1\n", 0o755)
        .bytes("usr/bin/pacman-key", b"#!/bin/sh\necho 'pacman-key is a stand-in' >&2\nexit 1\n", 0o755);
    let only = Package::new(scratch, "libalpm-only", "1.0-1").file("usr/lib/libalpm-only.so", "no library\n");
    let keyring = Package::new(scratch, "tiny-keyring", "1.0-1").file("usr/share/pacman/keyrings/tiny.gpg", "no key\n");
    let kernel = Package::new(scratch, "linux", "6.1.0-1")
        .native()
        .file("usr/lib/modules/6.1.0-tiny/vmlinuz", "no kernel\n")
        .file("boot/vmlinuz-linux", "no kernel\n");
    let simple = |name: &'static str| Package::new(scratch, name, "1.0-1");
    let others = [
        simple("tiny-provider").field("provides", "tiny-virtual"),
        simple("tiny-optional").file("usr/share/tiny-optional", "yes\n"),
        simple("tiny-unwanted").field("group", "tiny-group").file("usr/share/tiny-unwanted", "yes\n"),
        simple("tiny-left").file("usr/share/tiny-both", "left\n"),
        simple("tiny-right").file("usr/share/tiny-both", "right\n"),
        simple("tiny-foe").field("conflict", "tiny-app"),
        simple("tiny-unsatisfiable").field("depend", "tiny-nowhere"),
        simple("tiny-broken").field("depend", "sh").install("post_install() { echo this cannot work >&2; exit 3; }\n"),
    ];
    let made = [filesystem, base, app, library, hooks, stack, only, keyring, kernel];
    for package in made.into_iter().chain(others) {
        package.build(repository);
    }
}

fn identity() -> String {
    let mut hash = Sha256::new();
    hash.update(include_str!("pacman.rs"));
    hash.update(fs::read(super::program("busybox").unwrap()).unwrap());
    let pacman = Command::new("pacman").arg("--version").output().unwrap();
    hash.update(&pacman.stdout);
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--yes"]);
    command.arg("--homedir").arg(home).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn stop_agent(home: &Path) {
    let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).stderr(Stdio::null()).status();
}

fn make(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let repository = folder.join("repository");
    fs::create_dir_all(&repository).unwrap();
    let scratch = folder.join("scratch");
    build_all(&scratch, &repository);
    fs::remove_dir_all(scratch).unwrap();
    for name in ["other", "tiny"] {
        let home = folder.join(format!("gnupg-{name}"));
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let title = format!("{name} of the tiny pacman world");
        let status = gpg(&home).args(["--quick-gen-key", &title, "rsa2048", "sign", "never"]).status().unwrap();
        assert!(status.success(), "gpg cannot make a key");
        let exported = gpg(&home).args(["--armor", "--export"]).output().unwrap();
        fs::write(folder.join(format!("{name}.asc")), exported.stdout).unwrap();
        stop_agent(&home);
    }
    let mut packages: Vec<PathBuf> = fs::read_dir(&repository).unwrap().map(|entry| entry.unwrap().path()).collect();
    packages.sort();
    let home = folder.join("gnupg-tiny");
    index(&repository, &packages, &home);
}

/// Signs these packages, puts them into the database of the repository, and signs that.
fn index(repository: &Path, packages: &[PathBuf], home: &Path) {
    let sign = |path: &Path| {
        // gpg writes into what is there, and a copy is a hard link.
        let _ = fs::remove_file(format!("{}.sig", path.display()));
        let status = gpg(home).arg("--detach-sign").arg(path).status().unwrap();
        assert!(status.success(), "gpg cannot sign {}", path.display());
    };
    packages.iter().for_each(|path| sign(path));
    let database = repository.join("tiny.db.tar.gz");
    let output = Command::new("repo-add").args(["--quiet", "--nocolor"]).arg(&database).args(packages).output();
    let output = output.unwrap();
    assert!(output.status.success(), "repo-add: {}", String::from_utf8_lossy(&output.stderr));
    sign(&database);
    if !repository.join("tiny.db.sig").exists() {
        symlink("tiny.db.tar.gz.sig", repository.join("tiny.db.sig")).unwrap();
    }
    stop_agent(home);
}
