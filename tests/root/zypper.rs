//! Whole images of rpm packages that the host's zypper solved: what is in them, what is not, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::support::image::{assert_cache_is_looked_after, digests, result};
use crate::support::rpm::{RpmWorld, Signer, need_rpm_world};
use crate::support::rpm_image::{RpmBench, rpm};
use crate::support::server::Server;
use crate::support::{alone, need, scratch, together};

fn names(tree: &Path) -> BTreeSet<String> {
    rpm(tree, &["-qa", "--qf", "%{NAME}\n"]).lines().map(str::to_string).collect()
}

fn exists(tree: &Path, path: &str) -> bool {
    fs::symlink_metadata(tree.join(path)).is_ok()
}

/// Where rpm, zypper and libzypp keep things on a host, with the time of the last change.
fn of_the_host() -> Vec<(PathBuf, SystemTime)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/cache/zypp", "/var/lib/zypp", "/etc/zypp", "/var/log/zypp"]
            .map(PathBuf::from)
            .into();
    folders.extend([home.join(".rpmdb"), home.join(".zypp"), "/var/log/zypper.log".into(), "/run/zypp.pid".into()]);
    while let Some(path) = folders.pop() {
        // Whoever only reads a database of SQLite writes to this file.
        if path.to_string_lossy().ends_with("-shm") {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if let (true, Ok(entries)) = (metadata.is_dir(), fs::read_dir(&path)) {
            folders.extend(entries.flatten().map(|entry| entry.path()));
        }
        found.push((path, metadata.modified().unwrap()));
    }
    found.sort();
    found
}

#[test]
fn a_container_of_rpm_packages_holds_what_was_asked_for_and_nothing_of_its_making() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    // No other test runs zypper or rpm beside it.
    let _turn = alone();
    let bench = RpmBench::new();
    let description = bench
        .container("zypper")
        .package("tiny-ping")
        .edit(
            "<package name=\"tiny-ping\"/>",
            "<package name=\"tiny-ping\"/><namedCollection name=\"tiny_base\"/><product name=\"tiny\"/>",
        )
        .script("post_bootstrap.sh", "echo bootstrapped >> /var/lib/tiny/scripts\ntest ! -e /usr/bin/tiny-app")
        .script("config.sh", "echo configured >> /var/lib/tiny/scripts");
    let before = of_the_host();
    let answer = bench.build(&description).run().expect(0);
    assert_eq!(of_the_host(), before, "the host changed");
    let tree = bench.tree();
    let said = fs::read_to_string(tree.join("var/lib/tiny/scripts")).unwrap();
    let position =
        |line: &str| said.lines().position(|other| other == line).unwrap_or_else(|| panic!("{line}: {said}"));
    let order =
        ["bootstrapped", "tiny-app pre 1", "tiny-app post 1", "tiny-app posttrans 1", "configured"].map(position);
    assert!(order.is_sorted(), "{said}");
    position("tiny-lua post 1");
    let names = names(&tree);
    for name in ["busybox", "filesystem", "tiny-app", "tiny-provider", "libtiny1", "patterns-tiny-base", "tiny-release"]
    {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert!(!names.contains("tiny-recommended") && !names.contains("gpg-pubkey"), "{names:?}");
    let verified = rpm(&tree, &["-Va", "--nomtime"]);
    assert!(verified.lines().all(|line| line.contains(" c /etc/")), "{verified}");
    let capabilities = Command::new("getcap").arg(tree.join("usr/bin/tiny-ping")).output();
    if let Ok(output) = capabilities {
        assert!(String::from_utf8_lossy(&output.stdout).contains("cap_net_raw=ep"), "{output:?}");
    }
    let database: Vec<_> = fs::read_dir(tree.join("usr/lib/sysimage/rpm")).unwrap().flatten().collect();
    assert_eq!(database.len(), 1, "{database:?}");
    for gone in ["etc/zypp/locks", "var/log/zypper.log", "var/log/zypp/history", "var/cache/zypp/raw", "run/zypp.pid"] {
        assert!(!exists(&tree, gone), "{gone}");
    }
    for gone in ["var/lib/zypp/AutoInstalled", "root/.rpmdb", "root/.gnupg", "var/lib/rpm"] {
        assert!(!exists(&tree, gone), "{gone}");
    }
    let manifest = fs::read_to_string(bench.path("out/manifest.json")).unwrap();
    assert!(manifest.contains("tiny-app") && manifest.contains("\"signed\": \"required\""), "{manifest}");
    assert!(answer.stderr.contains("1 signed"), "{}", answer.stderr);
    assert_cache_is_looked_after(&bench.path("cache"), &["rpm", "stages", "results"]);
}

