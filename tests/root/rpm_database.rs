//! rpm's database where and how the image's own rpm reads it, whatever this host's rpm knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ingot::package::rpmdb;
use ingot::root::RootTree;

use crate::support::foreign_rpm::ForeignRpm;
use crate::support::image::{Description, result};
use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::rpm_image::RpmBench;
use crate::support::server::Server;
use crate::support::{need, scratch, together};

/// A bench whose repository has an rpm of another distribution: its macros name this form of the database.
fn bench(backend: &str) -> RpmBench {
    let world = RpmWorld::open();
    let scratch = scratch();
    let spec = scratch.path().join("rpm.spec");
    let text = format!(
        "Name: rpm\nVersion: 9\nRelease: 1\nSummary: rpm of another distribution\nLicense: X\nBuildArch: noarch\n\
         %description\nIts macros.\n%install\nmkdir -p %{{buildroot}}/usr/lib/rpm %{{buildroot}}/var/lib/rpm\n\
         printf '%%%%_dbpath %%%%{{_var}}/lib/rpm\\n%%%%_db_backend {backend}\\n' > %{{buildroot}}/usr/lib/rpm/macros\n\
         %files\n/usr/lib/rpm/macros\n%dir /var/lib/rpm\n"
    );
    fs::write(&spec, text).unwrap();
    let repository = scratch.path().join("repository");
    world.copy(&repository);
    world.build(&spec, &[], &repository);
    world.index(&repository);
    world.sign(Signer::Own, &repository);
    // The server reads it for as long as the bench is there.
    RpmBench::with_mirror(Server::start(scratch.keep().join("repository")))
}

fn with_rpm(bench: &RpmBench) -> Description {
    bench.container("zypper").edit("<package name=\"busybox\"/>", "<package name=\"busybox\"/><package name=\"rpm\"/>")
}

/// What ingot reads in the database of a tree.
fn names(tree: &Path) -> BTreeSet<String> {
    let installed = rpmdb::installed(&RootTree::open(tree).unwrap()).unwrap();
    let names: Vec<String> = installed.iter().map(|header| header.name()).collect();
    let once: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(once.len(), names.len(), "{names:?}");
    once
}

#[test]
fn an_image_whose_rpm_has_ndb_is_read_and_changed_by_such_an_rpm() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = bench("ndb");
    bench.build(&with_rpm(&bench).script("post_bootstrap.sh", "true")).run().expect(0);
    let tree = bench.tree();
    let exists = |path: &str| fs::symlink_metadata(tree.join(path)).is_ok();
    assert_eq!(fs::read_to_string(tree.join("usr/lib/rpm/macros")).unwrap().lines().count(), 2);
    assert!(exists("var/lib/rpm/Packages.db") && !exists("usr/lib/sysimage/rpm/rpmdb.sqlite"));
    assert!(!exists(".rpmdb-of-the-build") && !exists("var/lib/rpm/rpmdb.sqlite"));
    let names = names(&tree);
    for name in ["busybox", "filesystem", "rpm", "tiny-app", "tiny-provider"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }

    // rpm itself finds nothing wrong in it, makes its index again, and goes on from there.
    need!("mmdebstrap");
    let Some(foreign) = ForeignRpm::open() else { return };
    let good = |program: &str, words: &[&str]| {
        let (good, said) = foreign.run(program, &tree, words);
        assert!(good, "{program} {words:?}: {said}");
        said
    };
    assert!(good("rpm", &["-q", "rpm"]).contains("missing index"));
    let listed: BTreeSet<String> = good("rpm", &["-qa", "--qf", "%{NAME}\\n"]).lines().map(str::to_string).collect();
    assert_eq!(listed, names);
    good("rpmdb", &["--verifydb"]);
    let date = good("rpm", &["-q", "--qf", "%{INSTALLTIME}", "tiny-app"]);
    assert_eq!(date, crate::support::packages::DATE.to_string());
    assert!(good("rpm", &["-qf", "/usr/bin/tiny-app"]).starts_with("tiny-app-"));
    assert!(good("rpm", &["-q", "--whatprovides", "tiny-app"]).starts_with("tiny-app-"));
    let (_, said) = foreign.run("rpm", &tree, &["-Va", "--nomtime"]);
    assert!(said.lines().all(|line| line.contains(" c /etc/")), "{said}");
    let package = bench.world.repository().join(bench.world.package("tiny-lua"));
    good("rpm", &["--install", "--nosignature", "--justdb", package.to_str().unwrap()]);
    assert!(good("rpm", &["-q", "tiny-lua"]).starts_with("tiny-lua-"));
    good("rpmdb", &["--verifydb"]);
}

#[test]
fn a_container_on_one_whose_rpm_has_ndb_gets_only_what_it_lacks() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "dnf");
    let _turn = together();
    let bench = bench("ndb");
    bench.build_into(&with_rpm(&bench), "base").run().expect(0);
    let base = result(&bench.path("base"), ".docker.tar");
    let derived = format!("<type image=\"docker\" derived_from=\"file://{}\">", base.display());
    let bootstrap = "  <packages type=\"bootstrap\">\n    <package name=\"filesystem\"/>\n    <package name=\"busybox\"/>\n  </packages>\n";
    for manager in ["zypper", "dnf4"] {
        let description =
            bench.container(manager).package("tiny-lua").edit("<type image=\"docker\">", &derived).edit(bootstrap, "");
        bench.build_into(&description, manager).run().expect(0).says(&["resolve  1 packages"]);
    }
}

#[test]
fn berkeley_db_is_refused_where_the_images_rpm_would_have_it() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = bench("bdb");
    bench.build(&with_rpm(&bench)).run().expect(69).says(&["Berkeley DB, `bdb`", "such an image is built without rpm"]);
    // Nor is it taken for a base without packages.
    let bench = RpmBench::new();
    let base = bench.container("zypper").script("config.sh", "mkdir -p /var/lib/rpm\necho x > /var/lib/rpm/Packages");
    bench.build_into(&base, "base").run().expect(0);
    let base = result(&bench.path("base"), ".docker.tar");
    let derived = format!("<type image=\"docker\" derived_from=\"file://{}\">", base.display());
    let description = bench.container("zypper").edit("<type image=\"docker\">", &derived);
    bench.build(&description).run().expect(65).says(&["/var/lib/rpm/Packages is Berkeley DB"]);
}
