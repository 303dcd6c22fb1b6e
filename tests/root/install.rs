//! Packages installed into a tree by the real dpkg.

use std::fs;
use std::path::Path;

use ingot::cache::PackageStore;
use ingot::host::rooted::{RootPath, Rooted};
use ingot::host::sandbox::{Network, Sandbox};
use ingot::package::deferred::Initrds;
use ingot::package::{Apt, Mirrors, PackageSet, Phase, Unpacker};
use ingot::plan::{Essential, Plan, Repository, RepositoryUse, UpdateStack};
use ingot::report::{Reporter, Verbosity};

use crate::support::plan::{debian, named, plan, repository};
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{need, scratch, scratch_root, skip, together};

/// A tree and all that belongs to it.
pub struct Installed {
    folder: tempfile::TempDir,
    pub set: PackageSet,
    apt: Apt,
}

impl Installed {
    pub fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }

    pub fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.tree())
    }

    pub fn says(&self, words: &[&str]) -> String {
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
pub fn install(plan: &Plan, mirrors: &Mirrors, unpacker: Unpacker, cache: &Path, reporter: &Reporter) -> Installed {
    let folder = scratch();
    let log = folder.path().join("log");
    reporter.log_to(fs::File::create(&log).unwrap());
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
    apt.settle(&set, &tree, reporter).unwrap();
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
fn initrds_are_not_made_while_packages_are_configured_and_their_maker_is_left_as_it_is() {
    need!(root);
    let _turn = together();
    let folder = scratch();
    let tree = Rooted::open(folder.path()).unwrap();
    let maker = "#!/bin/sh\necho made >>/made\n";
    let paths = ["/usr/sbin/update-initramfs", "/usr/sbin/dracut"].map(RootPath::from);
    tree.write(&paths[0], maker, 0o755).unwrap();
    tree.symlink("update-initramfs", &paths[1]).unwrap();
    tree.create_folders(&"/var/lib/dpkg".into(), 0o755).unwrap();
    let mut sandbox = Sandbox::new(folder.path());
    for name in ["bin", "lib", "lib64"] {
        tree.symlink(format!("usr/{name}"), &RootPath::root().join(name)).unwrap();
        let shared = format!("/usr/{name}");
        sandbox = sandbox.bind(Path::new(&shared), &RootPath::from(shared.as_str()));
    }
    let before = tree.walk(&"/usr/sbin".into()).unwrap();
    let reporter = Reporter::silent();
    let run = |sandbox: &Sandbox| {
        for path in &paths {
            sandbox.run(&reporter, &[path.to_string()])?;
        }
        sandbox.run(&reporter, &["false"]).map(drop)
    };
    let made = || tree.read_if_there(&"/made".into()).unwrap().map(|text| text.len());
    assert!(Initrds::AtTheEnd.deferred(&tree, &sandbox, run).is_err(), "a failure is told");
    assert_eq!(made(), None);
    assert_eq!(tree.walk(&"/usr/sbin".into()).unwrap(), before);
    assert_eq!(tree.names(&"/var/lib/dpkg".into()).unwrap(), Vec::<Vec<u8>>::new());
    assert!(Initrds::ByPackages.deferred(&tree, &sandbox, run).is_err());
    assert_eq!(made(), Some(2 * "made\n".len()));
}

/// A plan for the tiny world through a folder.
pub fn tiny(world: &World, packages: &[&str]) -> Plan {
    plan(vec![repository(&format!("dir://{}", world.repository().display()), &world.key())], packages)
}

fn installed(plan: &Plan) -> Installed {
    let cache = scratch();
    install(plan, &Mirrors::default(), Unpacker::Dpkg, cache.path(), &Reporter::silent())
}

#[test]
fn a_maintainer_script_that_fails_is_shown_with_its_status_and_last_lines() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let (world, folder) = (World::open(), scratch());
    let store = PackageStore::open(&folder.path().join("cache")).unwrap();
    let (tree, work) = (folder.path().join("tree"), folder.path().join("work"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&work).unwrap();
    let plan = tiny(&world, &["tiny-broken-postinst"]);
    let mut apt = Apt::open(&plan, &Mirrors::default(), &store, &work).unwrap();
    let reporter = Reporter::silent();
    let set = apt.resolve(&reporter).unwrap();
    let (rooted, sandbox) = (Rooted::open(&tree).unwrap(), Sandbox::new(&tree));
    apt.install(&set, Phase::Bootstrap, &rooted, &sandbox, &reporter).unwrap();
    let error = apt.install(&set, Phase::Image, &rooted, &sandbox, &reporter).unwrap_err();
    assert_eq!(
        error.text(),
        "error: cannot install the package tiny-broken-postinst\
         \n  cause: installed tiny-broken-postinst package post-installation script subprocess returned error exit status 3\
         \n         last lines of its output\
         \n         | tiny-broken-postinst: this cannot work"
    );
    assert_eq!(error.exit().code(), 65);
}

#[test]
fn an_image_with_an_update_stack_goes_on_by_itself() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let (world, cache) = (World::open(), scratch());
    let server = Server::start(world.repository());
    let permanent = Repository { used: RepositoryUse::BuildAndImage, ..repository(&server.url(), &world.key()) };
    let mut plan = plan(vec![permanent], &["tiny-app"]);
    plan.update_stack = UpdateStack::Kept;
    let reporter = Reporter::silent();
    let done = install(&plan, &Mirrors::default(), Unpacker::Dpkg, cache.path(), &reporter);
    let said = reporter.warnings().iter().map(|warning| warning.text.clone()).collect::<Vec<_>>().join("\n");
    assert!(said.contains("may mean nothing on another machine"), "{said}");
    assert_eq!(done.apt.finish(&done.set, &done.rooted(), &done.sandbox(), &reporter).unwrap(), Vec::<String>::new());
    assert!(!done.rooted().exists(&"/usr/sbin/policy-rc.d".into()));
    let sources = fs::read_to_string(done.tree().join("etc/apt/sources.list.d/tiny.sources")).unwrap();
    let wanted = format!(
        "Types: deb\nURIs: {}\nSuites: tiny\nComponents: main\nSigned-By: /etc/apt/keyrings/tiny.gpg\n",
        server.url()
    );
    assert_eq!(sources, wanted);
    let online = done.sandbox().network(Network::Host);
    for words in [&["apt-get", "update", "-eany"][..], &["apt-get", "install", "-y", "tiny-recommended"]] {
        let ended = online.run_to_end(&reporter, words, |_| {}).unwrap();
        let said = String::from_utf8_lossy(&[ended.output.stdout, ended.output.stderr].concat()).into_owned();
        assert!(ended.status.success(), "{said}");
    }
    assert!(done.says(&["apt-get", "-s", "autoremove"]).contains("0 to remove"));
    assert_eq!(
        done.says(&["apt-mark", "showmanual"]).lines().filter(|name| name.contains("tiny")).collect::<Vec<_>>(),
        ["tiny-app", "tiny-recommended"]
    );
    assert_eq!(done.says(&["dpkg", "--audit"]), "");
}

#[test]
fn an_image_without_an_update_stack_holds_no_package_manager_and_can_be_scanned() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let done = installed(&tiny(&World::open(), &["tiny-app"]));
    assert!(!listed(&done).contains(&"apt".to_string()));
    let gone = done.apt.finish(&done.set, &done.rooted(), &done.sandbox(), &Reporter::silent()).unwrap();
    assert_eq!(gone, ["dpkg"]);
    let left: Vec<String> = paths(&done);
    let suspicious =
        |path: &&String| ["dpkg", "/apt", "debconf", "update-alternatives"].iter().any(|part| path.contains(part));
    let allowed = |path: &&String| !path.starts_with("/var/lib/dpkg/info/");
    assert_eq!(
        left.iter().filter(suspicious).filter(allowed).collect::<Vec<_>>(),
        ["/var/lib/dpkg", "/var/lib/dpkg/info", "/var/lib/dpkg/status"]
    );
    let kinds: std::collections::BTreeSet<&str> = left
        .iter()
        .filter_map(|path| path.strip_prefix("/var/lib/dpkg/info/"))
        .filter_map(|name| name.rsplit('.').next())
        .collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["conffiles", "format", "list", "md5sums"]);
    assert_eq!(done.says(&["tiny", "works"]), "tiny-app works\n");
    assert!(listed(&done).contains(&"tiny-app".to_string()) && !listed(&done).contains(&"dpkg".to_string()));
}

