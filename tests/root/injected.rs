//! A build in which a process dies in the middle of a system call that changes the host (`strace -e inject`): nothing is
//! left behind, and the next build works.

use std::fs;
use std::path::Path;

use crate::support::image::{Answer, Bench, Description, Ingot, digests};
use crate::support::{alone, need, together};

/// Builds into `out` while strace does `injection` in every process of the build.
fn injected(bench: &Bench, description: &Description, injection: &str) -> Answer {
    let strace = "strace -f -qq -o /dev/null -e signal=none";
    bench.build(description).after(&format!("set -- {strace} -e inject={injection} \"$@\"")).run()
}

#[test]
fn a_call_that_fails_is_never_success_with_other_bytes() {
    need!(root);
    need!("strace");
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    let before = bench.look();
    let mut failed = 0;
    // What is counted is each process's own calls.
    for injection in [
        "write,pwrite64,writev:error=EIO:when=400+97",
        "read,pread64:error=EIO:when=150",
        "fsync,fdatasync,syncfs:error=EIO",
        "openat,openat2:error=EMFILE:when=200",
        "umount2:error=EBUSY",
        "read,write:error=EINTR:when=100+211",
    ] {
        let answer = injected(&bench, &description, injection);
        assert!(!answer.stderr.contains("panicked"), "{injection}: {}", answer.stderr);
        match answer.code {
            Some(0) => assert_eq!(digests(&bench.path("out")), expected, "{injection}"),
            // A signal, a bug or "it passes" would each be the wrong word.
            Some(64..=69 | 73 | 74 | 76..=78) => failed += 1,
            code => panic!("{injection}: {code:?}\n{}", answer.stderr),
        }
        if answer.code != Some(0) {
            assert!(!bench.path("out/manifest.json").exists(), "{injection}");
        }
        before.assert_nothing_left(&[]);
        let _ = fs::remove_dir_all(bench.path("out"));
    }
    assert!(failed >= 3, "only {failed} builds noticed");
    bench.build(&description).run().expect(0);
    assert_eq!(digests(&bench.path("out")), expected, "a failed build spoilt the cache");
}

#[test]
fn nobody_waits_for_what_other_builds_have_written() {
    need!(root);
    need!("strace");
    let _turn = together();
    let bench = Bench::new();
    let description = bench.disk().edit("mirror://tiny", &format!("file://{}", bench.world.repository().display()));
    let (trace, work) = (bench.path("trace"), bench.path("work"));
    // syncfs(2) and sync(2) wait for everything on a filesystem: only a build's own one, mounted in its folder, may be waited for.
    let watched = |words: &[&str]| {
        let strace = "strace -f -qq -y --seccomp-bpf -e signal=none -e trace=syncfs,sync,fsync";
        let ingot = Ingot::new(words).env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap());
        let ingot = ingot.env("INGOT_WORK_DIR", work.to_str().unwrap()).in_folder(&bench.path(""));
        let answer = ingot.after(&format!("set -- {strace} -o {} \"$@\"", trace.display())).run();
        let calls = fs::read_to_string(&trace).unwrap();
        assert!(calls.contains(" fsync("), "nothing was written at all: {calls}");
        for call in calls.lines().filter(|call| call.contains(" sync(") || call.contains(" syncfs(")) {
            let path = Path::new(call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect(call).0);
            let own = ["mounted", "changed"].iter().any(|name| path.ends_with(name));
            assert!(own && path.starts_with(&work), "{words:?}: {call}");
        }
        answer
    };
    let image = description.folder().to_str().unwrap();
    watched(&["kiwi", "system", "prepare", "--description", image, "--root", "tree"]).expect(0);
    watched(&["kiwi", "system", "create", "--root", "tree", "--target-dir", "out"]).expect(0);
    watched(&["kiwi", "image", "resize", "--target-dir", "out", "--size", "200m"]).expect(0);
    let raw = crate::support::image::result(&bench.path("out"), ".raw");
    fs::File::options().write(true).open(&raw).unwrap().set_len((200 << 20) + 512).unwrap();
    // Something else may be wrong with it.
    let fixed = watched(&["preflight", raw.to_str().unwrap(), "--for", "azure", "--fix"]).expect_one_of(&[0, 1]);
    assert_eq!(fs::metadata(&raw).unwrap().len() % (1 << 20), 0, "{fixed:?}");
}

#[test]
fn a_process_that_dies_in_any_call_that_changes_the_host_leaves_nothing() {
    need!(root);
    need!("strace");
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.disk();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    let before = bench.look();
    let mut died = 0;
    for (call, moments) in [
        ("mount", [1, 2]),
        ("umount2", [1, 2]),
        ("ioctl", [1, 3]),
        ("rename,renameat,renameat2", [1, 4]),
        ("fsync,fdatasync,syncfs", [1, 2]),
    ] {
        for moment in moments {
            let answer = injected(&bench, &description, &format!("{call}:signal=KILL:when={moment}"));
            died += usize::from(answer.code != Some(0));
            before.assert_nothing_left(&[]);
            // The target is absent or complete, or there is a log of what failed.
            if bench.path("out").join("manifest.json").exists() {
                assert_eq!(digests(&bench.path("out")), expected, "{call} {moment}");
            }
            let _ = fs::remove_dir_all(bench.path("out"));
        }
    }
    assert!(died >= 5, "only {died} builds noticed");
    bench.build(&description).run().expect(0);
    assert_eq!(digests(&bench.path("out")), expected);
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.assert_nothing_left(&before);
}
