//! Packages installed into a tree by the real dpkg.

use std::fs;
use std::path::Path;

use ingot::cache::PackageStore;
use ingot::host::rooted::Rooted;
use ingot::host::sandbox::Sandbox;
use ingot::package::{Apt, Mirrors, PackageSet, Phase, Unpacker};
use ingot::plan::{Plan, UpdateStack};
use ingot::report::{Reporter, Verbosity};

use crate::support::plan::{debian, named, plan, repository};
use crate::support::world::World;
use crate::support::{need, scratch, scratch_root, together};

/// A tree and all that belongs to it.
struct Installed {
    folder: tempfile::TempDir,
    set: PackageSet,
    apt: Apt,
}

impl Installed {
    fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.tree())
    }

    fn says(&self, words: &[&str]) -> String {
        let ended = self.sandbox().run_to_end(&Reporter::silent(), words, |_| {}).unwrap();
        let text = String::from_utf8_lossy(&[ended.output.stdout, ended.output.stderr].concat()).into_owned();
        assert!(ended.status.success(), "{words:?}: {text}");
        text
    }

    fn rooted(&self) -> Rooted {
        Rooted::open(&self.tree()).unwrap()
    }
}

/// Resolves and installs both phases.
fn install(plan: &Plan, mirrors: &Mirrors, unpacker: Unpacker, cache: &Path, reporter: &Reporter) -> Installed {
    let folder = scratch();
    let log = folder.path().join("log");
    reporter.log_to(&log, fs::File::create(&log).unwrap());
    fs::create_dir(folder.path().join("tree")).unwrap();
    fs::create_dir(folder.path().join("scratch")).unwrap();
    let store = PackageStore::open(cache).unwrap();
    let mut apt = Apt::open(plan, mirrors, &store, &folder.path().join("scratch")).unwrap().unpacker(unpacker);
    let set = apt.resolve(reporter).unwrap();
    let tree = Rooted::open(&folder.path().join("tree")).unwrap();
    let sandbox = Sandbox::new(&folder.path().join("tree"));
    for phase in [Phase::Bootstrap, Phase::Image] {
        apt.install(&set, phase, &tree, &sandbox, reporter).unwrap_or_else(|error| {
            panic!("{}\n{}", fs::read_to_string(&log).unwrap(), error.text());
        });
    }
    Installed { folder, set, apt }
}

#[test]
fn the_tiny_world_is_installed_and_dpkg_has_no_complaint() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let (world, cache) = (World::open(), scratch());
    let mut plan =
        plan(vec![repository(&format!("dir://{}", world.repository().display()), &world.key())], &["tiny-app"]);
    plan.packages.bootstrap = named(&["base-files"]);
    let done = install(&plan, &Mirrors::default(), Unpacker::Dpkg, cache.path(), &Reporter::silent());
    let listed = done.says(&["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\\n"]);
    let mut wanted: Vec<String> =
        done.set.packages.iter().map(|package| format!("ii  {} {}", package.name, package.version)).collect();
    wanted.sort();
    assert_eq!(listed.lines().collect::<Vec<_>>(), wanted);
    assert!(done.rooted().exists(&"/usr/sbin/policy-rc.d".into()));
}

#[test]
#[ignore = "needs the network: a Debian mirror among the host's apt sources"]
fn debian_12_and_13_are_installed_by_dpkg() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv");
    let _turn = together();
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    for codename in ["bookworm", "trixie"] {
        let mut plan = plan(debian(codename), &["openssh-server", "python3"]);
        plan.update_stack = UpdateStack::Kept;
        let mirrors = Mirrors::load(&[], None).unwrap();
        let done = install(&plan, &mirrors, Unpacker::Dpkg, &scratch_root().join("debian-cache"), &reporter);
        assert_eq!(done.says(&["dpkg", "--audit"]), "");
        assert!(done.says(&["python3", "-c", "import ssl; print(ssl.OPENSSL_VERSION)"]).starts_with("OpenSSL 3"));
        eprintln!("{}", done.says(&["dpkg", "-V"]));
    }
}

/// Every path of the tree.
fn paths(done: &Installed) -> Vec<String> {
    let tree = done.rooted();
    tree.walk(&ingot::host::rooted::RootPath::root()).unwrap().iter().map(|entry| entry.path.to_string()).collect()
}

/// Names in the status file.
fn listed(done: &Installed) -> Vec<String> {
    let status = fs::read_to_string(done.tree().join("var/lib/dpkg/status")).unwrap();
    let mut names: Vec<String> =
        status.lines().filter_map(|line| line.strip_prefix("Package: ")).map(str::to_string).collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs the network: a Debian mirror among the host's apt sources"]
fn debian_without_an_update_stack_holds_no_package_manager() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv");
    let _turn = together();
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    for codename in ["bookworm", "trixie"] {
        for essential in [ingot::plan::Essential::Kept, ingot::plan::Essential::OnlyNeeded] {
            let mut plan = plan(debian(codename), &["jq"]);
            plan.packages.essential = essential;
            let mirrors = Mirrors::load(&[], None).unwrap();
            let done = install(&plan, &mirrors, Unpacker::Dpkg, &scratch_root().join("debian-cache"), &reporter);
            let gone = done.apt.finish(&done.set, &done.rooted(), &done.sandbox(), &reporter).unwrap();
            eprintln!("{codename} {essential:?}\ngone: {gone:?}\nleft: {:?}", listed(&done));
            assert!(done.says(&["jq", "--version"]).starts_with("jq-1"));
            let suspicious = |path: &&String| ["dpkg", "apt", "debconf"].iter().any(|part| path.contains(part));
            let left: Vec<String> = paths(&done).iter().filter(suspicious).cloned().collect();
            eprintln!("{}", left.join("\n"));
            if let Some(keep) = std::env::var_os("KEEP") {
                let to = Path::new(&keep).join(format!("{codename}-{essential:?}"));
                std::process::Command::new("cp").arg("-a").arg(done.folder.path()).arg(to).status().unwrap();
            }
        }
    }
}
