//! What is asked of a mirror, what is not asked again, and what is never believed, seen from the mirror.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::image::{Bench, digests};
use crate::support::server::{Fault, Server};
use crate::support::world::{SUITE, World, sha256};
use crate::support::{alone, need, together};

#[test]
fn packages_come_several_at_a_time() {
    need!(root);
    let _turn = together();
    // Each takes a tenth of a second at least.
    let bench = Bench::with_mirror(Server::start(World::open().repository()).fault(".deb", Fault::Slow(50_000_000)));
    bench.build(&bench.container()).run().expect(0);
    let most = bench.mirror.most_at_a_time();
    assert!(most >= 4, "{most}");
    let packages = bench.mirror.asked(".deb").len();
    assert!(packages > 8, "only {packages} packages");
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    need!(root);
    let _turn = together();
    let mirror = Server::start(World::open().repository()).fault_times("libtiny1", Fault::Truncate(300), 1);
    let bench = Bench::with_mirror(mirror);
    bench.build(&bench.container()).run().expect(0);
    let asked: Vec<_> = bench.mirror.asked("libtiny1").iter().map(|asked| (asked.from, asked.status)).collect();
    assert_eq!(asked, [(None, 200), (Some(300), 206)]);
}

/// The length of what there is of a package of the tiny world whose download is under way.
fn begun(cache: &Path, name: &str) -> u64 {
    let world = World::open();
    let digest = sha256(&fs::read(world.repository().join(world.package(name))).unwrap());
    fs::metadata(cache.join("packages/incoming").join(digest)).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_build_that_was_killed_in_a_download_goes_on_with_it_the_next_time() {
    need!(root);
    let _turn = alone();
    let world = World::open();
    let mirror = Server::start(world.repository()).fault_times("libtiny1", Fault::Slow(200), 1);
    let bench = Bench::with_mirror(mirror);
    let description = bench.container();
    let before = bench.look();
    let mut child = bench.build(&description).spawn();
    let deadline = Instant::now() + Duration::from_secs(30);
    while begun(&bench.path("cache"), "libtiny1") == 0 {
        assert!(Instant::now() < deadline, "nothing is downloaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    // The kernel still takes down what the build was, and what that holds locked.
    before.assert_nothing_left(&[]);
    let had = begun(&bench.path("cache"), "libtiny1");
    assert!(had > 0, "what was there is gone");
    bench.build(&description).run().expect(0);
    let asked: Vec<_> = bench.mirror.asked("libtiny1").iter().map(|asked| (asked.from, asked.status)).collect();
    assert_eq!(asked[0], (None, 200));
    assert!(matches!(asked[1], (Some(from), 206) if from >= had), "{asked:?}, {had} bytes were there");
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(begun(&bench.path("cache"), "libtiny1"), 0, "a finished download stays there as one that goes on");
}

#[test]
fn an_index_that_did_not_change_is_neither_fetched_nor_parsed_again() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "first").run().expect(0);
    let all = bench.mirror.requests().len();
    let again = bench.build_into(&description, "second").args(["--no-stage-cache", "-v"]).run().expect(0);
    assert!(again.stderr.contains("+ apt-get update"), "{}", again.stderr);
    let asked = bench.mirror.asked("").split_off(all);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].path.ends_with("/InRelease") && asked[0].revalidates && asked[0].status == 304, "{asked:?}");
    for program in ["+ apt-cache", "--print-uris"] {
        assert!(!again.stderr.contains(program), "{}", again.stderr);
    }
    assert_eq!(digests(&bench.path("first")), digests(&bench.path("second")));
}

/// A mirror whose Release file has one more line, signed by the right key.
fn with_line(line: &str) -> (Bench, impl Sized) {
    let world = World::open();
    let folder = crate::support::scratch();
    let repository = folder.path().join("repository");
    world.copy(&repository);
    world.sign_with(&repository, crate::support::packages::DATE, line);
    (Bench::with_mirror(Server::start(repository)), folder)
}

#[test]
fn a_release_file_that_is_replayed_after_its_end_is_76() {
    need!(root);
    let _turn = together();
    let (bench, _folder) = with_line("Valid-Until: Wed, 01 Jan 2020 00:00:00 UTC\n");
    bench.build(&bench.container()).run().expect(76).says(&["is expired", "the mirror is out of date"]);
    let (bench, _folder) = with_line("Valid-Until: Wed, 01 Jan 2120 00:00:00 UTC\n");
    bench.build(&bench.container()).run().expect(0);
}

#[test]
fn a_mirror_is_never_led_to_a_file_of_the_host_nor_to_a_bomb() {
    need!(root);
    let _turn = together();
    let world = World::open();
    let local = |name: &str| Fault::Redirect(format!("file://{}", world.repository().join(name).display()));
    let bomb = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        (0..256).for_each(|_| encoder.write_all(&[b'\n'; 1 << 20]).unwrap());
        encoder.finish().unwrap()
    };
    let release = format!("dists/{SUITE}/InRelease");
    let table = [
        // The very file that is wanted, but read from this host.
        ("libtiny1", local(&world.package("libtiny1")), [76, 76], "is forbidden"),
        ("Release", local(&release), [76, 76], "sends this host to a file of its own"),
        ("Packages", Fault::Bytes(bomb), [76, 76], "Packages"),
        ("libtiny1", Fault::Bytes(vec![0; 8 << 20]), [76, 76], "libtiny1"),
    ];
    for (part, fault, codes, says) in table {
        let bench = Bench::with_mirror(Server::start(world.repository()).fault(part, fault));
        let answer = bench.build(&bench.container()).run().expect_one_of(&codes).says(&[says]);
        assert!(!bench.path("out/manifest.json").exists(), "{}", answer.stderr);
        assert_eq!(begun(&bench.path("cache"), "libtiny1"), 0, "{part}: what is wrong stays in the cache");
    }
}

#[test]
fn a_mirror_that_is_slow_is_waited_for() {
    need!(root);
    let _turn = together();
    let mirror = Server::start(World::open().repository()).fault("libtiny1", Fault::Slow(500));
    let bench = Bench::with_mirror(mirror);
    bench.build(&bench.container()).run().expect(0);
}
