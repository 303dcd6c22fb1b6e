//! Containers of pacman's packages that are built on others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::package::installed::is_database;
use ingot::package::{Beneath, PackageManager};
use ingot::plan::{Signed, UpdateStack};

use crate::pacman::{BOTH_LISTS, Done, build, description, podman, tiny};
use crate::support::image::{digests, result, unpack, unpack_docker};
use crate::support::pacman::{PacmanWorld, need_pacman_world};
use crate::support::plan::named;
use crate::support::server::Server;
use crate::support::{need, scratch, together};

/// The package database of a tree, as a container's is handed to the package manager.
fn beneath(done: &Done) -> Beneath {
    let tree = done.rooted();
    let entries = tree.walk(&"/var/lib/pacman".into()).unwrap();
    let files = entries.into_iter().filter(|entry| entry.is_file() && is_database(&entry.path));
    Beneath::Base(files.map(|entry| (entry.path.clone(), tree.read(&entry.path).unwrap())).collect::<BTreeMap<_, _>>())
}

#[test]
fn what_is_missing_is_added_what_is_too_old_is_replaced_and_nothing_becomes_older() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let (below, above) = (folder.path().join("below"), folder.path().join("above"));
    world.with_packages(&[("tiny-optional", "2.0-1", "")], &below);
    world.with_packages(&[("libtiny", "1.5-1", ""), ("tiny-newer", "1.0-1", "libtiny>=1.5")], &above);
    let plan_of = |source: &Path, packages: &[&str]| {
        let mut plan = tiny(&format!("dir://{}", source.display()), &world.key(), packages);
        plan.packages.image_groups.collections = named(&["tiny-group"]);
        plan
    };
    let plan = plan_of(&below, &["busybox", "tiny-app", "tiny-optional"]);
    let base = Done::resolve(&plan, folder.path()).unwrap().install().unwrap();
    let beneath = beneath(&base);

    // All that is asked for is there.
    let again = Done::resolve_on(&plan, folder.path(), beneath.clone()).unwrap();
    assert_eq!(again.names(), [""; 0]);
    let mut plan = plan_of(&above, &["busybox", "tiny-optional", "tiny-newer"]);
    let done = Done::resolve_on(&plan, folder.path(), beneath.clone()).unwrap();
    assert_eq!(done.names(), ["libtiny", "tiny-newer"]);
    assert_eq!(done.reporter.warnings().len(), 0, "{:?}", done.reporter.warnings());
    let done = done.install_there().unwrap();
    let (good, said) = done.asked(&["-Q"]);
    assert!(good, "{said}");
    for line in ["libtiny 1.5-1", "tiny-newer 1.0-1", "tiny-optional 2.0-1", "tiny-app 1:2.0-3", "busybox 1.35.0-1"] {
        assert!(said.lines().any(|other| other == line), "{line} in {said}");
    }
    assert!(!done.tree().join("usr/lib/libtiny.so.1").exists(), "a file of the older version is left");
    let (good, said) = done.asked(&["-Qkk"]);
    assert!(good, "{said}");
    // What was there for others only still is.
    let (_, said) = done.asked(&["-Qdq"]);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["filesystem", "libtiny", "tiny-provider"]);

    // An older version, where the description names it.
    plan.packages.image = named(&["tiny-optional=1.0"]);
    plan.packages.image_groups.collections.clear();
    let older = Done::resolve_on(&plan, folder.path(), beneath.clone()).unwrap();
    assert_eq!(older.names(), ["tiny-optional"]);
    assert!(older.reporter.warnings()[0].text.contains("2.0-1 of the base is replaced by the older 1.0-1"));

    // What conflicts with a package of the base does not push it out.
    plan.packages.image = named(&["tiny-foe"]);
    let error = Done::resolve_on(&plan, folder.path(), beneath).err().unwrap();
    assert!(error.text().contains("are in conflict"), "{}", error.text());
    assert_eq!(plan.repositories[0].signed, Signed::Required);
}

/// Turns the description into one of a container on `base`.
fn on(base: &Path, folder: &Path) {
    let xml = fs::read_to_string(folder.join("config.xml")).unwrap();
    let derived = format!("<type image=\"docker\" derived_from=\"file://{}\">", base.display());
    fs::write(folder.join("config.xml"), xml.replace("<type image=\"docker\">", &derived)).unwrap();
}

