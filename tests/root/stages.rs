//! Going on from what an earlier build left in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use crate::support::image::{Answer, Bench, Description, Ingot, digests, result};
use crate::support::{need, together};

fn build(bench: &Bench, description: &Description, target: &str) -> Answer {
    bench.build_into(description, target).arg("--explain-cache").run().expect(0)
}

/// The files of the stage store.
fn stages(bench: &Bench) -> Vec<PathBuf> {
    let folder = bench.path("cache/stages");
    let mut all: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// The files of the stages of this name.
fn named(bench: &Bench, stage: &str) -> Vec<PathBuf> {
    let listed: serde_json::Value = serde_json::from_str(&cache(bench, "list").arg("--json").run().stdout).unwrap();
    let stages = listed["stages"].as_array().unwrap().iter().filter(|listed| listed["stage"] == stage);
    stages.map(|listed| bench.path("cache/stages").join(listed["name"].as_str().unwrap())).collect()
}

fn cache(bench: &Bench, command: &str) -> Ingot {
    Ingot::new(["cache", command]).env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap())
}

#[test]
fn a_changed_overlay_file_costs_no_installation_and_gives_what_a_cold_build_gives() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    for disk in [false, true] {
        let fresh = if disk { bench.disk() } else { bench.container() };
        let description = fresh.file("root/etc/motd", "one\n").script("post_bootstrap.sh", "echo 1 >/etc/boot");
        let first = build(&bench, &description, "first");
        assert!(first.stderr.contains("installed: made, because"), "{}", first.stderr);
        let description = description.file("root/etc/motd", "two\n");
        let second = build(&bench, &description, "second").says(&["solution: reused", "installed: reused"]);
        assert!(!second.stderr.contains("unpack  "), "{}", second.stderr);
        let cold = bench.build_into(&description, "cold").arg("--no-stage-cache").run().expect(0);
        assert!(cold.stderr.contains("unpack  "), "{}", cold.stderr);
        assert_eq!(digests(&bench.path("second")), digests(&bench.path("cold")), "disk: {disk}");
        assert_ne!(digests(&bench.path("second")), digests(&bench.path("first")), "disk: {disk}");
        for folder in ["first", "second", "cold"] {
            fs::remove_dir_all(bench.path(folder)).unwrap();
        }
    }
}

#[test]
fn whatever_influences_a_stage_makes_another_one_and_is_named() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let mut description = bench.container().script("post_bootstrap.sh", "cat /image/config.sh >/etc/seen");
    description = description.script("config.sh", "true");
    build(&bench, &description, "out");
    description = description.package("tiny-recommended");
    build(&bench, &description, "out").says(&["installed: made, because", "package tiny-recommended:all is new"]);
    description = description.script("post_bootstrap.sh", "echo other >/etc/seen");
    build(&bench, &description, "out").says(&["installed: made, because script", "post_bootstrap.sh changed"]);
    // post_bootstrap.sh finds the other scripts beside it.
    description = description.script("config.sh", "false || true");
    build(&bench, &description, "out").says(&["installed: made, because script", "config.sh changed"]);
    build(&bench, &description, "other").says(&["installed: reused"]);
    let dated = bench.build_into(&description, "out").arg("--explain-cache").env("SOURCE_DATE_EPOCH", "1700000000");
    dated.run().expect(0).says(&["installed: made, because the image's date changed"]);
    let dpkg = bench.build_into(&description, "out").args(["--explain-cache", "--unpacker", "dpkg"]);
    dpkg.run().expect(0).says(&["installed: made, because the unpacker changed"]);
    let network = bench.build_into(&description, "out").args(["--explain-cache", "--network-for-scripts"]);
    network.run().expect(0).says(&["not used, because post_bootstrap.sh reaches the network"]);
}

