//! Containers of several layers: what changes together is together, and together they are the same tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::image::{Bench, result, unpack};
use crate::support::packages::DATE;
use crate::support::program::{run, text};
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{need, together};

/// Builds an OCI archive and unpacks it: the layout, the digests of its layers, and what each layer holds.
fn build(bench: &Bench, name: &str, arguments: &[&str]) -> (PathBuf, Vec<String>, Vec<String>) {
    let description = bench.container().edit("image=\"docker\"", "image=\"oci\"").file("root/etc/own", "own\n");
    let date = DATE.to_string();
    bench.build_into(&description, name).args(["--source-date-epoch", date.as_str()]).args(arguments).run().expect(0);
    let layout = bench.path(&format!("{name}-layout"));
    unpack(&result(&bench.path(name), ".oci.tar"), &layout);
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let words = |values: &Value, name: &str| {
        let all = values.as_array().unwrap().iter();
        all.map(|value| value[name].as_str().unwrap_or_default().to_string()).collect::<Vec<String>>()
    };
    let history = read(&blob(&manifest["config"]["digest"]));
    (layout, words(&manifest["layers"], "digest"), words(&history["history"], "comment"))
}

/// Every file that umoci unpacks, with its metadata and content.
fn seen(layout: &Path, bundle: &Path) -> String {
    run("umoci", &["unpack", "--image", &format!("{}:1", text(layout)), text(bundle)]);
    let root = bundle.join("rootfs");
    let found = run("find", &[text(&root), "-printf", "%P %y %m %U:%G %T@ %n %l\n"]);
    let sums = run("sh", &["-c", "cd \"$1\" && find . -type f -exec sha256sum {} +", "sh", text(&root)]);
    let mut lines: Vec<&str> = found.lines().chain(sums.lines()).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn layers_by_packages_are_the_same_tree_and_an_update_changes_two_of_them() {
    need!(root);
    need!("umoci", "dpkg-deb");
    let _turn = together();
    let bench = Bench::new();
    let (one, layers, _) = build(&bench, "one", &[]);
    assert_eq!(layers.len(), 1);
    let (split, before, holds) = build(&bench, "split", &["--layers", "packages"]);
    assert!(before.len() > 4, "{holds:?}");
    assert_eq!(holds.last().unwrap(), "what no package brought");
    assert!(holds.contains(&"tiny".to_string()), "{holds:?}");
    assert_eq!(seen(&one, &bench.path("one-bundle")), seen(&split, &bench.path("split-bundle")));
    let (_, few, holds) = build(&bench, "few", &["--layers", "packages:4", "--layer-compression", "zstd"]);
    assert!(few.len() <= 4, "{holds:?}");

    // The same repository with a new version of one package.
    let repository = bench.path("repository");
    bench.world.copy(&repository);
    let old = repository.join(bench.world.package("tiny-provider"));
    let folder = bench.path("package");
    run("dpkg-deb", &["-R", text(&old), text(&folder)]);
    let control = folder.join("DEBIAN/control");
    let fields = fs::read_to_string(&control).unwrap();
    fs::write(&control, fields.replace("Version: 1.0-1", "Version: 1.0-2")).unwrap();
    fs::create_dir_all(folder.join("usr/share/tiny-provider")).unwrap();
    fs::write(folder.join("usr/share/tiny-provider/new"), "new\n").unwrap();
    fs::remove_file(&old).unwrap();
    run(
        "dpkg-deb",
        &["--root-owner-group", "-b", text(&folder), text(&repository.join("pool/tiny-provider_1.0-2_all.deb"))],
    );
    World::open().sign(&repository, DATE);
    let newer = Bench::with_mirror(Server::start(repository));
    let (_, after, holds) = build(&newer, "split", &["--layers", "packages"]);
    let before: BTreeSet<&String> = before.iter().collect();
    let changed: Vec<&String> =
        after.iter().zip(&holds).filter(|(digest, _)| !before.contains(digest)).map(|(_, what)| what).collect();
    assert_eq!(changed, ["tiny-provider", "the package database"]);
}
