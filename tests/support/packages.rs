//! The tiny world's packages: about twenty hand-made Debian packages, small enough that a whole system of them is
//! resolved, installed and packed in about two seconds.
//!
//! In: programs of this host (the real dpkg, dash, coreutils, apt ...) and the libraries they need. Out: `.deb` files
//! made by dpkg-deb. The programs are real because dpkg in a chroot is the point; everything else is invented.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Date of everything in the tiny world: 2026-01-02 03:04:05 UTC.
pub const DATE: i64 = 1_767_323_045;

/// One package while it is being made.
pub struct Package {
    name: &'static str,
    version: &'static str,
    arch: &'static str,
    fields: Vec<(&'static str, String)>,
    compression: &'static str,
    folder: PathBuf,
    modes: Vec<(PathBuf, u32)>,
}

impl Package {
    fn new(scratch: &Path, name: &'static str) -> Package {
        let folder = scratch.join(name);
        fs::create_dir_all(folder.join("DEBIAN")).unwrap();
        let fields = vec![("Section", "misc".to_string()), ("Priority", "optional".to_string())];
        Package { name, version: "1.0-1", arch: "amd64", fields, compression: "gzip", folder, modes: Vec::new() }
    }

    fn version(mut self, version: &'static str) -> Package {
        self.version = version;
        self
    }

    fn all(mut self) -> Package {
        self.arch = "all";
        self
    }

    fn xz(mut self) -> Package {
        self.compression = "xz";
        self
    }

    fn zstd(mut self) -> Package {
        self.compression = "zstd";
        self
    }

    fn uncompressed(mut self) -> Package {
        self.compression = "none";
        self
    }

    fn field(mut self, name: &'static str, value: &str) -> Package {
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value.to_string()));
        self
    }

    fn essential(self) -> Package {
        self.field("Essential", "yes").field("Priority", "required").field("Section", "base")
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(self, path: &str, content: &str) -> Package {
        self.bytes(path, content.as_bytes(), 0o644)
    }

    fn bytes(mut self, path: &str, content: &[u8], mode: u32) -> Package {
        let target = self.at(path);
        fs::write(&target, content).unwrap();
        self.modes.push((target, mode));
        self
    }

    fn folder(mut self, path: &str, mode: u32) -> Package {
        let target = self.folder.join(path);
        fs::create_dir_all(&target).unwrap();
        self.modes.push((target, mode));
        self
    }

    fn link(self, path: &str, target: &str) -> Package {
        symlink(target, self.at(path)).unwrap();
        self
    }

    fn hard_link(self, path: &str, original: &str) -> Package {
        fs::hard_link(self.folder.join(original), self.at(path)).unwrap();
        self
    }

    fn conffile(self, path: &str, content: &str) -> Package {
        let list = self.folder.join("DEBIAN/conffiles");
        let before = fs::read_to_string(&list).unwrap_or_default();
        fs::write(list, format!("{before}/{path}\n")).unwrap();
        self.file(path, content)
    }

    fn script(self, name: &str, body: &str) -> Package {
        let text = format!("#!/bin/sh\nset -e\n{body}\nexit 0\n");
        self.bytes(&format!("DEBIAN/{name}"), text.as_bytes(), 0o755)
    }

    fn triggers(self, lines: &str) -> Package {
        self.file("DEBIAN/triggers", lines)
    }

    /// Programs of this host, below `/usr` whatever folder they were found in; their libraries go to `needed`.
    fn programs(mut self, host: &mut Host, names: &[&str]) -> Package {
        for name in names {
            self = self.host_file(host, name);
        }
        self
    }

    fn host_file(mut self, host: &mut Host, path: &str) -> Package {
        let source = host.find(path).unwrap_or_else(|| panic!("the tiny world needs {path} of this host"));
        let target = self.at(&below_usr(&source));
        let real = fs::canonicalize(&source).unwrap();
        fs::copy(&real, &target).unwrap();
        self.modes.push((target, fs::metadata(&real).unwrap().mode() & 0o7777));
        host.note_libraries(&real);
        self
    }

    /// Builds `POOL/NAME_VERSION_ARCH.deb`.
    fn build(self, pool: &Path) {
        let mut fields: BTreeMap<&str, String> = self.fields.into_iter().collect();
        fields.entry("Maintainer").or_insert_with(|| "Tiny World <tiny@example.org>".into());
        fields.entry("Description").or_insert_with(|| format!("{} of the tiny world", self.name));
        fields.insert("Architecture", self.arch.into());
        fields.insert("Version", self.version.into());
        let mut control = format!("Package: {}\n", self.name);
        for (name, value) in fields {
            control.push_str(&format!("{name}: {value}\n"));
        }
        fs::write(self.folder.join("DEBIAN/control"), control).unwrap();
        let doc = self.folder.join("usr/share/doc").join(self.name);
        fs::create_dir_all(&doc).unwrap();
        fs::write(doc.join("copyright"), COPYRIGHT).unwrap();
        readable(&self.folder);
        for (path, mode) in &self.modes {
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        // An epoch is not part of a file's name.
        let version = self.version.rsplit(':').next().unwrap();
        let target = pool.join(format!("{}_{version}_{}.deb", self.name, self.arch));
        let status = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-z1", "-Z", self.compression, "--build"])
            .args([&self.folder, &target])
            .env("SOURCE_DATE_EPOCH", DATE.to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "dpkg-deb cannot build {}", self.name);
    }
}

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                         Files: *\nCopyright: nobody\nLicense: Apache-2.0\n";

/// Everything is `u+rwX,go+rX`, whatever the umask of whoever runs the tests is.
fn readable(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            readable(&entry.path());
        } else if kind.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

/// `/bin/sh` and `/usr/bin/sh` are both `usr/bin/sh`: the tiny world is usr-merged.
fn below_usr(path: &Path) -> String {
    let path = path.to_str().unwrap().trim_start_matches('/');
    if path.starts_with("usr/") || path.starts_with("etc/") { path.to_string() } else { format!("usr/{path}") }
}

/// What this host gives.
#[derive(Default)]
struct Host {
    libraries: BTreeSet<PathBuf>,
}

impl Host {
    fn find(&self, name: &str) -> Option<PathBuf> {
        if name.starts_with('/') {
            return Some(PathBuf::from(name)).filter(|path| path.exists());
        }
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.exists())
    }

    fn note_libraries(&mut self, program: &Path) {
        let output = Command::new("ldd").arg(program).output().unwrap();
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            self.libraries.insert(PathBuf::from(word));
        }
    }
}