#[test]
fn a_damaged_stage_is_dropped_and_made_again() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    build(&bench, &description, "first");
    let kept = named(&bench, "installed");
    assert!(!kept.is_empty());
    let damage = |stages: &[PathBuf]| {
        for stage in stages {
            fs::set_permissions(stage, fs::Permissions::from_mode(0o600)).unwrap();
            // Somewhere in a filesystem's group descriptors, which are never zero.
            fs::OpenOptions::new().write(true).open(stage).unwrap().write_all_at(b"damage", 4100).unwrap();
        }
    };
    damage(&kept);
    build(&bench, &description, "second").says(&["installed: made again, because the kept one was damaged"]);
    assert_eq!(digests(&bench.path("second")), digests(&bench.path("first")));
    cache(&bench, "verify").run().expect(0);
    damage(&kept);
    let verified = cache(&bench, "verify").run().expect(1);
    assert!(verified.stdout.contains("removed a damaged stage: installed of tiny"), "{}", verified.stdout);
    assert!(!stages(&bench).contains(&kept[0]));
    cache(&bench, "verify").run().expect(0);
}

#[test]
fn damaged_notes_of_a_stage_are_made_again() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    build(&bench, &description, "first");
    // A quick build ends before its own stage is kept, and notes nothing of it.
    build(&bench, &description, "second").says(&["installed: reused"]);
    let notes = named(&bench, "notes");
    assert!(!notes.is_empty());
    for one in &notes {
        fs::set_permissions(one, fs::Permissions::from_mode(0o600)).unwrap();
        fs::OpenOptions::new().write(true).open(one).unwrap().write_all_at(b"damage", 10).unwrap();
    }
    build(&bench, &description, "third").says(&["installed: reused"]);
    assert_eq!(digests(&bench.path("third")), digests(&bench.path("first")));
    assert_eq!(named(&bench, "notes"), notes);
    cache(&bench, "verify").run().expect(0);
}

#[test]
fn stages_are_left_alone_when_asked_and_bounded_always() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "out").arg("--no-stage-cache").run().expect(0);
    bench.build_into(&description, "out").arg("--no-cache").run().expect(0);
    let small = bench.build_into(&description, "small").args(["--cache-limit", "100K"]);
    small.run().expect(0).says(&["installed not kept: there is no room for it"]);
    assert!(stages(&bench).is_empty());
    let folder = bench.build_into(&description, "folder").args(["--workspace", "folder", "--explain-cache"]);
    folder.run().expect(0).says(&["not used, because the tree is built in a folder"]);
    build(&bench, &description, "kept");
    assert!(!stages(&bench).is_empty());
    let listed = cache(&bench, "list").run().expect(0).stdout;
    assert!(listed.contains("installed") && listed.contains("tiny") && listed.contains(" packages, "), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&cache(&bench, "list").arg("--json").run().stdout).unwrap();
    assert_eq!(json["stages"][0]["image"], "tiny");
    assert!(json["packages"]["count"].as_u64().unwrap() > 5);
    cache(&bench, "gc").args(["--limit", "0"]).run().expect(0);
    assert!(stages(&bench).is_empty());
    let json: serde_json::Value = serde_json::from_str(&cache(&bench, "list").arg("--json").run().stdout).unwrap();
    assert_eq!(json["packages"]["count"], 0);
    Ingot::new(["cache", "list", "--cache-dir"]).arg(bench.path("nowhere")).run().expect(66);
    cache(&bench, "gc").args(["--limit", "much"]).run().expect(64);
    bench.build_into(&description, "again").run().expect(0);
}

#[test]
fn builds_at_the_same_time_share_stages() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    for round in ["cold", "warm"] {
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (bench, description) = (&bench, &description);
                scope.spawn(move || build(bench, description, &format!("{round}{number}")));
            }
        });
    }
    let all: Vec<_> =
        ["cold0", "cold1", "cold2", "warm0", "warm1", "warm2"].map(|name| digests(&bench.path(name))).into();
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
}

