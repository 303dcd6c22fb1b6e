//! Images without update stack, of packages of rpm: what would have to be removed is never installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::bill::{READERS, read_by_others, speaks_for_itself};
use crate::support::image::{Answer, digests};
use crate::support::packages::DATE;
use crate::support::rpm::{RpmWorld, need_rpm_world};
use crate::support::rpm_image::{RpmBench, rpm};
use crate::support::server::Server;
use crate::support::{need, python, scratch, together};

/// A tool that needs rpm, and a distribution that needs its list of repositories.
const SPEC: &str = "\
Name:           tiny-tool
Version:        1.0
Release:        1
Summary:        A tool that asks rpm
License:        MIT
URL:            https://example.org/tool
BuildArch:      noarch
Requires:       rpm
%description
%package -n tiny-distribution
Summary:        A distribution
License:        GPL-2.0-or-later AND strange words
Requires:       fedora-repos
%description -n tiny-distribution
%package -n fedora-repos
Summary:        Where packages come from
License:        MIT
%description -n fedora-repos
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/tiny-distribution %{buildroot}/etc/yum.repos.d
echo tool > %{buildroot}/usr/bin/tiny-tool
echo it > %{buildroot}/usr/share/tiny-distribution/name
echo '[updates]' > %{buildroot}/etc/yum.repos.d/updates.repo
%files
/usr/bin/tiny-tool
%files -n tiny-distribution
/usr/share/tiny-distribution
%files -n fedora-repos
/etc/yum.repos.d/updates.repo
";

fn bench(folder: &Path) -> RpmBench {
    let world = RpmWorld::open();
    let repository = folder.join("repository");
    world.copy(&repository);
    let spec = folder.join("tool.spec");
    fs::write(&spec, SPEC).unwrap();
    world.build(&spec, &[], &repository);
    world.index(&repository);
    world.sign(crate::support::rpm::Signer::Own, &repository);
    RpmBench::with_mirror(Server::start(repository))
}

fn names(tree: &Path) -> BTreeSet<String> {
    rpm(tree, &["-qa", "--qf", "%{NAME}\n"]).lines().map(str::to_string).collect()
}

fn check(manager: &str, program: &str) {
    let scratch = scratch();
    let bench = bench(scratch.path());
    let date = DATE.to_string();
    let build = |description: &crate::support::image::Description, words: &[&str]| -> Answer {
        bench.build(description).args(["--source-date-epoch", date.as_str()]).args(words).run()
    };

    // Packages in the bootstrap list and none for the image: KIWI's convention.
    let only = bench.container(manager).edit("\n    <package name=\"tiny-app\"/>\n  </packages>", "</packages>");
    let only = only.edit("<package name=\"busybox\"/>", "<package name=\"busybox\"/><package name=\"tiny-app\"/>");
    build(&only, &[]).expect(0);
    let tree = bench.tree();
    let small = names(&tree);
    assert!(small.contains("tiny-app"), "{small:?}");
    let verified = rpm(&tree, &["-Va"]);
    assert!(verified.lines().all(|line| line.contains(" c /etc/")), "{verified}");
    for gone in
        ["etc/zypp", "etc/yum.repos.d", "etc/dnf", "var/lib/zypp", "var/lib/dnf", "var/cache/zypp", "usr/bin/rpm"]
    {
        assert!(!tree.join(gone).exists(), "{gone}");
    }

    // The stack and what only it needs stay out, whoever names it.
    let description = bench.container(manager).package("libzypp").package("tiny-distribution");
    let answer = build(&description, &["--update-stack", "none"]).expect(0);
    answer.says(&[
        "`libzypp` is part of the update stack and is left out with it",
        "`tiny-distribution` requires `fedora-repos`, which serves an update stack and is left out",
    ]);
    let tree = bench.tree();
    let found = names(&tree);
    for name in ["rpm", "libzypp", "libsolv-tools", "zypper", "dnf", "fedora-repos"] {
        assert!(!found.contains(name), "{name} in {found:?}");
    }
    assert!(found.contains("tiny-distribution") && !tree.join("etc/yum.repos.d").exists(), "{found:?}");

    // A program of it that something wanted needs is said by name.
    let answer = build(&bench.container(manager).package("tiny-tool"), &["--update-stack", "none"]).expect(65);
    answer.says(&["`tiny-tool` requires `rpm`", "config.xml:", "--update-stack kept"]);

    // Kept, it works with its own database.
    build(&bench.container(manager).package("tiny-tool"), &["--update-stack", "kept"]).expect(0);
    let found = names(&bench.tree());
    assert!(found.contains("rpm") && found.contains(program), "{found:?}");

    // The database as a bill of materials, the same each time.
    let Some(bin) = python::programs("sbom", READERS) else { return };
    // Where nothing says which distribution it is, Syft takes it for one of busybox.
    build(&bench.container(manager).package("tiny-release"), &["--update-stack", "none"]).expect(0);
    speaks_for_itself(&bin, &bench.path("out"));
    fs::remove_dir_all(bench.path("out")).unwrap();
    let description = bench.container(manager).package("tiny-distribution");
    build(&description, &["--update-stack", "none", "--package-database", "sbom"]).expect(0);
    let purls = read_by_others(&bin, &bench.path("out"));
    assert!(purls.iter().any(|purl| purl.starts_with("rpm ") && purl.contains(" tiny-distribution ")), "{purls:?}");
    let tree = bench.tree();
    assert!(!tree.join("usr/lib/sysimage/rpm").exists() && !tree.join("var/lib/rpm").exists());
    assert!(tree.join("var/lib/db/sbom/tiny.x86_64-1.2.3.spdx.json").is_file());
    let first = digests(&bench.path("out"));
    fs::remove_dir_all(bench.path("out")).unwrap();
    build(&description, &["--update-stack", "none", "--package-database", "sbom", "--no-stage-cache"]).expect(0);
    assert_eq!(digests(&bench.path("out")), first);
}

#[test]
fn zypper_never_installs_what_would_have_to_be_removed() {
    need!(root);
    need_rpm_world!();
    need!("zypper");
    let _turn = together();
    check("zypper", "zypper");
}

#[test]
fn dnf_never_installs_what_would_have_to_be_removed() {
    need!(root);
    need_rpm_world!();
    need!("dnf");
    let _turn = together();
    check("dnf4", "dnf");
}
