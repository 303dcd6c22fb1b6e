//! A container of packages that dnf chose, the way Fedora and its derivatives describe one.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::image::{Ingot, digests, result, unpack_docker};
use crate::support::leaks::Host;
use crate::support::packages::DATE;
use crate::support::program::{run, text};
use crate::support::rpm::{RpmWorld, need_rpm_world};
use crate::support::server::Server;
use crate::support::{alone, need, scratch, together};

pub(crate) const DESCRIPTION: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="tiny">
  <description type="system">
    <author>Tiny World</author>
    <contact>tiny@example.org</contact>
    <specification>A container of packages that dnf chose</specification>
  </description>
  <preferences>
    <version>1.2.3</version>
    <packagemanager>MANAGER</packagemanager>
    <release-version>7</release-version>
    <rpm-excludedocs>true</rpm-excludedocs>
    <type image="docker">
      <containerconfig name="tiny" tag="1"><entrypoint execute="/usr/bin/tiny-app"/></containerconfig>
    </type>
  </preferences>
  <repository type="rpm-md" alias="tiny-7" priority="3" imageinclude="true" package_gpgcheck="true">
    <source path="URL/$releasever"><signing key="this://tiny.asc"/></source>
  </repository>
  <packages type="bootstrap" patternType="plusRecommended">
    <package name="filesystem"/>
    <package name="busybox"/>
    <collectionModule name="tiny-module" stream="2" enable="true"/>
  </packages>
  <packages type="image" patternType="plusRecommended">
    <package name="tiny-app&gt;=1.0"/>
    <package name="tiny-modular"/>
    <package name="tiny-ping"/>
    <namedCollection name="tiny-group"/>
    <ignore name="tiny-supplement"/>
  </packages>
  <packages type="uninstall">
    <package name="tiny-ping"/>
  </packages>
</image>
"#;

/// Everything that dnf and rpm of this host could write to, with sizes and times.
fn of_the_host() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in
        ["/var/cache/dnf", "/var/cache/libdnf5", "/var/lib/dnf", "/var/lib/rpm", "/etc/dnf", "/etc/yum.repos.d"]
    {
        let listed = Command::new("find").args([folder, "-printf", "%p %s %T@ %C@\n"]).output().unwrap();
        found.insert(folder.to_string(), String::from_utf8_lossy(&listed.stdout).into_owned());
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let logs = run(
        "sh",
        &["-c", "ls -d /var/log/dnf* /var/log/hawkey* /tmp/repokey* 2>&1; ls \"$1/.rpmdb\" 2>&1; true", "sh", &home],
    );
    found.insert("logs".into(), logs);
    found
}