#[test]
fn an_image_of_one_program_holds_nothing_else() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let mut plan = tiny(&World::open(), &["tiny-app"]);
    plan.packages.essential = Essential::OnlyNeeded;
    let done = installed(&plan);
    done.apt.finish(&done.set, &done.rooted(), &done.sandbox(), &Reporter::silent()).unwrap();
    assert_eq!(listed(&done), ["base-files", "libtiny1", "tiny-app", "tiny-provider"]);
    assert!(!done.tree().join("usr/bin/sh").exists());
    assert!(done.tree().join("etc/passwd").exists());
}

#[test]
fn uninstall_takes_what_only_they_needed_and_delete_nothing_else() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let world = World::open();
    let mut plan = tiny(&world, &["tiny-app", "tiny-provider"]);
    plan.packages.uninstall = named(&["tiny-app", "not-there"]);
    let done = installed(&plan);
    let reporter = Reporter::silent();
    let gone =
        done.apt.uninstall(&plan.packages.uninstall, &done.set, &done.rooted(), &done.sandbox(), &reporter).unwrap();
    assert_eq!(gone, ["libtiny1", "tiny-app"]);
    assert_eq!(reporter.warnings().len(), 1);
    assert!(!done.tree().join("etc/tiny").exists());
    assert!(listed(&done).contains(&"tiny-provider".to_string()));
    assert_eq!(done.says(&["dpkg", "--audit"]), "");

    let mut plan = tiny(&world, &["tiny-app"]);
    plan.packages.uninstall = named(&["dash"]);
    plan.packages.delete = named(&["libtiny1"]);
    let done = installed(&plan);
    let error = done
        .apt
        .uninstall(&plan.packages.uninstall, &done.set, &done.rooted(), &done.sandbox(), &reporter)
        .unwrap_err();
    assert!(error.text().contains("essential"), "{}", error.text());
    assert_eq!(done.apt.delete(&done.rooted(), &reporter).unwrap(), ["libtiny1"]);
    assert!(!done.tree().join("usr/lib/x86_64-linux-gnu/libtiny.so.1").exists());
    assert!(listed(&done).contains(&"tiny-app".to_string()) && !listed(&done).contains(&"libtiny1".to_string()));
}