#[test]
fn a_container_of_rpm_packages_runs() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "podman", "runc");
    let _turn = together();
    let bench = RpmBench::new();
    bench.build(&bench.container("zypper")).run().expect(0);
    let archive = result(&bench.path("out"), ".docker.tar");
    let podman = |words: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--runtime", "runc", "--root"]).arg(bench.path("podman")).arg("--runroot").arg(bench.path("run"));
        let output = command.args(["--storage-driver", "vfs"]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    podman(&["load", "--input", archive.to_str().unwrap()]);
    let run = ["run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let said = podman(&[&run[..], &["tiny:1"]].concat());
    assert!(!said.trim().is_empty(), "{said}");
    let said =
        podman(&[&run[..], &["--entrypoint", "/bin/sh", "tiny:1", "-c", "id -u tiny; stat -c %a /tmp"]].concat());
    assert_eq!(said, "400\n1777\n");
    podman(&["rmi", "--all", "--force"]);
}

#[test]
fn the_same_packages_are_the_same_bytes_whatever_the_cache_and_the_time() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    let description = bench.container("zypper").script("post_bootstrap.sh", "true");
    bench.build_into(&description, "one").run().expect(0);
    let warm = bench.build_into(&description, "warm").args(["--no-stage-cache"]).run().expect(0);
    assert!(!warm.stderr.contains("nothing to do"), "{}", warm.stderr);
    let other = RpmBench::new();
    let description = other.container("zypper").script("post_bootstrap.sh", "true");
    other.build_into(&description, "two").run().expect(0);
    let one = digests(&bench.path("one"));
    assert_eq!(one, digests(&bench.path("warm")));
    // The manifest tells the address of the mirror, which is another one.
    let image = |digests: std::collections::BTreeMap<String, String>| {
        let mut digests = digests;
        digests.retain(|name, _| name.ends_with(".tar"));
        digests
    };
    assert_eq!(image(one), image(digests(&other.path("two"))));
}

#[test]
fn what_rpm_is_told_decides_what_is_installed_and_which_stage_is_used() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    bench.build(&bench.container("zypper")).run().expect(0);
    let tree = bench.tree();
    for path in ["usr/share/doc/tiny-app/README", "usr/share/locale/de/LC_MESSAGES/tiny-app.mo"] {
        assert!(exists(&tree, path), "{path}");
    }
    let options = "<rpm-excludedocs>true</rpm-excludedocs><rpm-locale-filtering>true</rpm-locale-filtering>\
                   <locale>de_DE</locale><packagemanager>zypper</packagemanager>";
    let description = bench.container("zypper").edit("<packagemanager>zypper</packagemanager>", options);
    bench.build(&description).run().expect(0);
    let tree = bench.tree();
    assert!(exists(&tree, "usr/share/locale/de/LC_MESSAGES/tiny-app.mo"));
    for path in ["usr/share/doc/tiny-app/README", "usr/share/locale/fr/LC_MESSAGES/tiny-app.mo"] {
        assert!(!exists(&tree, path), "{path}");
    }
    let verified = rpm(&tree, &["-Va", "--nomtime"]);
    assert!(verified.lines().all(|line| line.contains(" c /etc/")), "{verified}");
}

#[test]
fn lists_take_out_what_they_name_and_what_only_that_needed() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    let with =
        |list: &str| bench.container("zypper").package("tiny-lua").edit("</image>\n", &format!("{list}</image>\n"));
    let list = "<packages type=\"uninstall\"><package name=\"tiny-provider\"/></packages>";
    bench.build(&with(list)).run().expect(0);
    let left = names(&bench.tree());
    // tiny-app needs it, and libtiny1 was there for tiny-app only.
    for gone in ["tiny-provider", "tiny-app", "libtiny1"] {
        assert!(!left.contains(gone), "{gone}: {left:?}");
    }
    assert!(left.contains("tiny-lua") && left.contains("busybox"), "{left:?}");
    let list = "<packages type=\"delete\"><package name=\"tiny-provider\"/><package name=\"absent\"/></packages>";
    let answer = bench.build(&with(list)).run().expect(0);
    assert!(answer.stderr.contains("`absent`, which is not installed"), "{}", answer.stderr);
    let left = names(&bench.tree());
    assert!(!left.contains("tiny-provider") && left.contains("tiny-app"), "{left:?}");
    let ignored = bench
        .container("zypper")
        .edit("<package name=\"tiny-app\"/>", "<package name=\"tiny-app&gt;=2.0\"/><ignore name=\"tiny-provider\"/>");
    bench.build(&ignored).run().expect(65).says(&["tiny-virtual", "config.xml", "<ignore> leaves out what is needed"]);
}

