//! The same input gives the same bytes, wherever, whenever and by whomever it is built.

use crate::support::image::{Bench, Description, Ingot, digests};
use crate::support::{need, together};

/// Two builds as different as two hosts, with a date or without one.
#[track_caller]
fn assert_same(kind: &str, change: impl Fn(Description) -> Description, disk: bool) {
    let bench = Bench::new();
    let description = change(if disk { bench.disk() } else { bench.container() });
    // Another folder, whose name is as long as it likes.
    let elsewhere = bench.path("another place/with a longer name");
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(description.folder()).arg(&elsewhere).status().unwrap();
    assert!(copied.success());
    let other_cache = bench.path("other cache");
    let other_work = bench.path("other work");
    std::fs::create_dir(&other_work).unwrap();
    for epoch in [None, Some("1700000000")] {
        let dated = |ingot: Ingot| match epoch {
            Some(epoch) => ingot.env("SOURCE_DATE_EPOCH", epoch),
            None => ingot,
        };
        let first = "first";
        dated(bench.build_into(&description, first)).env("TZ", "UTC").env("LANG", "C").umask(0o022).run().expect(0);
        let second = "a second folder, much further away";
        let ingot = Ingot::new(["build"])
            .arg(".")
            .in_folder(&elsewhere)
            .arg("--target-dir")
            .arg(bench.path(second))
            .arg("--mirror")
            .arg(format!("tiny={}/", bench.mirror.url()))
            .env("INGOT_CACHE_DIR", other_cache.to_str().unwrap())
            .env("INGOT_WORK_DIR", other_work.to_str().unwrap())
            .env("TZ", "Pacific/Kiritimati")
            .env("LANG", "tr_TR.UTF-8")
            .env("LC_ALL", "tr_TR.UTF-8")
            .env("USER", "somebody")
            .umask(0o077);
        dated(ingot).run().expect(0);
        let manifest = |folder| std::fs::read_to_string(bench.path(folder).join("manifest.json")).unwrap();
        for (one, other) in manifest(first).lines().zip(manifest(second).lines()) {
            assert_eq!(one, other, "in manifest.json of {kind}, SOURCE_DATE_EPOCH={epoch:?}");
        }
        let (first, second) = (digests(&bench.path(first)), digests(&bench.path(second)));
        assert_eq!(first, second, "{kind}, SOURCE_DATE_EPOCH={epoch:?}");
        assert!(first.keys().any(|name| name.ends_with(kind)), "no {kind} in {first:?}");
        assert!(first.contains_key("manifest.json"));
        std::fs::remove_dir_all(bench.path("first")).unwrap();
        std::fs::remove_dir_all(bench.path("a second folder, much further away")).unwrap();
    }
}

#[test]
fn a_raw_disk_is_the_same_bytes_twice() {
    need!(root);
    let _turn = together();
    assert_same(".raw", |description| description.edit(" format=\"qcow2\"", ""), true);
}

#[test]
fn a_qcow2_is_the_same_bytes_twice() {
    need!(root);
    let _turn = together();
    assert_same(".qcow2", |description| description, true);
}

#[test]
fn a_docker_archive_is_the_same_bytes_twice() {
    need!(root);
    let _turn = together();
    assert_same(".docker.tar", |description| description, false);
}

#[test]
fn an_oci_layout_is_the_same_bytes_twice() {
    need!(root);
    let _turn = together();
    assert_same(".oci.tar", |description| description.edit("image=\"docker\"", "image=\"oci\""), false);
}

#[test]
fn another_date_gives_another_image() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    let mut seen = std::collections::BTreeSet::new();
    for epoch in ["1700000000", "1700000001"] {
        bench.build_into(&description, epoch).env("SOURCE_DATE_EPOCH", epoch).run().expect(0);
        seen.insert(digests(&bench.path(epoch))["tiny.x86_64-1.2.3.docker.tar"].clone());
    }
    assert_eq!(seen.len(), 2);
}
