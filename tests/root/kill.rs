//! A build that dies, at whatever moment, leaves nothing on the host, and the next one works.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::image::{Bench, digests};
use crate::support::layout;
use crate::support::{alone, need};

const MOMENTS: u32 = 20;

#[test]
fn a_build_killed_at_twenty_moments_leaves_nothing_and_the_next_one_gives_the_same_bytes() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.disk();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    let started = Instant::now();
    bench.build_into(&description, "measured").run().expect(0);
    let whole = started.elapsed();
    fs::remove_dir_all(bench.path("measured")).unwrap();
    let before = bench.look();
    for moment in 0..MOMENTS {
        let mut child = bench.build(&description).spawn();
        let pid = Pid::from_child(&child);
        std::thread::sleep(whole.mul_f64(1.1 * f64::from(moment) / f64::from(MOMENTS)));
        match moment % 2 {
            0 => child.kill().unwrap(),
            // Gone already where the build was faster this time.
            _ => drop(kill_process_group(pid, Signal::KILL)),
        }
        child.wait().unwrap();
        before.assert_nothing_left(&[]);
        // The target is absent or complete.
        if bench.path("out").exists() {
            assert_eq!(digests(&bench.path("out")), expected, "killed at moment {moment}");
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
        bench.build(&description).run().expect(0);
        assert_eq!(digests(&bench.path("out")), expected, "after a kill at moment {moment}");
        fs::remove_dir_all(bench.path("out")).unwrap();
        bench.assert_nothing_left(&before);
    }
}

/// A layout of one image with a layer of so many bytes that no compression makes smaller.
fn held(folder: &Path, length: usize) {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state % 95) as u8)
    };
    let content: String = std::iter::repeat_with(next).take(length).collect();
    let layer = layout::layer(&[layout::Member::File("content", &content, 0o644)]);
    let digest = layout::digest(&layer);
    layout::write(folder, &[(layer, digest)], serde_json::json!({}));
}

#[test]
fn a_build_killed_while_it_embeds_a_container_leaves_nothing_and_the_next_one_gives_the_same_bytes() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    held(&bench.path("held"), 16 << 20);
    let containers = format!(
        "<containers source=\"dir://{}\" backend=\"podman\"><container name=\"held\" fetch_only=\"true\"/></containers>",
        bench.path("held").display()
    );
    let description = bench.disk().edit("  <repository", &format!("{containers}\n  <repository"));
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    let events = bench.path("events");
    fs::write(&events, "").unwrap();
    let before = bench.look();
    // It is read when packages are resolved, and written when they are installed.
    for (steps, wait) in [(1, 0), (2, 0), (2, 20), (2, 60)] {
        let mut child = bench.build(&description).arg("--events").arg(&events).spawn();
        let begun = |text: &str| text.matches("\"step\":\"containers\",\"event\":\"started\"").count();
        let deadline = Instant::now() + Duration::from_secs(60);
        while begun(&fs::read_to_string(&events).unwrap_or_default()) < steps {
            assert!(Instant::now() < deadline, "nothing is embedded: {}", fs::read_to_string(&events).unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        before.assert_nothing_left(&[]);
        assert!(!bench.path("out").exists(), "killed after {steps} steps and {wait} ms");
        fs::write(&events, "").unwrap();
    }
    bench.build(&description).run().expect(0);
    assert_eq!(digests(&bench.path("out")), expected);
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.assert_nothing_left(&before);
}

#[test]
fn a_build_that_is_asked_to_stop_stops_within_two_seconds_and_says_so_in_its_exit_code() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    // A script that would run for a minute: the build is in the middle of it when the signal comes.
    let description = bench.container().script("config.sh", "sleep 60");
    let before = bench.look();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let mut child = bench.build(&description).spawn();
        wait_for_script(&child);
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{signal:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{signal:?} took {:?}", asked.elapsed());
        let _ = fs::remove_dir_all(bench.path("out"));
        bench.assert_nothing_left(&before);
    }
}

#[test]
fn a_second_interrupt_ends_a_build_at_once_and_still_leaves_nothing() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container().script("config.sh", "trap '' INT TERM\nsleep 60 & wait");
    let before = bench.look();
    let mut child = bench.build(&description).spawn();
    wait_for_script(&child);
    for _ in 0..2 {
        // The first one may have been enough.
        let _ = kill_process_group(Pid::from_child(&child), Signal::INT);
        std::thread::sleep(Duration::from_millis(100));
    }
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(2));
    before.assert_nothing_left(&[]);
    bench.build(&description.script("config.sh", "true")).run().expect(0);
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.assert_nothing_left(&before);
}

/// Waits until a descendant of the build is `sleep 60`.
fn wait_for_script(child: &std::process::Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !crate::support::leaks::has_descendant(child.id(), "(sleep)") {
        assert!(Instant::now() < deadline, "the script never ran");
        std::thread::sleep(Duration::from_millis(50));
    }
}