/// The layers of a docker archive, the lowest first.
fn layers(archive: &Path, folder: &Path) -> Vec<PathBuf> {
    unpack(archive, folder);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    manifest[0]["Layers"].as_array().unwrap().iter().map(|name| folder.join(name.as_str().unwrap())).collect()
}

fn names(layer: &Path) -> String {
    let output = Command::new("tar").arg("--list").arg("--file").arg(layer).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_container_on_another_holds_only_what_changed_and_runs() {
    need!(root);
    need_pacman_world!();
    need!("podman", "runc");
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let at = |name: &str| folder.path().join(name);
    let run = |image: &str, name: &str| build(&at(image), &server.url(), folder.path(), name);
    description(&world, &at("below"), BOTH_LISTS);
    run("below", "base").env("SOURCE_DATE_EPOCH", "1700000000").run().expect(0);
    let base = result(&at("base out"), ".docker.tar");

    // The date of the image is another one than that of its base.
    description(
        &world,
        &at("above"),
        "<packages type=\"image\"><package name=\"tiny-optional\"/><package name=\"busybox\"/></packages>",
    );
    on(&base, &at("above"));
    run("above", "first").run().expect(0).says(&["fetch  1 packages"]);
    run("above", "a second").env("TZ", "Pacific/Kiritimati").umask(0o077).run().expect(0);
    assert_eq!(digests(&at("first out")), digests(&at("a second out")));
    let first = result(&at("first out"), ".docker.tar");
    let (old, new) = (layers(&base, &at("old")), layers(&first, &at("new")));
    assert_eq!((old.len(), new.len()), (1, 2));
    assert!(fs::read(&old[0]).unwrap() == fs::read(&new[0]).unwrap());
    let listed = names(&new[1]);
    // The days in shadow(5) are the image's date.
    let is_file = |name: &&str| !name.ends_with('/') && *name != "etc/shadow";
    let files: Vec<&str> = listed.lines().filter(is_file).collect();
    let entry = "var/lib/pacman/local/tiny-optional-1.0-1";
    let entries = ["desc", "files", "mtree"].map(|name| format!("{entry}/{name}"));
    assert_eq!(files, ["usr/share/tiny-optional", &entries[0], &entries[1], &entries[2]]);
    assert_eq!(podman(&first, &["hello"], folder.path()), "tiny-app hello\n");
    let tree = at("tree");
    unpack_docker(&first, &tree);
    let checked = Command::new("pacman").args(["--config", "/dev/null", "-Qk", "--root"]).arg(&tree).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    // Nothing is asked for: no repository is read, and what goes leaves whiteouts.
    description(&world, &at("top"), "<packages type=\"delete\"><package name=\"tiny-optional\"/></packages>");
    on(&first, &at("top"));
    let asked = server.requests().len();
    run("top", "top").run().expect(0);
    assert_eq!(server.requests().len(), asked);
    let top = layers(&result(&at("top out"), ".docker.tar"), &at("of-top"));
    let listed = names(&top[2]);
    let files: Vec<&str> = listed.lines().filter(is_file).collect();
    assert_eq!(files, ["usr/share/.wh.tiny-optional", "var/lib/pacman/local/.wh.tiny-optional-1.0-1"]);
}

#[test]
fn the_stack_of_a_base_goes_where_none_is_wanted() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let source = format!("dir://{}", world.repository().display());
    let mut plan = tiny(&source, &world.key(), &["busybox", "pacman"]);
    plan.update_stack = UpdateStack::Kept;
    let base = Done::resolve(&plan, folder.path());
    let base = base.unwrap().install().unwrap();
    plan.packages.image = named(&["tiny-optional"]);
    plan.update_stack = UpdateStack::None;
    let done = Done::resolve_on(&plan, folder.path(), beneath(&base)).unwrap().install_there().unwrap();
    assert_eq!(done.names(), ["tiny-optional"]);
    let (tree, sandbox) = (done.rooted(), done.sandbox());
    let gone = PackageManager::finish(&done.pacman, &done.set, &tree, &sandbox, &done.reporter).unwrap();
    assert_eq!(gone, ["pacman"]);
    let (_, said) = done.asked(&["-Qq"]);
    assert!(!said.lines().any(|name| name == "pacman") && said.contains("tiny-optional"), "{said}");
}