/// Makes all packages; `pool` receives the `.deb` files.
pub fn build_all(scratch: &Path, pool: &Path) {
    let mut host = Host::default();
    let mut made = Vec::new();
    made.extend(base(scratch, &mut host));
    made.extend(update_stack(scratch, &mut host));
    made.extend(boot(scratch, &mut host));
    made.extend(applications(scratch));
    made.push(libraries(scratch, &host));
    for package in made {
        package.build(pool);
    }
}

fn base(scratch: &Path, host: &mut Host) -> Vec<Package> {
    let mut files = Package::new(scratch, "base-files").version("12.4").essential().uncompressed();
    for (name, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        files = files.link(name, target);
    }
    for name in ["dev", "proc", "sys", "run", "home", "srv", "mnt", "media", "opt", "boot", "usr/local/bin"] {
        files = files.folder(name, 0o755);
    }
    for name in ["var/log", "var/cache", "var/lib/misc", "var/spool", "etc/skel", "usr/lib64", "usr/share/man"] {
        files = files.folder(name, 0o755);
    }
    let files = files
        .folder("root", 0o700)
        .folder("tmp", 0o1777)
        .folder("var/tmp", 0o1777)
        .link("var/run", "/run")
        .link("var/lock", "/run/lock")
        .file(
            "usr/lib/os-release",
            "PRETTY_NAME=\"Tiny GNU/Linux\"\nNAME=\"Tiny\"\nVERSION_ID=\"1\"\nID=tiny\nID_LIKE=debian\n",
        )
        .link("etc/os-release", "../usr/lib/os-release")
        .conffile("etc/debian_version", "12.4\n")
        .conffile("etc/issue", "Tiny GNU/Linux \\n \\l\n")
        .conffile("etc/host.conf", "multi on\n");
    let passwd = Package::new(scratch, "base-passwd")
        .essential()
        .field("Pre-Depends", "libc6, dash, coreutils")
        .file("usr/share/base-passwd/passwd.master", PASSWD)
        .file("usr/share/base-passwd/group.master", GROUP)
        .script(
            "postinst",
            "for name in passwd group; do\n  \
             [ -e /etc/$name ] || cp /usr/share/base-passwd/$name.master /etc/$name\ndone\n\
             if [ ! -e /etc/shadow ]; then\n  \
             sed 's/^\\([^:]*\\):.*/\\1:*:19000:0:99999:7:::/' /etc/passwd > /etc/shadow\n  \
             sed 's/^\\([^:]*\\):.*/\\1:*::/' /etc/group > /etc/gshadow\n  \
             chmod 640 /etc/shadow /etc/gshadow\n  chgrp 42 /etc/shadow /etc/gshadow\nfi",
        );
    let dash = Package::new(scratch, "dash")
        .essential()
        .field("Pre-Depends", "libc6")
        .programs(host, &["dash"])
        .link("usr/bin/sh", "dash");
    let bash = Package::new(scratch, "bash").essential().field("Pre-Depends", "libc6").programs(host, &["bash"]);
    let mut coreutils = Package::new(scratch, "coreutils").version("9.1-1").essential().field("Pre-Depends", "libc6");
    coreutils = coreutils.programs(
        host,
        &[
            "[",
            "basename",
            "cat",
            "chgrp",
            "chmod",
            "chown",
            "chroot",
            "cp",
            "cut",
            "date",
            "dd",
            "dirname",
            "du",
            "echo",
            "env",
            "expr",
            "false",
            "head",
            "id",
            "install",
            "link",
            "ln",
            "ls",
            "mkdir",
            "mkfifo",
            "mknod",
            "mktemp",
            "mv",
            "nproc",
            "od",
            "paste",
            "printenv",
            "printf",
            "pwd",
            "readlink",
            "realpath",
            "rm",
            "rmdir",
            "seq",
            "sha256sum",
            "sleep",
            "sort",
            "stat",
            "sync",
            "tail",
            "tee",
            "test",
            "touch",
            "tr",
            "true",
            "truncate",
            "tty",
            "uname",
            "uniq",
            "wc",
            "whoami",
            "yes",
        ],
    );
    let small = |name: &'static str, programs: &[&str], host: &mut Host| {
        Package::new(scratch, name).essential().field("Pre-Depends", "libc6").programs(host, programs)
    };
    let tar = small("tar", &["tar"], host);
    let sed = small("sed", &["sed"], host);
    let grep = small("grep", &["grep"], host);
    let find = small("findutils", &["find", "xargs"], host);
    let diff = small("diffutils", &["diff", "cmp"], host).xz();
    let gzip = small("gzip", &["gzip"], host);
    let shadow = Package::new(scratch, "passwd")
        .field("Priority", "important")
        .field("Depends", "libc6, base-passwd")
        .programs(host, &["useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "chpasswd", "chage"])
        .conffile("etc/default/useradd", "SHELL=/bin/sh\n")
        .conffile(
            "etc/login.defs",
            "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nENCRYPT_METHOD SHA512\n",
        );
    let ldconfig = Package::new(scratch, "libc-bin")
        .essential()
        .version("2.36-9")
        .field("Pre-Depends", "libc6")
        .programs(host, &["ldconfig", "ldd", "getent"])
        .conffile("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
        .conffile("etc/ld.so.conf.d/x86_64-linux-gnu.conf", "/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n")
        .conffile("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
        .triggers("interest-noawait ldconfig\n")
        .script("postinst", "ldconfig");
    vec![files, passwd, dash, bash, coreutils, tar, sed, grep, find, diff, gzip, shadow, ldconfig]
}

fn update_stack(scratch: &Path, host: &mut Host) -> Vec<Package> {
    let dpkg = Package::new(scratch, "dpkg")
        .version("1.21.22")
        .essential()
        .field("Pre-Depends", "libc6")
        .field("Depends", "tar, dash, coreutils, diffutils, sed, libc-bin")
        .programs(
            host,
            &[
                "dpkg",
                "dpkg-deb",
                "dpkg-divert",
                "dpkg-maintscript-helper",
                "dpkg-query",
                "dpkg-split",
                "dpkg-statoverride",
                "dpkg-trigger",
                "start-stop-daemon",
                "update-alternatives",
            ],
        )
        .host_file(host, "/usr/share/dpkg/cputable")
        .host_file(host, "/usr/share/dpkg/ostable")
        .host_file(host, "/usr/share/dpkg/tupletable")
        .host_file(host, "/usr/share/dpkg/sh/dpkg-error.sh")
        .conffile("etc/dpkg/dpkg.cfg", "no-debsig\nlog /var/log/dpkg.log\n")
        .conffile("etc/cron.daily/dpkg", "#!/bin/sh\nexit 0\n")
        .folder("var/lib/dpkg/info", 0o755)
        .folder("var/lib/dpkg/updates", 0o755)
        .folder("var/lib/dpkg/alternatives", 0o755)
        .folder("var/lib/dpkg/parts", 0o755);
    let mut apt = Package::new(scratch, "apt")
        .version("2.6.1")
        .field("Priority", "important")
        .field("Depends", "libc6, dpkg, gpgv")
        .programs(host, &["apt-get", "apt-cache", "apt-config", "apt-mark"]);
    for method in ["file", "copy", "store", "gpgv", "http"] {
        apt = apt.host_file(host, &format!("/usr/lib/apt/methods/{method}"));
    }
    // apt 2 verifies signatures with a script; apt 3 has none.
    if host.find("apt-key").is_some() {
        apt = apt.programs(host, &["apt-key"]);
    }
    let apt = apt
        .folder("etc/apt/sources.list.d", 0o755)
        .folder("etc/apt/trusted.gpg.d", 0o755)
        .folder("etc/apt/apt.conf.d", 0o755)
        .folder("etc/apt/preferences.d", 0o755)
        .folder("var/lib/apt/lists/partial", 0o755)
        .folder("var/cache/apt/archives/partial", 0o755);
    let gpgv = Package::new(scratch, "gpgv").field("Depends", "libc6").programs(host, &["gpgv"]);
    vec![dpkg, apt, gpgv]
}

/// Everything that a disk asks for, with a kernel that no firmware will ever start.
fn boot(scratch: &Path, host: &mut Host) -> Vec<Package> {
    let release = KERNEL_RELEASE;
    let mut kernel = b"MZ this is not a kernel\n".to_vec();
    kernel.resize(200_000, 0x90);
    let kernel = Package::new(scratch, "linux-image-tiny")
        .version("6.1.0-1")
        .field("Depends", "initramfs-tools")
        .bytes(&format!("boot/vmlinuz-{release}"), &kernel, 0o644)
        .file(&format!("boot/config-{release}"), "CONFIG_EXT4_FS=y\n")
        .file(&format!("usr/lib/modules/{release}/modules.builtin"), "kernel/fs/ext4/ext4.ko\n")
        .file(&format!("usr/lib/modules/{release}/modules.order"), "")
        .script("postinst", &format!("update-initramfs -c -k {release}"));
    let initrd = Package::new(scratch, "initramfs-tools")
        .version("0.142")
        .all()
        .field("Depends", "coreutils, dash")
        .folder("etc/initramfs-tools/conf.d", 0o755)
        .folder("etc/initramfs-tools/hooks", 0o755)
        .conffile("etc/initramfs-tools/initramfs.conf", "MODULES=most\nCOMPRESS=zstd\n")
        .bytes("usr/sbin/update-initramfs", UPDATE_INITRAMFS.as_bytes(), 0o755)
        .bytes("usr/sbin/mkinitramfs", MKINITRAMFS.as_bytes(), 0o755);
    let init = Package::new(scratch, "systemd-sysv")
        .version("252.1")
        .all()
        .bytes("usr/sbin/init", b"#!/bin/sh\nexec sh\n", 0o755)
        .file("usr/lib/systemd/system/multi-user.target", "[Unit]\nDescription=Multi-User System\n");
    let mut packages = vec![kernel, initrd, init];
    let grub = ["/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi"];
    for (name, folder) in ["grub-pc-bin", "grub-efi-amd64-bin"].into_iter().zip(grub) {
        let mut package = Package::new(scratch, name).version("2.06-13").field("Depends", "grub-common");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
            package = package.host_file(host, entry.path().to_str().unwrap());
        }
        packages.push(package);
    }
    let mut common = Package::new(scratch, "grub-common").version("2.06-13").field("Depends", "libc6");
    for program in ["grub-mkimage", "grub-editenv", "grub-mkrelpath", "grub-probe", "grub-script-check"] {
        if host.find(program).is_some() {
            common = common.programs(host, &[program]);
        }
    }
    packages.push(common);
    let grub2 = Package::new(scratch, "grub2-common").version("2.06-13").all().field("Depends", "grub-common");
    packages.push(grub2.folder("etc/default/grub.d", 0o755));
    packages
}

fn applications(scratch: &Path) -> Vec<Package> {
    let library = Package::new(scratch, "libtiny1")
        .zstd()
        .field("Multi-Arch", "same")
        .field("Source", "tiny (1.0-1)")
        .file("usr/lib/x86_64-linux-gnu/libtiny.so.1.0", "not a library\n")
        .link("usr/lib/x86_64-linux-gnu/libtiny.so.1", "libtiny.so.1.0")
        .triggers("activate-noawait ldconfig\n");
    let app = Package::new(scratch, "tiny-app")
        .version("1:2.0-3")
        .field("Source", "tiny (1.0-1)")
        .field("Depends", "libtiny1 (>= 1.0), tiny-virtual")
        .field("Recommends", "tiny-recommended")
        .bytes("usr/bin/tiny-app", b"#!/bin/sh\necho tiny-app \"$@\"\n", 0o755)
        .bytes("usr/bin/tiny-setuid", b"#!/bin/sh\nexit 0\n", 0o4755)
        .file("usr/share/tiny/data", &"a line of data\n".repeat(4000))
        .hard_link("usr/share/tiny/data-hard-link", "usr/share/tiny/data")
        .conffile("etc/tiny/tiny.conf", "colour=green\n")
        .folder("var/lib/tiny", 0o750)
        .script("preinst", "[ \"$1\" = install ]")
        .script(
            "postinst",
            "mkdir -p /var/lib/tiny\necho configured > /var/lib/tiny/state\n\
             update-alternatives --install /usr/bin/tiny tiny /usr/bin/tiny-app 10",
        );
    let provider = Package::new(scratch, "tiny-provider").all().field("Provides", "tiny-virtual");
    let recommended = Package::new(scratch, "tiny-recommended").all().file("usr/share/tiny-recommended", "yes\n");
    let unwanted = Package::new(scratch, "tiny-unwanted").all().file("usr/share/tiny-unwanted", "yes\n");
    let broken = Package::new(scratch, "tiny-broken-postinst")
        .all()
        .script("postinst", "echo 'tiny-broken-postinst: this cannot work' >&2\nexit 3");
    let unsatisfiable = Package::new(scratch, "tiny-unsatisfiable").all().field("Depends", "tiny-nowhere (>= 7)");
    let left = Package::new(scratch, "tiny-left").all().field("Conflicts", "tiny-right");
    let right = Package::new(scratch, "tiny-right").all();
    vec![library, app, provider, recommended, unwanted, broken, unsatisfiable, left, right]
}

/// All libraries that any program of the tiny world needs, in one package.
fn libraries(scratch: &Path, host: &Host) -> Package {
    let mut package = Package::new(scratch, "libc6")
        .version("2.36-9")
        .field("Priority", "required")
        .field("Multi-Arch", "same")
        .triggers("activate-noawait ldconfig\n");
    for library in &host.libraries {
        let target = package.at(&below_usr(library));
        if !target.exists() {
            package = package.bytes(&below_usr(library), &fs::read(library).unwrap(), 0o755);
        }
    }
    package
}

/// The release of the tiny world's kernel.
pub const KERNEL_RELEASE: &str = "6.1.0-tiny";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
                      bin:x:2:2:bin:/bin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nsudo:x:27:\n\
                     shadow:x:42:\nutmp:x:43:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n";

const UPDATE_INITRAMFS: &str = "#!/bin/sh\n# update-initramfs -c|-u [-k RELEASE|all]\nset -e\nrelease=all\n\
    while [ $# -gt 0 ]; do\n  case \"$1\" in -k) release=$2; shift;; esac\n  shift\ndone\n\
    for kernel in /boot/vmlinuz-*; do\n  name=${kernel#/boot/vmlinuz-}\n  \
    if [ \"$release\" = all ] || [ \"$release\" = \"$name\" ]; then\n    \
    mkinitramfs -o \"/boot/initrd.img-$name\" \"$name\"\n  fi\ndone\n";

/// Packs what a real one packs: a cpio archive (newc) whose inode numbers and times are those of this very moment.
const MKINITRAMFS: &str = r##"#!/bin/sh
# mkinitramfs [-c COMPRESSION] [-l LEVEL] -o FILE RELEASE
set -e
while [ $# -gt 1 ]; do
    case "$1" in -o) file=$2; shift ;; -c | -l) shift ;; esac
    shift
done
pad() { n=$(((4 - $1 % 4) % 4)); while [ $n -gt 0 ]; do printf '\0'; n=$((n - 1)); done; }
entry() {
    ino=$((ino + 1))
    printf 070701
    printf %08X $ino $2 1 0 0 $(date +%s) ${#3} 0 0 0 0 $((${#1} + 1)) 0
    printf '%s\0' "$1"
    pad $((110 + ${#1} + 1))
    printf %s "$3"
    pad ${#3}
}
ino=$$
{
    entry init 33261 "#!/bin/sh
echo initrd of $1"
    entry modules 33188 "$(cat /usr/lib/modules/$1/modules.builtin)"
    entry 'TRAILER!!!' 0 ''
} | gzip -1 > "$file"
"##;
