//! Odd hosts: no inodes, a clock that is wrong, no loop devices, folders in which nothing may be executed.

use std::fs;
use std::path::Path;

use crate::faults::Small;
use crate::support::image::{Bench, digests};
use crate::support::leaks::Host;
use crate::support::server::Server;
use crate::support::{alone, need, skip, together};

#[test]
fn no_inodes_are_74_and_nothing_is_left() {
    need!(root);
    let _turn = alone();
    for (place, inodes) in [("target", 4), ("cache", 30), ("work", 6)] {
        let bench = Bench::new();
        let description = bench.container();
        let small = Small::mount(bench.path("small"), &format!("size=200m,nr_inodes={inodes}"));
        let inside = small.path.join(place);
        fs::create_dir(&inside).unwrap();
        let text = inside.to_str().unwrap();
        let build = match place {
            "target" => bench.build_into(&description, "small/target/out"),
            "cache" => bench.build(&description).env("INGOT_CACHE_DIR", text),
            _ => bench.build(&description).env("INGOT_WORK_DIR", text),
        };
        let before = Host::look(&[&small.path]);
        let answer = build.run().expect(74).says(&["error: ", "No space left on device"]);
        assert!(answer.stderr.contains("df -i") || answer.stderr.contains("inodes"), "{place}: {}", answer.stderr);
        before.assert_nothing_left(&[&small.path]);
        assert!(!bench.path("out/manifest.json").exists() && !inside.join("out/manifest.json").exists());
    }
}

#[test]
fn a_script_that_fills_the_image_is_74_and_names_the_place() {
    need!(root);
    let _turn = alone();
    // Ten characters, 8 times 8 times 8 times 8.
    let long = "x=0123456789; for i in 1 2 3 4; do x=$x$x$x$x$x$x$x$x; done";
    let table = [
        ("full", format!("{long}\nwhile echo \"$x\" >> /big; do :; done\nexit 1")),
        ("inodes", "i=0\nmkdir /many\nwhile : > /many/$i; do i=$((i+1)); done\nexit 1".to_string()),
    ];
    for (says, script) in table {
        let bench = Bench::new();
        let description = bench.container().script("config.sh", &script);
        let small = Small::mount(bench.path("small"), "size=96m");
        let before = Host::look(&[&small.path]);
        let build = bench.build(&description).env("INGOT_WORK_DIR", small.path.to_str().unwrap());
        build.run().expect(74).says(&["config.sh", says, "--work-dir"]);
        before.assert_nothing_left(&[&small.path]);
        assert!(!bench.path("out/manifest.json").exists());
    }
}

/// libfaketime, which tells a program another time.
pub fn faketime() -> Option<&'static Path> {
    let paths = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib64/faketime/libfaketimeMT.so.1"];
    paths.map(Path::new).into_iter().find(|path| path.is_file())
}

#[test]
fn a_clock_that_is_wrong_or_jumps_changes_no_byte() {
    need!(root);
    let Some(library) = faketime() else { skip!("this host has no libfaketime") };
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    // Ten years behind; ten ahead and running, so that weeks pass while it builds.
    for clock in ["-10y", "+10y x100000"] {
        let _ = fs::remove_dir_all(bench.path("out"));
        let line = format!("export LD_PRELOAD={} FAKETIME='{clock}'", library.display());
        bench.build(&description).after(&line).run().expect(0);
        assert_eq!(digests(&bench.path("out")), expected, "{clock}");
    }
}

#[test]
fn a_date_that_is_given_is_the_images_and_one_that_cannot_be_is_64() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    for date in ["0", "1700000000", "253402300799"] {
        let build = |target: &str| bench.build_into(&description, target).env("SOURCE_DATE_EPOCH", date);
        build("first").run().expect(0);
        build("second").arg("--no-stage-cache").run().expect(0);
        assert_eq!(digests(&bench.path("first")), digests(&bench.path("second")), "{date}");
        for folder in ["first", "second"] {
            fs::remove_dir_all(bench.path(folder)).unwrap();
        }
    }
    for date in ["-1", "253402300800", "99999999999999999999", "tomorrow", "1.5"] {
        let answer = bench.build(&description).env("SOURCE_DATE_EPOCH", date).run().expect(64);
        assert!(answer.stderr.contains("since 1970"), "{date}: {}", answer.stderr);
    }
}

#[test]
fn a_release_file_from_the_future_is_76_and_says_that_a_clock_is_wrong() {
    need!(root);
    let _turn = together();
    let mut bench = Bench::new();
    let folder = bench.path("future");
    bench.world.copy(&folder);
    // 2099.
    bench.world.sign(&folder, 4_070_908_800);
    bench.mirror = Server::start(folder);
    bench.build(&bench.container()).run().expect(76).says(&["this host's clock is wrong"]);
}

#[test]
fn neither_loop_devices_nor_a_folder_that_executes_are_needed() {
    need!(root);
    need!("unshare", "mount");
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    let small = Small::mount(bench.path("small"), "size=400m,noexec,nosuid,nodev");
    let work = small.path.to_str().unwrap();
    bench.build(&description).env("INGOT_WORK_DIR", work).run().expect(0);
    assert_eq!(digests(&bench.path("out")), expected);
    fs::remove_dir_all(bench.path("out")).unwrap();
    // Nobody answers for loop devices any more, in this build's own mounts.
    let hide = "set -- unshare -m sh -c 'mount --bind /dev/null /dev/loop-control && exec \"$@\"' sh \"$@\"";
    let hidden = bench.build(&description).after(hide).run().expect(0);
    assert!(hidden.stderr.contains("warning: the tree is built in a plain folder"), "{}", hidden.stderr);
    // The warning is in the manifest, so that it is not the same.
    let archive = |digests: std::collections::BTreeMap<String, String>| digests["tiny.x86_64-1.2.3.docker.tar"].clone();
    assert_eq!(archive(digests(&bench.path("out"))), archive(expected));
    let noexec = bench.build(&description).arg("--workspace").arg("folder").arg("--no-stage-cache");
    noexec.env("INGOT_WORK_DIR", work).run().expect(69).says(&["mounted noexec", "--work-dir"]);
}