#[test]
fn a_container_of_dnfs_packages_runs_and_has_no_trace_of_dnfs_work() {
    need!(root);
    need_rpm_world!();
    need!("dnf-3", "gpgv", "podman", "runc");
    let _turn = alone();
    let world = RpmWorld::open();
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    for name in ["served", "image", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    world.copy(&at("served/7"));
    let server = Server::start(at("served"));
    let xml = DESCRIPTION.replace("MANAGER", "dnf4").replace("URL", &server.url());
    fs::write(at("image/config.xml"), xml).unwrap();
    fs::copy(world.key(), at("image/tiny.asc")).unwrap();
    let before = (Host::look(&[&at("work")]), of_the_host());
    let date = DATE.to_string();
    // The third time what dnf decided is remembered: modules, groups and all.
    for (number, cache, solution) in [("1", "1", "made"), ("2", "2", "made"), ("3", "1", "reused")] {
        let build = Ingot::new(["build"]).arg(at("image")).arg("--target-dir").arg(at(&format!("out{number}")));
        let build = build.args(["--source-date-epoch", &date, "--cache-dir"]).arg(at(&format!("cache{cache}")));
        let build = build.args(["--no-stage-cache", "--explain-cache"]).env("INGOT_WORK_DIR", text(&at("work")));
        build.run().expect(0).says(&["1 signed", &format!("solution: {solution}")]);
    }
    assert_eq!(of_the_host(), before.1);
    before.0.assert_nothing_left(&[&at("work")]);
    let made = |number: &str| {
        let mut made = digests(&at(&format!("out{number}")));
        made.retain(|name, _| !name.ends_with(".log"));
        made
    };
    assert_eq!(made("1"), made("2"));
    assert_eq!(made("1"), made("3"));

    let archive = result(&at("out1"), ".docker.tar");
    let tree = at("tree");
    unpack_docker(&archive, &tree);
    let read = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    let repository = read("etc/yum.repos.d/tiny-7.repo");
    for line in ["name=tiny-7", "priority=3", "gpgcheck=1", "repo_gpgcheck=1"] {
        assert!(repository.lines().any(|other| other == line), "{line} in {repository}");
    }
    assert!(repository.contains("/$releasever\n"), "{repository}");
    let module = read("etc/dnf/modules.d/tiny-module.module");
    assert!(module.contains("stream=2\n") && module.contains("state=enabled\n"), "{module}");
    for gone in ["usr/share/tiny-supplement", "var/lib/dnf/history.sqlite", "var/log/dnf.log", "usr/bin/tiny-ping"] {
        assert!(!tree.join(gone).exists(), "{gone}");
    }
    let rpm = |words: &[&str]| {
        let place = ["--root", text(&tree), "--dbpath", "/usr/lib/sysimage/rpm"];
        run("rpm", &[&place, words].concat())
    };
    let installed = rpm(&["-qa", "--qf", "%{NAME}-%{VERSION}\n"]);
    for package in
        ["dnf-4.14.0", "tiny-app-2.0", "tiny-modular-2.0", "tiny-lua-1.0", "tiny-suggested-1.0", "tiny-recommended-1.0"]
    {
        assert!(installed.lines().any(|line| line == package), "{package} in {installed}");
    }

    let (storage, state) = (at("storage"), at("state"));
    let podman = |arguments: &[&str]| {
        let store =
            ["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs", "--runtime", "runc"];
        run("podman", &[&store, arguments].concat())
    };
    podman(&["load", "--quiet", "--input", text(&archive)]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--rm"];
    let said = podman(&[&["run"], &limits[..], &["localhost/tiny:1", "a word"]].concat());
    assert!(said.contains("a word"), "{said}");
    podman(&["rmi", "--force", "--all"]);

    // dnf goes on from there: from the image's own repository, with the image's key, and within the module's stream.
    let key = format!("--setopt=tiny-7.gpgkey=file://{}/etc/pki/rpm-gpg/RPM-GPG-KEY-tiny-7", text(&tree));
    fs::write(at("work/.rpmmacros"), "%_dbpath /usr/lib/sysimage/rpm\n").unwrap();
    let mut command = Command::new("dnf-3");
    command.arg("--installroot").arg(&tree).args([
        "--releasever=7",
        "-y",
        "--setopt=plugins=0",
        "--disablerepo=tiny",
        &key,
    ]);
    let output =
        command.args(["install", "tiny-triggers"]).env("HOME", at("work")).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(rpm(&["-q", "tiny-triggers", "tiny-modular"]).contains("tiny-modular-2.0"));
}

#[test]
fn what_dnf_cannot_install_ends_the_build_with_its_reason() {
    need!(root);
    need_rpm_world!();
    need!("dnf-3");
    let _turn = together();
    let (world, folder) = (RpmWorld::open(), scratch());
    let at = |name: &str| folder.path().join(name);
    for name in ["served", "image", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    world.copy(&at("served/7"));
    let url = format!("dir://{}", at("served").display());
    fs::copy(world.key(), at("image/tiny.asc")).unwrap();
    for (old, new, code, reason) in [
        ("tiny-modular", "tiny-nowhere", 65, "config.xml:27:"),
        ("tiny-modular", "tiny-broken-pre", 65, "tiny-broken-pre"),
        ("<namedCollection name=\"tiny-group\"", "<product name=\"tiny\"", 65, "dnf has no products"),
        ("MANAGER", "dnf", 65, "dnf"),
    ] {
        let xml = DESCRIPTION.replace(old, new).replace("MANAGER", "dnf4").replace("URL", &url);
        fs::write(at("image/config.xml"), xml).unwrap();
        let build = Ingot::new(["build"]).arg(at("image")).arg("--target-dir").arg(at("out")).arg("--cache-dir");
        let build = build.arg(at("cache")).env("INGOT_WORK_DIR", text(&at("work")));
        build.run().expect(code).says(&[reason]);
    }
}

#[test]
fn each_dnf_finds_the_modules_where_it_looks_for_them() {
    need!(root);
    need_rpm_world!();
    need!("dnf-3", "gpgv");
    let _turn = together();
    let (world, folder) = (RpmWorld::open(), scratch());
    let at = |name: &str| folder.path().join(name);
    for name in ["served", "image", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    world.copy(&at("served/7"));
    fs::copy(world.key(), at("image/tiny.asc")).unwrap();
    for (manager, program, notes, line) in [
        ("microdnf", "microdnf", "etc/dnf/modules.d/tiny-module.module", "stream=2"),
        ("dnf5", "dnf5", "usr/lib/sysimage/libdnf5/modules.toml", "enabled_stream = \"2\""),
    ] {
        let url = format!("dir://{}", at("served").display());
        let mut xml = DESCRIPTION.replace("MANAGER", manager).replace("URL", &url);
        if manager == "microdnf" {
            // The other way to choose a stream, which dnf4 knows.
            let module = "<collectionModule name=\"tiny-module\" stream=\"2\" enable=\"true\"/>";
            xml = xml.replace(module, "<namedCollection name=\"tiny-module:2\"/>");
        }
        fs::write(at("image/config.xml"), xml).unwrap();
        let build = Ingot::new(["build"]).arg(at("image")).arg("--target-dir").arg(at(manager));
        let build = build.args(["--source-date-epoch", &DATE.to_string(), "--cache-dir"]);
        build.arg(at("cache")).env("INGOT_WORK_DIR", text(&at("work"))).run().expect(0);
        let tree = at(&format!("{manager}-tree"));
        unpack_docker(&result(&at(manager), ".docker.tar"), &tree);
        assert!(tree.join("usr/bin").join(program).exists() && !tree.join("usr/bin/dnf").exists(), "{manager}");
        let found = fs::read_to_string(tree.join(notes)).unwrap();
        assert!(found.lines().any(|other| other == line), "{manager}: {found}");
    }
}
