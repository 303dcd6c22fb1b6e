//! A worker of the Open Build Service on this machine: its build script, run in a build root of its own.
//!
//! In: sources as the service hands them out. Out: what the script left in its folder for results. The root is a plain
//! folder that the script enters by chroot(2), with the host's programs on an overlay; it has neither udev nor loop
//! nodes nor a network. Everything is mounted in a namespace that ends with the build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the script is called, and where its own files are.
pub const BUILD: &str = "obs-build";

/// Takes a build root that is a finished system and has ingot's package in it, and builds each recipe.
const IN_A_SYSTEM: &str = r#"
set -eu
root=$1 results=$2
shift 2
: >"$root/.buildenv"
parameters=()
while [ "$1" != -- ]; do parameters+=("$1"); shift; done
shift
for recipe; do
    obs-build --root "$root" --no-init --dist /usr/lib/obs-build/configs/bookworm.conf "${parameters[@]}" "$recipe" </dev/null
    mkdir -p "$results"
    cp --sparse=always "$root"/usr/src/packages/KIWI/* "$results"
done
"#;

/// Lays out the build root, then becomes the script.
const SCRIPT: &str = r#"
set -eu
root=$1 ingot=$2
shift 2
mkdir -p "$root"/{usr,etc,dev,proc,sys,tmp,var/tmp,var/lib,root,run,layers,sources}
mount -t tmpfs none "$root/layers"
mkdir "$root"/layers/{upper,work}
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/layers/upper,workdir=$root/layers/work" "$root/usr"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
for name in passwd group shadow ld.so.cache nsswitch.conf pam.d login.defs security mke2fs.conf alternatives apt; do
    cp -a "/etc/$name" "$root/etc"
done
rm -rf "$root"/etc/apt/sources.list*
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$root/dev"; done
rm -rf "$root/usr/src"
mkdir -p "$root/usr/src"
mount --bind "$root/sources" "$root/usr/src"
if [ -f "$ingot" ]; then
    cp "$ingot" "$root/usr/bin/ingot"
    for name in kiwi kiwi-ng; do ln -sf ingot "$root/usr/bin/$name"; done
fi
: >"$root/.buildenv"
[ ! -x "$root/install" ] || chroot "$root" /install
exec obs-build --root "$root" --no-init --dist /usr/lib/obs-build/configs/bookworm.conf "$@"
"#;

/// One build.
pub struct Worker {
    folder: PathBuf,
    program: PathBuf,
    parameters: Vec<String>,
}

/// How it ended.
pub struct Built {
    /// Whether the script was content.
    pub good: bool,
    /// Everything it said.
    pub log: String,
    /// `/usr/src/packages` of the build root.
    pub packages: PathBuf,
}

impl Worker {
    /// A worker whose build root is below `folder`; its kiwi is the ingot under test.
    pub fn new(folder: &Path) -> Worker {
        fs::create_dir_all(folder.join("root")).unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ingot"));
        Worker { folder: folder.to_path_buf(), program, parameters: Vec::new() }
    }

    /// Options for kiwi, in the words of KIWI 8 that the service still speaks.
    pub fn parameter(mut self, parameter: &str) -> Worker {
        self.parameters.extend(["--kiwi-parameter".to_string(), parameter.to_string()]);
        self
    }

    /// A repository of the sources, as the service names it.
    pub fn repository(self, name: &str) -> Worker {
        let words = [&format!("--add-repo=dir:///./repos/{name}"), "--add-repotype=rpm-md", "--add-repoprio=1"];
        words.into_iter().fold(self, |worker, word| worker.parameter(word)).parameter("--add-repoalias=")
    }

    /// Builds `recipes` one after the other in `root`, a system of its own in which ingot's package is installed, without
    /// a network; what they give is gathered in `folder/results`.
    pub fn build_in_system(self, root: &Path, recipes: &[PathBuf]) -> Built {
        let results = self.folder.join("results");
        let output = Command::new("unshare")
            .args(["--mount", "--net", "bash", "-c", IN_A_SYSTEM, "worker"])
            .args([root, &results])
            .args(["--release", "1.1"])
            .args(&self.parameters)
            .arg("--")
            .args(recipes)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log).into_owned();
        Built { good: output.status.success(), log, packages: results }
    }

    /// Builds `recipe`, without a network.
    pub fn build(self, recipe: &Path) -> Built {
        let root = self.folder.join("root");
        let output = Command::new("unshare")
            .args(["--mount", "--net", "bash", "-c", SCRIPT, "worker"])
            .arg(&root)
            .arg(&self.program)
            .args(["--release", "1.1"])
            .args(&self.parameters)
            .arg(recipe)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log).into_owned();
        Built { good: output.status.success(), log, packages: root.join("sources/packages") }
    }
}

/// Gives `folder`, which holds packages, the index that the service's script makes with the build root's programs.
pub fn scan(folder: &Path, name: &str) {
    let output = Command::new("dpkg-scanpackages").args(["-m", "."]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    index(folder, name, &output.stdout);
}

/// Makes `folder` a repository in the form that the service's script makes: flat, unsigned, without a date. `index` is the
/// text of its `Packages`.
pub fn index(folder: &Path, name: &str, index: &[u8]) {
    fs::write(folder.join("Packages"), index).unwrap();
    let sum = super::world::sha256(index);
    let head = format!("Origin: obs:/{name}\nCodename: {name}\nArchitectures: amd64\nSHA256:\n");
    fs::write(folder.join("Release"), format!("{head} {sum} {} Packages\n", index.len())).unwrap();
}