#[test]
fn an_image_keeps_the_repositories_that_it_is_given_and_no_password() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let authorization = "Basic bWU6d29yZCBvZiBtaW5l";
    let bench = RpmBench::with_mirror(Server::start(RpmWorld::open().folder()).demand(authorization));
    let repository = "<repository type=\"rpm-md\" alias=\"tiny\" imageinclude=\"true\" priority=\"42\" username=\"me\" \
                      password=\"word of mine\" customize=\"customize.sh\">";
    let only = "<repository type=\"rpm-md\" alias=\"updates\" imageonly=\"true\"><source \
                path=\"https://example.org/updates\"><signing key=\"this://tiny.asc\"/></source></repository>\n  \
                <packages type=\"bootstrap\">";
    let description = bench
        .container("zypper")
        .edit("<repository type=\"rpm-md\" alias=\"tiny\">", repository)
        .edit("mirror://tiny", "mirror://tiny/repository")
        .edit("<packages type=\"bootstrap\">", only)
        .script("customize.sh", "echo '# customized' >> \"$1\"");
    bench.build(&description).args(["-v"]).run().expect(0).says(&["needs a password, which is not put into the image"]);
    let tree = bench.tree();
    let text = fs::read_to_string(tree.join("etc/zypp/repos.d/tiny.repo")).unwrap();
    for line in ["priority=42", "repo_gpgcheck=1", "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-tiny", "# customized"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    assert!(exists(&tree, "etc/zypp/repos.d/updates.repo"));
    assert!(names(&tree).contains("gpg-pubkey"), "rpm trusts the key");
    for folder in ["tree", "out", "cache"] {
        let found = Command::new("grep").args(["-rl", "word of mine"]).arg(bench.path(folder)).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
    let wrong = description.edit("password=\"word of mine\"", "password=\"x\"");
    bench.build(&wrong).run().expect(65).says(&["does not accept", "config.xml"]);
    let unfit = wrong.edit("password=\"x\"", "password=\"\"");
    bench.build(&unfit).run().expect(65).says(&["its password is empty", "config.xml", "hint:"]);
}

#[test]
fn without_an_update_stack_its_package_is_left_out() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    bench.build(&bench.container("zypper")).args(["--update-stack", "none"]).run().expect(0);
    let tree = bench.tree();
    let names = names(&tree);
    assert!(names.contains("tiny-app") && !names.contains("zypper") && !names.contains("libzypp"), "{names:?}");
    assert!(!exists(&tree, "etc/zypp") && !exists(&tree, "usr/bin/rpm"));
}

#[test]
fn what_nobody_vouches_for_is_76_with_the_reason() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    let by = "<repository type=\"rpm-md\" alias=\"tiny\">";
    let packages_only =
        "<repository type=\"rpm-md\" alias=\"tiny\" repository_gpgcheck=\"false\" package_gpgcheck=\"true\">";
    type Spoil = fn(&RpmWorld, &Path);
    let table: [(&str, &str, Spoil, &[&str]); 7] = [
        ("unsigned", by, |world, folder| world.unsigned_metadata(folder), &["is unsigned"]),
        ("other", by, |world, folder| world.metadata_signed_by(Signer::Other, folder), &["other of the tiny world"]),
        ("expired", by, |world, folder| world.metadata_signed_by(Signer::Expired, folder), &["has expired"]),
        ("tampered", by, |world, folder| world.tampered("tiny-lua", folder), &["tiny-lua", "erification failed"]),
        ("forged", packages_only, |world, folder| world.forged("tiny-lua", Some(Signer::Other), folder), &["tiny-lua"]),
        ("naked", packages_only, |world, folder| world.forged("tiny-lua", None, folder), &["tiny-lua"]),
        (
            "replaced",
            by,
            |world, folder| {
                world.copy(folder);
                world.index_at(folder, 1_700_000_000);
            },
            &["is unsigned"],
        ),
    ];
    for (name, repository, spoil, says) in table {
        let folder = scratch.path().join(name);
        spoil(&world, &folder);
        let bench = RpmBench::with_mirror(Server::start(folder));
        let description = bench.container("zypper").package("tiny-lua").edit(by, repository);
        if name == "expired" {
            fs::copy(world.expired_key(), description.folder().join("tiny.asc")).unwrap();
        }
        let answer = bench.build(&description).run().expect(76).says(says).says(&["config.xml"]);
        assert!(!bench.path("out/manifest.json").exists(), "{}", answer.stderr);
    }
    // Packages of their own signature need no signed metadata.
    let folder = scratch.path().join("good");
    world.unsigned_metadata(&folder);
    let bench = RpmBench::with_mirror(Server::start(folder));
    bench.build(&bench.container("zypper").edit(by, packages_only)).run().expect(0);
}

