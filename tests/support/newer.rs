//! A Debian newer than this host's, with programs that this one does not have, in the host's place.
//!
//! In: mmdebstrap. Out: trees made once and kept for every checkout ([`tree`]); commands whose whole host such a tree is
//! ([`Host`]), on this machine's kernel and loopback network, with a list of what they wrote on it. Never changes the tree
//! nor this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skipped;

/// Where trees are kept.
const FOLDER: &str = "/var/tmp/ingot-test-tools";

/// The suite that has what this host's lacks.
pub const SUITE: &str = "forky";

/// dnf5, and what ingot and the tiny RPM world need beside it.
pub const DNF5: &[&str] = &[
    "base-files",
    "base-passwd",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "sed",
    "util-linux",
    "mount",
    "e2fsprogs",
    "dnf5",
    "rpm",
    "createrepo-c",
    "gpg",
    "gpg-agent",
    "gpgv",
];

/// Makes a layer over the tree the root of a mount namespace, runs the command, and lists what it changed there.
const SCRIPT: &str = r#"
set -eu
lower=$1 folder=$2
shift 2
mkdir -p "$folder/host"
mount -t tmpfs tmpfs "$folder/host"
cd "$folder/host"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" root
(cd root && mkdir -p dev sys proc tmp run)
for name in dev sys; do mount --rbind "/$name" "root/$name"; done
mount -t proc proc root/proc
for name in tmp run; do mount -t tmpfs tmpfs "root/$name"; done
mkdir -p "root$folder"
mount --bind "$folder" "root$folder"
while [ "$1" != -- ]; do
    mkdir -p "root$1"
    mount --bind "$1" "root$1"
    shift
done
shift
mkdir root/.before
touch begin
cd upper
pivot_root ../root ../root/.before
umount --lazy /.before
rmdir /.before
status=0
(cd / && exec "$@") || status=$?
find . -cnewer ../begin ! -path . -printf '%P\n' | sort >"$folder/written"
exit $status
"#;

/// Finds or makes a tree of `suite` with these packages, unpacked and not configured; `None`, said visibly, where it
/// cannot be had.
pub fn tree(name: &str, suite: &str, packages: &[&str]) -> Option<PathBuf> {
    let tree = Path::new(FOLDER).join(format!("{name}-{suite}"));
    fs::create_dir_all(FOLDER).unwrap();
    let lock = fs::File::create(tree.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let (made, wanted) = (tree.join(".packages"), packages.join(" "));
    if fs::read_to_string(&made).is_ok_and(|packages| packages == wanted) {
        return Some(tree);
    }
    let making = tree.with_extension("making");
    for old in [&making, &tree] {
        let _ = fs::remove_dir_all(old);
    }
    let include = format!("--include={}", packages.join(","));
    let mut command = Command::new("mmdebstrap");
    // A mirror may be behind its time; what is taken from it is signed all the same.
    command.args(["--quiet", "--variant=extract", "--aptopt=Acquire::Check-Valid-Until \"false\"", &include, suite]);
    let output = command.arg(&making).output().unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        skipped(&format!("{name} of {suite} cannot be had: {}", said.lines().last().unwrap_or_default()));
        return None;
    }
    for name in ["passwd", "group"] {
        let master = making.join("usr/share/base-passwd").join(format!("{name}.master"));
        if master.exists() {
            fs::copy(master, making.join("etc").join(name)).unwrap();
        }
    }
    fs::write(making.join(".packages"), wanted).unwrap();
    fs::rename(making, &tree).unwrap();
    Some(tree)
}

/// A tree that takes the host's place for some commands.
pub struct Host {
    tree: PathBuf,
    folder: PathBuf,
    shared: Vec<PathBuf>,
}

impl Host {
    /// In `folder`, which both see, as they do each of `shared`.
    pub fn new(tree: PathBuf, folder: &Path, shared: &[&Path]) -> Host {
        Host { tree, folder: folder.to_path_buf(), shared: shared.iter().map(|path| path.to_path_buf()).collect() }
    }

    /// A program that runs there, for arguments to be added to.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        command.arg(&self.tree).arg(&self.folder).args(&self.shared).arg("--").arg(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
        command
    }

    /// What the last command that ended changed there, outside of the folders that both see and of /tmp and /run.
    pub fn written(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("written")).unwrap();
        text.lines().map(str::to_string).collect()
    }
}
