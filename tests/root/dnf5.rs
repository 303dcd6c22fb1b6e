//! A container of packages that dnf5 chose and rpm 6 installed, on a newer Debian that takes this host's place.

use std::fs;
use std::path::Path;

use crate::dnf::DESCRIPTION;
use crate::support::image::{Answer, digests, result, unpack_docker};
use crate::support::leaks;
use crate::support::packages::DATE;
use crate::support::program::{finish, run, text};
use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::server::Server;
use crate::support::{alone, need, newer, scratch};

/// A folder of one test, in which `served/7` is the tiny RPM world, and a host that sees it.
struct Bench {
    folder: tempfile::TempDir,
    world: RpmWorld,
    host: newer::Host,
}

impl Bench {
    fn open() -> Option<Bench> {
        let tree = newer::tree("dnf5", newer::SUITE, newer::DNF5)?;
        let (world, folder) = (RpmWorld::open(), scratch());
        for name in ["served", "image", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let programs = Path::new(env!("CARGO_BIN_EXE_ingot")).parent().unwrap();
        let host = newer::Host::new(tree, folder.path(), &[programs]);
        Some(Bench { folder, world, host })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Builds what config.xml says from the repositories at `url`, trusting `key`.
    fn build(&self, xml: &str, url: &str, key: &Path, target: &str, cache: &str) -> Answer {
        let xml = xml.replace("MANAGER", "dnf5").replace("URL", url);
        fs::write(self.path("image/config.xml"), xml).unwrap();
        fs::copy(key, self.path("image/tiny.asc")).unwrap();
        let mut command = self.host.command(Path::new(env!("CARGO_BIN_EXE_ingot")));
        command.arg("build").arg(self.path("image")).arg("--target-dir").arg(self.path(target));
        command.args(["--source-date-epoch", &DATE.to_string(), "--no-stage-cache", "--explain-cache", "--cache-dir"]);
        Answer::of(command.arg(self.path(cache)).env("INGOT_WORK_DIR", self.path("work")))
    }

    /// Nothing of the host changed.
    #[track_caller]
    fn assert_host_untouched(&self) {
        assert_eq!(self.host.written(), [""; 0]);
    }
}

#[test]
fn a_container_of_dnf5s_packages_is_whole_and_has_no_trace_of_dnf5s_work() {
    need!(root);
    need_rpm_world!();
    need!("mmdebstrap", "unshare");
    let Some(bench) = Bench::open() else { return };
    let _turn = alone();
    bench.world.copy(&bench.path("served/7"));
    let server = Server::start(bench.path("served"));
    let before = leaks::Host::look(&[&bench.path("work")]);
    // The third time what dnf5 decided is remembered: modules, groups and all.
    for (number, cache, solution) in [("1", "1", "made"), ("2", "2", "made"), ("3", "1", "reused")] {
        let (target, cache) = (format!("out{number}"), format!("cache{cache}"));
        let answer = bench.build(DESCRIPTION, &server.url(), &bench.world.key(), &target, &cache).expect(0);
        let answer = answer.says(&["1 signed", &format!("solution: {solution}")]);
        assert_eq!(answer.stderr.matches("warning: ").count(), 1, "of the address: {}", answer.stderr);
        bench.assert_host_untouched();
    }
    before.assert_nothing_left(&[&bench.path("work")]);
    assert_eq!(digests(&bench.path("out1")), digests(&bench.path("out2")));
    assert_eq!(digests(&bench.path("out1")), digests(&bench.path("out3")));

    let tree = bench.path("tree");
    unpack_docker(&result(&bench.path("out1"), ".docker.tar"), &tree);
    let found = run("find", &[text(&tree), "-name", "*dnf*", "-printf", "%P\n"]);
    let mut found: Vec<&str> = found.lines().collect();
    found.sort();
    // The program is a package's; the other thing says which stream of a module was chosen.
    assert_eq!(found, ["usr/bin/dnf5", "usr/lib/sysimage/libdnf5"]);
    for gone in ["usr/share/tiny-supplement", "usr/bin/tiny-ping", "var/cache", "var/log/dnf5.log"] {
        assert!(
            fs::read_dir(tree.join(gone)).map_or(!tree.join(gone).exists(), |mut all| all.next().is_none()),
            "{gone}"
        );
    }
    // The rpm of this host reads what that of the other one wrote.
    let rpm = |words: &[&str]| {
        let place = ["--root", text(&tree), "--dbpath", "/usr/lib/sysimage/rpm"];
        run("rpm", &[&place, words].concat())
    };
    let installed = rpm(&["-qa", "--qf", "%{NAME}-%{VERSION}\n"]);
    for package in ["dnf5-5.2.0", "tiny-app-2.0", "tiny-modular-2.0", "tiny-lua-1.0", "tiny-recommended-1.0"] {
        assert!(installed.lines().any(|line| line == package), "{package} in {installed}");
    }

    // dnf5 goes on from there: from the image's own repository, with the image's key, and within the module's stream.
    let dnf5 = |words: &[&str]| {
        let mut command = bench.host.command(Path::new("/usr/bin/dnf5"));
        command.arg(format!("--installroot={}", tree.display())).args(["--releasever=7", "-y", "--no-plugins"]);
        let key = tree.join("etc/pki/rpm-gpg/RPM-GPG-KEY-tiny-7");
        command.arg(format!("--setopt=tiny-7.gpgkey=file://{}", key.display())).args(words);
        fs::create_dir_all(bench.path("home")).unwrap();
        fs::write(bench.path("home/.rpmmacros"), "%_dbpath /usr/lib/sysimage/rpm\n").unwrap();
        finish(command.env("HOME", bench.path("home")))
    };
    dnf5(&["install", "tiny-triggers"]);
    assert!(rpm(&["-q", "tiny-triggers", "tiny-modular"]).contains("tiny-modular-2.0"));
    let modules = dnf5(&["module", "list", "--enabled"]);
    assert!(modules.contains("tiny-module 2 [e]"), "{modules}");
}

#[test]
fn what_dnf5_or_rpm_6_refuses_ends_the_build_with_its_reason_and_leaves_nothing() {
    need!(root);
    need_rpm_world!();
    need!("mmdebstrap", "unshare");
    let Some(bench) = Bench::open() else { return };
    let _turn = alone();
    let world = &bench.world;
    world.copy(&bench.path("served/7"));
    for (name, make) in [
        ("tampered", &(|to: &Path| world.tampered("tiny-lua", to)) as &dyn Fn(&Path)),
        ("forged", &|to| world.forged("tiny-lua", Some(Signer::Other), to)),
        ("unsigned", &|to| world.unsigned_metadata(to)),
        ("expired", &|to| world.metadata_signed_by(Signer::Expired, to)),
    ] {
        fs::create_dir(bench.path(name)).unwrap();
        make(&bench.path(name).join("7"));
    }
    let (own, other, expired) = (world.key(), world.other_key(), world.expired_key());
    let before = leaks::Host::look(&[&bench.path("work")]);
    let instead = |name: &str| DESCRIPTION.replace("<package name=\"tiny-modular\"/>", name);
    for (xml, served, key, code, reasons) in [
        (instead("<package name=\"tiny-nowhere\"/>"), "served", &own, 65, &["tiny-nowhere", "config.xml:27:"][..]),
        (
            instead("<package name=\"tiny-unsatisfiable\"/>"),
            "served",
            &own,
            65,
            &["tiny-nowhere >= 7", "config.xml:27:"],
        ),
        (instead("<package name=\"tiny-foe\"/>"), "served", &own, 65, &["conflicts with tiny-app"]),
        (
            instead("<package name=\"tiny-left\"/><package name=\"tiny-right\"/>"),
            "served",
            &own,
            65,
            &["file /usr/share/tiny-both conflicts between", "config.xml:27:"],
        ),
        (instead("<package name=\"tiny-broken-pre\"/>"), "served", &own, 65, &["tiny-broken-pre", "scriptlet failed"]),
        (
            instead("<package name=\"tiny-broken-post\"/>"),
            "served",
            &own,
            65,
            &["tiny-broken-post", "scriptlet failed"],
        ),
        (instead(""), "served", &other, 76, &["config.xml:17:"]),
        (instead(""), "tampered", &own, 76, &["tiny-lua"]),
        (instead(""), "forged", &own, 76, &["tiny-lua"]),
        (instead(""), "unsigned", &own, 76, &["config.xml:17:"]),
        (instead(""), "expired", &expired, 76, &["config.xml:17:"]),
        (instead(""), "nothing", &own, 66, &["config.xml:17:"]),
    ] {
        let url = format!("dir://{}", bench.path(served).display());
        let answer = bench.build(&xml, &url, key, "refused", served);
        assert!(!answer.stderr.contains("set locale"), "{}", answer.stderr);
        answer.expect(code).says(reasons);
        bench.assert_host_untouched();
        result(&bench.path("refused"), ".failed.log");
    }
    before.assert_nothing_left(&[&bench.path("work")]);
}