#[test]
fn what_cannot_be_installed_is_65_with_the_managers_own_reason() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    let table: [(&[&str], &[&str]); 7] = [
        (&["tiny-unsatisfiable"], &["nothing provides tiny-nowhere >= 7"]),
        (&["tiny-foe"], &["conflicts with tiny-app"]),
        (&["tiny-left", "tiny-right"], &["file /usr/share/tiny-both conflicts between"]),
        (&["tiny-broken-pre"], &["tiny-broken-pre: this cannot work", "exit status 3"]),
        (&["tiny-broken-post"], &["tiny-broken-post: this cannot work", "exit status 3"]),
        (&["tiny-trigers"], &["there is no package `tiny-trigers`", "did you mean `tiny-triggers`?"]),
        (&["no-such-thing-at-all"], &["No provider of 'no-such-thing-at-all' found"]),
    ];
    for (packages, says) in table {
        let description =
            packages.iter().fold(bench.container("zypper"), |description, name| description.package(name));
        bench.build(&description).run().expect(65).says(says).says(&["config.xml"]);
    }
    for (element, says) in [("namedCollection", "there is no pattern `x`"), ("product", "there is no product `x`")] {
        let with = format!("<package name=\"tiny-app\"/><{element} name=\"x\"/>");
        let description = bench.container("zypper").edit("<package name=\"tiny-app\"/>", &with);
        bench.build(&description).run().expect(65).says(&[says, "config.xml"]);
    }
}

#[test]
fn the_repository_of_the_higher_priority_wins() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let world = RpmWorld::open();
    let bench = RpmBench::new();
    let old = bench.path("old");
    fs::create_dir(&old).unwrap();
    let file = "tiny-app-1.0-1.noarch.rpm";
    fs::copy(world.repository().join(file), old.join(file)).unwrap();
    world.index(&old);
    world.sign(Signer::Own, &old);
    let repository = format!(
        "<repository type=\"rpm-md\" alias=\"the-old.one\" priority=\"10\"><source path=\"dir://{}\"><signing \
         key=\"this://tiny.asc\"/></source></repository>\n  <packages type=\"bootstrap\">",
        old.display()
    );
    let description = bench.container("zypper").edit("<packages type=\"bootstrap\">", &repository);
    bench.build(&description).run().expect(0);
    assert_eq!(rpm(&bench.tree(), &["-q", "tiny-app"]), "tiny-app-1.0-1.noarch\n");
}

#[test]
fn a_mirror_that_is_away_is_75_and_a_folder_without_a_repository_66() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    let from = |path: &str| bench.container("zypper").edit("mirror://tiny", path);
    bench.build(&from("http://127.0.0.1:1/")).run().expect(75).says(&["Connection failed", "config.xml"]);
    bench.build(&from("dir:///nowhere/at/all")).run().expect(66).says(&["config.xml"]);
    let nothing = format!("{}/nothing", bench.mirror.url());
    bench.build(&from(&nothing)).run().expect(65).says(&["there is no repository", "config.xml"]);
}

#[test]
fn a_script_that_cannot_customize_a_repository_is_65_at_its_place() {
    need!(root);
    need_rpm_world!();
    need!("zypper", "dnf");
    let _turn = together();
    let bench = RpmBench::new();
    for (manager, body, says) in
        [("zypper", "exit 3", "exit status 3"), ("dnf4", "rm \"$1\"", "removed the file that it was to edit")]
    {
        let description = bench
            .container(manager)
            .edit("alias=\"tiny\"", "alias=\"tiny\" customize=\"edit.sh\"")
            .script("edit.sh", body);
        bench.build(&description).run().expect(65).says(&["customize the repository `tiny`", says, "config.xml:13:4"]);
    }
}

#[test]
fn a_container_on_another_gets_only_the_packages_that_it_lacks() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    let bench = RpmBench::new();
    bench.build_into(&bench.container("zypper"), "base").run().expect(0);
    let base = result(&bench.path("base"), ".docker.tar");
    let derived = format!("<type image=\"docker\" derived_from=\"file://{}\">", base.display());
    let bootstrap = "  <packages type=\"bootstrap\">\n    <package name=\"filesystem\"/>\n    <package name=\"busybox\"/>\n  </packages>\n";
    let description =
        bench.container("zypper").package("tiny-lua").edit("<type image=\"docker\">", &derived).edit(bootstrap, "");
    let answer = bench.build(&description).run().expect(0);
    assert!(answer.stderr.contains("resolve  1 packages"), "{}", answer.stderr);
    assert!(!answer.stderr.contains("no source of updates"), "{}", answer.stderr);
    let tree = bench.tree();
    let names = names(&tree);
    assert!(names.contains("tiny-lua") && names.contains("tiny-app") && names.contains("zypper"), "{names:?}");
    let verified = rpm(&tree, &["-Va", "--nomtime"]);
    assert!(verified.lines().all(|line| line.contains(" c /etc/")), "{verified}");
}