#[test]
fn a_build_whose_inputs_did_not_change_verifies_what_is_there_and_ends() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.disk().file("root/etc/motd", "one\n").script("config.sh", "true");
    let motd = description.folder().join("root/etc/motd");
    let times = || {
        let entries = fs::read_dir(bench.path("out")).unwrap().flatten();
        entries.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect::<BTreeMap<_, _>>()
    };
    let unchanged = || {
        let before = times();
        let events = bench.path("events");
        let again = bench.build(&description).arg("--events").arg(&events).run().expect(0).says(&["unchanged in "]);
        assert!(!again.stderr.contains("config.sh"), "{}", again.stderr);
        assert!(again.stdout.ends_with(".qcow2\n"), "{}", again.stdout);
        assert_eq!(times(), before);
        assert!(fs::read_to_string(events).unwrap().contains("\"finished\""));
    };
    let made = |because: &str| {
        build(&bench, &description, "out").says(&[because]);
        unchanged();
    };
    made("result: made, because there is none");
    fs::write(&motd, "two\n").unwrap();
    made("root/etc/motd changed");
    fs::set_permissions(&motd, fs::Permissions::from_mode(0o600)).unwrap();
    made("root/etc/motd changed");
    fs::write(description.folder().join("root/etc/issue"), "new\n").unwrap();
    made("root/etc/issue is new");
    let image = result(&bench.path("out"), ".qcow2");
    fs::OpenOptions::new().write(true).open(&image).unwrap().write_all_at(b"damage", 70_000).unwrap();
    made("result: made again, because tiny.x86_64-1.2.3.qcow2 in the target changed");
    fs::remove_file(bench.path("out").join("tiny.x86_64-1.2.3.packages")).unwrap();
    made("result: made again, because tiny.x86_64-1.2.3.packages in the target changed");
    let first = digests(&bench.path("out"));
    let cold = bench.build(&description).arg("--no-stage-cache").run().expect(0).says(&["done in "]);
    assert!(cold.stderr.contains("config.sh"), "{}", cold.stderr);
    assert_eq!(digests(&bench.path("out")), first);
    // Another folder is another result, and the same one through a symlink is not.
    std::os::unix::fs::symlink(bench.path(""), bench.path("link")).unwrap();
    build(&bench, &description, "link/other").says(&["result: made, because there is none"]);
    build(&bench, &description, "link/other").says(&["unchanged in "]);
    build(&bench, &description, "other").says(&["unchanged in "]);
}

/// What `--explain-cache` says about the initrd.
fn about_initrd(answer: &Answer) -> String {
    let lines = answer.stderr.lines().filter_map(|line| line.trim().strip_prefix("cache  initrd: "));
    lines.map(|line| line.split(", 1").next().unwrap_or_default()).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_initrd_is_made_again_only_if_what_was_read_or_what_there_is_changed() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let reads = "cat /etc/modules >/dev/null; test ! -e /etc/wanted";
    let with_hook = "sed -i '2i READS' /usr/sbin/mkinitramfs".replace("READS", reads);
    let mut description = bench.disk().file("root/etc/modules", "one\n").file("root/etc/motd", "one\n");
    description = description.script("config.sh", &with_hook);
    let check = |description: &Description, target: &str, said: &str| {
        let answer = build(&bench, description, target);
        assert_eq!(about_initrd(&answer), said, "{}", answer.stderr);
        bench.build_into(description, "cold").arg("--no-stage-cache").run().expect(0);
        assert_eq!(digests(&bench.path(target)), digests(&bench.path("cold")), "{said}");
        answer
    };
    check(&description, "out", "made, because there is none of this image yet; kept");
    description = description.file("root/etc/motd", "two, which nobody reads\n");
    let answer = check(&description, "out", "reused");
    assert!(answer.stderr.contains(" bytes, reused"), "{}", answer.stderr);
    description = description.file("root/etc/modules", "two\n");
    check(&description, "out", "made, because /etc/modules changed; kept");
    description = description.file("root/etc/new", "one\n");
    check(&description, "out", "made, because what there is in /etc changed; kept");
    description = description.file("root/etc/motd", "");
    check(&description, "out", "made, because what there is in /etc changed; kept");
    // What an earlier one was made from is still known.
    description = description.file("root/etc/motd", "three\n");
    check(&description, "out", "reused");
    let dated = bench.build_into(&description, "out").arg("--explain-cache").env("SOURCE_DATE_EPOCH", "1700000000");
    let dated = dated.run().expect(0);
    assert!(about_initrd(&dated).starts_with("made, because the image's date changed"), "{}", dated.stderr);
    let verified = cache(&bench, "list").run().expect(0).stdout;
    assert!(verified.contains("initrd"), "{verified}");
}