#[test]
fn debian_12_and_13_are_installed_by_dpkg() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv");
    if !crate::oracle::is_there(&Mirrors::load(&[], None).unwrap()) {
        skip!("needs a Debian mirror among the host's apt sources");
    }
    let _turn = together();
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    for codename in ["bookworm", "trixie"] {
        let permanent = debian(codename).into_iter();
        let permanent = permanent.map(|one| Repository { used: RepositoryUse::BuildAndImage, ..one }).collect();
        let mut plan = plan(permanent, &["openssh-server", "python3"]);
        plan.update_stack = UpdateStack::Kept;
        let mirrors = Mirrors::load(&[], None).unwrap();
        let done = install(&plan, &mirrors, Unpacker::Dpkg, &scratch_root().join("debian-cache"), &reporter);
        assert_eq!(done.says(&["dpkg", "--audit"]), "");
        assert!(done.says(&["python3", "-c", "import ssl; print(ssl.OPENSSL_VERSION)"]).starts_with("OpenSSL 3"));
        let sources = fs::read_to_string(done.tree().join("etc/apt/sources.list.d/security.sources")).unwrap();
        assert!(sources.contains("Signed-By: /usr/share/keyrings/debian-archive-keyring."), "{sources}");
        let online = done.sandbox().network(Network::Host);
        for words in [&["apt-get", "update", "-eany"][..], &["apt-get", "install", "-y", "hello"]] {
            online.run(&reporter, words).unwrap();
        }
        assert!(done.says(&["apt-get", "-s", "autoremove"]).contains("0 to remove"));
        assert!(done.says(&["apt-get", "-s", "dist-upgrade"]).contains("0 upgraded, 0 newly installed, 0 to remove"));
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
fn debian_without_an_update_stack_holds_no_package_manager() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv");
    if !crate::oracle::is_there(&Mirrors::load(&[], None).unwrap()) {
        skip!("needs a Debian mirror among the host's apt sources");
    }
    let _turn = together();
    let reporter = Reporter::new(Verbosity::Steps, None, || std::time::Duration::ZERO);
    for codename in ["bookworm", "trixie"] {
        for essential in [Essential::Kept, Essential::OnlyNeeded] {
            let mut plan = plan(debian(codename), &["jq"]);
            plan.packages.essential = essential;
            let mirrors = Mirrors::load(&[], None).unwrap();
            let done = install(&plan, &mirrors, Unpacker::Dpkg, &scratch_root().join("debian-cache"), &reporter);
            let gone = done.apt.finish(&done.set, &done.rooted(), &done.sandbox(), &reporter).unwrap();
            eprintln!("{codename} {essential:?}\ngone: {gone:?}\nleft: {:?}", listed(&done));
            assert!(done.says(&["jq", "--version"]).starts_with("jq-1"));
            let known = ["/var/lib/dpkg", "libdebconfclient", "/etc/dpkg/origins"];
            let stack =
                |path: &&String| ["/dpkg", "/apt", "debconf", "/var/cache/apt"].iter().any(|part| path.contains(part));
            let left: Vec<String> = paths(&done)
                .iter()
                .filter(stack)
                .filter(|path| !known.iter().any(|part| path.contains(part)))
                .cloned()
                .collect();
            assert_eq!(left, ["/etc/dpkg"]);
        }
    }
}