#[test]
fn an_initrd_is_not_kept_where_making_it_changes_something_else() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let table = [
        ("echo made >/var/lib/made", "not kept, because making it made /var/lib/made, too"),
        ("echo more >>/etc/hostname", "not kept, because making it changed /etc/hostname, too"),
        ("rm -f /etc/hostname", "not kept, because making it removed /etc/hostname"),
        ("chmod 600 /etc/hostname", "not kept, because making it changed /etc/hostname, too"),
    ];
    for (command, said) in table {
        let description = bench.disk().file("root/etc/hostname", "tiny\n");
        let description = description.script("config.sh", &format!("sed -i '2i {command}' /usr/sbin/mkinitramfs"));
        for _ in 0..2 {
            let answer = build(&bench, &description, "out");
            assert!(about_initrd(&answer).ends_with(said), "{}", answer.stderr);
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
    // A file that comes and goes is nothing but the time of a folder.
    let description = bench.disk().script("config.sh", "sed -i '2i touch /usr/x; rm /usr/x' /usr/sbin/mkinitramfs");
    build(&bench, &description, "first");
    let second = build(&bench, &description, "second");
    assert_eq!(about_initrd(&second), "reused", "{}", second.stderr);
    assert_eq!(digests(&bench.path("second")), digests(&bench.path("first")));
}

#[test]
fn a_damaged_initrd_is_dropped_and_made_again() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.disk();
    build(&bench, &description, "first");
    let listed = cache(&bench, "list").arg("--json").run().expect(0).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let initrd = listed["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "initrd").unwrap();
    let path = bench.path("cache/stages").join(initrd["name"].as_str().unwrap());
    let damage = || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"damage", 20).unwrap();
    };
    damage();
    let second = build(&bench, &description, "second");
    assert_eq!(about_initrd(&second), "made again, because the kept one was damaged; kept");
    assert_eq!(digests(&bench.path("second")), digests(&bench.path("first")));
    damage();
    let verified = cache(&bench, "verify").run().expect(1);
    assert!(verified.stdout.contains("removed a damaged stage: initrd of tiny"), "{}", verified.stdout);
    let third = build(&bench, &description, "third");
    assert_eq!(about_initrd(&third), "made, because there is none of this image yet; kept");
}

#[test]
fn what_did_not_change_is_not_compressed_again_and_damaged_pieces_are() {
    need!(root);
    let _turn = together();
    for (kind, name) in [("disk", "qcow2"), ("container", "container")] {
        // A cache of its own: there is one entry of pieces.
        let bench = Bench::new();
        let fresh = if kind == "disk" { bench.disk() } else { bench.container() };
        let description = fresh.file("root/etc/motd", "one\n");
        let told = |answer: &Answer| {
            let start = format!("cache  {name}: ");
            let lines = answer.stderr.lines().filter_map(|line| line.trim().strip_prefix(&start).map(str::to_string));
            lines.collect::<Vec<_>>().join("; ")
        };
        let first = told(&build(&bench, &description, "out"));
        assert!(first.contains(" of compressed pieces made while scripts ran, ") && first.contains("kept"), "{first}");
        let description = description.file("root/etc/motd", "two\n");
        let second = told(&build(&bench, &description, "out"));
        assert!(!second.starts_with("0 ") && !second.contains("kept"), "{second}");
        let cold = || {
            bench.build_into(&description, "cold").arg("--no-stage-cache").run().expect(0);
            assert_eq!(digests(&bench.path("out")), digests(&bench.path("cold")), "{kind}");
        };
        cold();
        let listed = cache(&bench, "list").arg("--json").run().expect(0).stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let entry = listed["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "pieces").unwrap();
        let path = bench.path("cache/stages").join(entry["name"].as_str().unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        (1..16).for_each(|at| file.write_all_at(b"damage", at << 17).unwrap());
        fs::remove_dir_all(bench.path("out")).unwrap();
        let third = told(&build(&bench, &description, "out"));
        assert!(third.contains("some of the kept ones were damaged") && third.contains("its pieces kept"), "{third}");
        cold();
        cache(&bench, "verify").run().expect(0);
    }
}
