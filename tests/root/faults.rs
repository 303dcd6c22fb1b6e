//! Bad input and a bad world: the right exit code, a clear message, an earlier result untouched, nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::image::{Answer, Bench, Description, Ingot, digests};
use crate::support::leaks::Host;
use crate::support::program::{run, text};
use crate::support::server::{Fault, Server};
use crate::support::world::{SUITE, World};
use crate::support::{alone, need, together};

/// Builds into a target that holds an earlier result, and asserts that only a log was added to it.
#[track_caller]
fn fail(bench: &Bench, build: Ingot, codes: &[i32], says: &[&str]) -> Answer {
    let target = bench.path("out");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("manifest.json"), "earlier").unwrap();
    fs::write(target.join("tiny.x86_64-1.2.3.docker.tar"), "earlier").unwrap();
    let earlier = digests(&target);
    let before = bench.look();
    let answer = build.run().expect_one_of(codes).says(says);
    assert!(answer.stderr.contains("error: "), "{}", answer.stderr);
    bench.assert_nothing_left(&before);
    assert_eq!(digests(&target), earlier, "the earlier result was touched");
    answer
}

#[test]
fn a_bad_description_is_65_or_66_and_names_its_line() {
    need!(root);
    let _turn = alone();
    type Change = fn(Description) -> Description;
    let table: &[(Change, &[i32], &[&str])] = &[
        (|d| d.edit("</image>", "</imag>"), &[65], &["config.xml:"]),
        (|d| d.edit("<version>1.2.3</version>", "<version>1.2.3"), &[65], &["config.xml:"]),
        (|d| d.edit("image=\"docker\"", "imag=\"docker\""), &[65], &["config.xml:", "imag"]),
        (|d| d.edit("<packagemanager>apt", "<packagemanager>atp"), &[65], &["config.xml:", "atp"]),
        (|d| d.edit("this://tiny.asc", "this://missing.asc"), &[65, 66], &["missing.asc"]),
        (
            |d| d.edit("<package name=\"passwd\"/>", "<package name=\"passwd\"/><archive name=\"gone.tar\"/>"),
            &[65, 66],
            &["gone.tar"],
        ),
        (|d| d.edit("mirror://tiny", "mirror://nobody-knows"), &[65, 66, 78], &["nobody-knows"]),
        // The file that apt reads logins from is words between blanks.
        (
            |d| d.edit("alias=\"tiny\"", "alias=\"tiny\" username=\"me\" password=\"a b\""),
            &[65],
            &["config.xml:", "its password has a blank", "hint:"],
        ),
        (
            |d| d.edit("alias=\"tiny\"", "alias=\"tiny\" username=\"me\""),
            &[65],
            &["config.xml:", "its password is empty"],
        ),
    ];
    for (change, codes, says) in table {
        let bench = Bench::new();
        let description = change(bench.container());
        fail(&bench, bench.build(&description), codes, says);
    }
}

#[test]
fn a_description_that_is_not_there_is_66() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let build = Ingot::new(["build", "/nonexistent/description", "--target-dir"]).arg(bench.path("out"));
    build.run().expect(66).says(&["/nonexistent/description"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn packages_that_cannot_be_had_are_65_with_apts_own_reason() {
    need!(root);
    let _turn = alone();
    let table: &[(&[&str], &[&str])] = &[
        (&["tiny-unsatisfiable"], &["tiny-unsatisfiable", "tiny-nowhere"]),
        (&["tiny-ap"], &["tiny-ap", "Unable to locate package"]),
        (&["tiny-left", "tiny-right"], &["tiny-left", "tiny-right"]),
    ];
    for (packages, says) in table {
        let bench = Bench::new();
        let description = packages.iter().fold(bench.container(), |description, name| description.package(name));
        fail(&bench, bench.build(&description), &[65], says);
    }
}

#[test]
fn a_maintainer_script_that_fails_is_named_and_its_words_are_shown() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container().package("tiny-broken-postinst");
    let says = ["tiny-broken-postinst: this cannot work"];
    fail(&bench, bench.build(&description), &[65, 74], &says);
}

#[test]
fn a_script_that_fails_is_65_with_its_name_its_status_and_its_last_lines() {
    need!(root);
    let _turn = alone();
    for name in ["config.sh", "images.sh", "post_bootstrap.sh"] {
        let bench = Bench::new();
        let description = bench.container().script(name, "echo the last thing it said\nexit 3");
        let answer = fail(&bench, bench.build(&description), &[65], &[name, "3", "the last thing it said"]);
        let log = answer.stderr.lines().find_map(|line| line.trim().strip_prefix("log:").map(str::trim));
        let log = fs::read_to_string(log.unwrap_or_else(|| panic!("no log in {}", answer.stderr))).unwrap();
        assert!(log.contains("the last thing it said"), "{log}");
    }
}

/// A mirror whose copy of the repository was changed.
fn spoilt(change: impl FnOnce(&World, &Path)) -> Bench {
    let mut bench = Bench::new();
    let folder = bench.path("spoilt");
    bench.world.copy(&folder);
    change(&bench.world, &folder);
    bench.mirror = Server::start(folder);
    bench
}

fn suite(folder: &Path) -> PathBuf {
    folder.join("dists").join(SUITE)
}

fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    // The copy is made of hard links.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_repository_without_a_good_signature_is_76() {
    need!(root);
    let _turn = alone();
    type Change = fn(&World, &Path);
    let unsigned: Change = |_, folder| {
        for name in ["InRelease", "Release.gpg"] {
            fs::remove_file(suite(folder).join(name)).unwrap();
        }
    };
    let tampered: Change = |_, folder| {
        for name in ["InRelease", "Release"] {
            let text = fs::read_to_string(suite(folder).join(name)).unwrap();
            replace(&suite(folder).join(name), text.replace("Origin: Tiny", "Origin: Evil"));
        }
    };
    let changed_index: Change = |_, folder| {
        let path = suite(folder).join("main/binary-amd64/Packages.gz");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        replace(&path, bytes);
        let path = suite(folder).join("main/binary-amd64/Packages");
        let text = fs::read_to_string(&path).unwrap().replace("tiny-app", "evil-app");
        replace(&path, text);
    };
    for (name, change) in [("unsigned", unsigned), ("tampered", tampered), ("index", changed_index)] {
        let bench = spoilt(change);
        let description = bench.container();
        eprintln!("{name}");
        fail(&bench, bench.build(&description), &[76], &[]);
    }
    // A good signature, of somebody else.
    let bench = Bench::new();
    let description = bench.container();
    fs::copy(bench.world.other_key(), description.folder().join("tiny.asc")).unwrap();
    fail(&bench, bench.build(&description), &[76], &[]);
}

#[test]
fn an_unsigned_repository_that_the_description_accepts_is_recorded_in_the_manifest() {
    need!(root);
    let _turn = together();
    let bench = spoilt(|_, folder| {
        for name in ["InRelease", "Release.gpg"] {
            fs::remove_file(folder.join("dists").join(SUITE).join(name)).unwrap();
        }
    });
    let accepted = "<repository repository_gpgcheck=\"false\" type";
    let description = bench.container().edit("<repository type", accepted);
    bench.build(&description).run().expect(0);
    let manifest = fs::read_to_string(bench.path("out/manifest.json")).unwrap();
    assert!(manifest.contains("not-checked"), "{manifest}");
}

#[test]
fn a_package_with_a_wrong_checksum_is_76_and_never_stays_in_the_cache() {
    need!(root);
    let _turn = alone();
    let world = World::open();
    let package = world.package("libtiny1");
    let mut bytes = fs::read(world.repository().join(&package)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mut bench = Bench::with_mirror(Server::start(world.repository()).fault("libtiny1", Fault::Bytes(bytes)));
    let description = bench.container();
    fail(&bench, bench.build(&description), &[76], &["libtiny1"]);
    // The same cache, and a mirror that behaves again.
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.mirror = Server::start(world.repository());
    bench.build(&description).run().expect(0);
}

#[test]
fn a_spoilt_cache_is_noticed_and_never_installed() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "expected").run().expect(0);
    // Flips a bit in every package of the store.
    let mut spoilt = 0;
    for path in files_below(&bench.path("cache/packages")) {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.starts_with(b"!<arch>") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            replace(&path, bytes);
            spoilt += 1;
        }
    }
    assert!(spoilt > 10, "only {spoilt} packages in the cache");
    let answer = bench.build(&description).run();
    match answer.code {
        Some(0) => assert_eq!(digests(&bench.path("out")), digests(&bench.path("expected"))),
        _ => drop(answer.expect(76)),
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files_below(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn a_mirror_that_fails_is_75() {
    need!(root);
    let _turn = alone();
    let table = [
        ("", Fault::Status(503)),
        (".deb", Fault::Status(503)),
        (".deb", Fault::Reset(100)),
        (".deb", Fault::Truncate(100)),
        ("Packages", Fault::Reset(10)),
        ("/pool/", Fault::Redirect("/pool/round/and/round.deb".into())),
    ];
    for (part, fault) in table {
        let bench = Bench::with_mirror(Server::start(World::open().repository()).fault(part, fault.clone()));
        let description = bench.container();
        eprintln!("{part} {fault:?}");
        let answer = fail(&bench, bench.build(&description), &[75], &[]);
        assert!(!answer.stderr.contains("panicked"), "{fault:?}: {}", answer.stderr);
    }
}

#[test]
fn a_mirror_that_nobody_answers_for_is_75() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let build = Ingot::new(["build"])
        .arg(description.folder())
        .arg("--target-dir")
        .arg(bench.path("out"))
        .arg(format!("--mirror=tiny={url}"))
        .env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap())
        .env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap());
    fail(&bench, build, &[75], &["127.0.0.1"]);
}

#[test]
fn a_fault_that_passes_is_tried_again() {
    need!(root);
    let _turn = together();
    let table = [("libtiny1", Fault::Reset(100)), ("libtiny1", Fault::Truncate(100)), ("Packages", Fault::Status(503))];
    for (part, fault) in table {
        let mirror = Server::start(World::open().repository()).fault_times(part, fault.clone(), 1);
        let bench = Bench::with_mirror(mirror);
        let description = bench.container();
        eprintln!("{part} {fault:?}");
        bench.build(&description).run().expect(0);
    }
}

#[test]
fn a_portal_that_answers_for_the_mirror_is_never_believed() {
    need!(root);
    let _turn = alone();
    let page = b"<!DOCTYPE html><html><body>Welcome to the hotel, please log in</body></html>".to_vec();
    for part in ["", ".deb"] {
        let bench =
            Bench::with_mirror(Server::start(World::open().repository()).fault(part, Fault::Bytes(page.clone())));
        let description = bench.container();
        fail(&bench, bench.build(&description), &[75, 76], &[]);
    }
}

/// A small filesystem of its own at `path`, gone when dropped.
pub struct Small {
    pub path: PathBuf,
}

impl Small {
    pub fn mount(path: PathBuf, options: &str) -> Small {
        fs::create_dir_all(&path).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "small"]).arg(&path).status().unwrap();
        assert!(status.success());
        Small { path }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_is_74_and_says_so() {
    need!(root);
    let _turn = alone();
    for (place, size) in [("target", "3m"), ("cache", "2m"), ("work", "5m")] {
        let bench = Bench::new();
        let description = bench.container();
        let small = Small::mount(bench.path("small"), &format!("size={size}"));
        let inside = small.path.join(place);
        fs::create_dir(&inside).unwrap();
        let text = inside.to_str().unwrap();
        let build = match place {
            "target" => bench.build_into(&description, "small/target/out"),
            "cache" => bench.build(&description).env("INGOT_CACHE_DIR", text),
            _ => bench.build(&description).env("INGOT_WORK_DIR", text),
        };
        let before = Host::look(&[&small.path]);
        let answer = build.run().expect(74).says(&["error: "]);
        let says_so = ["No space left on device", " free"].iter().any(|part| answer.stderr.contains(part));
        assert!(says_so, "{place}: {}", answer.stderr);
        before.assert_nothing_left(&[&small.path]);
    }
}

/// An ext4 filesystem of 64 MiB in a file on a loop device, gone when dropped.
struct Device {
    image: PathBuf,
    path: PathBuf,
}

impl Device {
    /// Makes it, without a journal, so that everything lies where it was written first.
    fn make(image: PathBuf, path: PathBuf) -> Device {
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run(
            "mke2fs",
            &["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-i", "65536", "-m", "0", text(&image)],
        );
        let device = Device { image, path };
        fs::create_dir_all(&device.path).unwrap();
        device.mount();
        device
    }

    fn mount(&self) {
        run("mount", &["-o", "loop,errors=continue", text(&self.image), text(&self.path)]);
    }

    /// Nothing of it is in memory any more.
    fn forgotten(self) -> Device {
        self.unmount();
        self.mount();
        self
    }

    fn unmount(&self) {
        run("umount", &[text(&self.path)]);
        // The kernel lets go of the loop device a little later.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !run("losetup", &["--associated", text(&self.image)]).is_empty() {
            assert!(Instant::now() < deadline, "{} stays attached", self.image.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Device {
    /// A build that keeps a file of it open fails here.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Command::new("umount").args(["--lazy", text(&self.path)]).status();
        } else {
            self.unmount();
        }
    }
}

#[test]
fn a_device_that_takes_what_it_cannot_keep_is_74_and_never_success() {
    need!(root);
    need!("mke2fs", "mount");
    let _turn = alone();
    for place in ["target", "cache"] {
        let bench = Bench::new();
        let description = bench.container();
        // What is behind the device is full long before the filesystem on it is: only who syncs hears of it.
        let behind = Small::mount(bench.path("behind"), "size=2m");
        let device = Device::make(behind.path.join("image"), bench.path("device"));
        let inside = device.path.join(place);
        fs::create_dir(&inside).unwrap();
        let build = match place {
            "target" => bench.build_into(&description, "device/target/out"),
            _ => bench.build(&description).env("INGOT_CACHE_DIR", text(&inside)),
        };
        let before = Host::look(&[&bench.path("work"), &inside]);
        let answer = build.run().expect(74).says(&["error: ", "cannot "]);
        let errors = ["Input/output error", "No space left on device"];
        assert!(errors.iter().any(|error| answer.stderr.contains(error)), "{place}: {}", answer.stderr);
        assert!(!inside.join("out/manifest.json").exists(), "{place}");
        before.assert_nothing_left(&[&bench.path("work")]);
    }
}

#[test]
fn a_device_that_gives_nothing_back_is_74_and_the_file_is_named() {
    need!(root);
    need!("mke2fs", "mount", "debugfs");
    let _turn = alone();
    let bench = Bench::new();
    let good = bench.container();
    bench.build_into(&good, "out").run().expect(0);
    let device = Device::make(bench.path("image-of-device"), bench.path("device"));
    run("cp", &["-a", text(good.folder()), text(&device.path.join("description"))]);
    let overlay = device.path.join("description/root");
    fs::create_dir(&overlay).unwrap();
    fs::write(overlay.join("late"), vec![7; 6 << 20]).unwrap();
    let device = device.forgotten();
    let blocks = run("debugfs", &["-R", "blocks /description/root/late", text(&device.image)]);
    let last = blocks.split_whitespace().filter_map(|block| block.parse::<u64>().ok()).max().unwrap();
    // The device ends there, whatever its filesystem thinks.
    fs::File::options().write(true).open(&device.image).unwrap().set_len((last - 64) * 4096).unwrap();
    let before = bench.look();
    let build = Ingot::new(["build"]).arg(device.path.join("description")).arg("--target-dir").arg(bench.path("out"));
    let build = build.arg("--mirror").arg(format!("tiny={}", bench.mirror.url()));
    let build = build.env("INGOT_CACHE_DIR", text(&bench.path("cache")));
    let earlier = digests(&bench.path("out"));
    let build = build.env("INGOT_WORK_DIR", text(&bench.path("work")));
    build.run().expect(74).says(&["error: ", "root/late", "Input/output error"]);
    assert_eq!(digests(&bench.path("out")), earlier, "the earlier result was touched");
    bench.assert_nothing_left(&before);
}

/// `kiwi system build` of a description in the bench.
fn kiwi_build(bench: &Bench, description: Description, target: &Path) -> Ingot {
    let description = description.edit("mirror://tiny", &format!("file://{}", bench.world.repository().display()));
    let build = Ingot::new(["kiwi", "system", "build", "--description"]).arg(description.folder());
    let build = build.arg("--target-dir").arg(target).env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap());
    build.env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap())
}

/// What the one result line says; it is the last line.
#[track_caller]
fn the_only_result(answer: &Answer) -> serde_json::Value {
    let results: Vec<&str> = answer.stdout.lines().filter(|line| line.contains("INGOT-RESULT: ")).collect();
    assert!(results.len() == 1 && answer.stdout.lines().last() == Some(results[0]), "{answer:?}");
    serde_json::from_str(results[0].trim_start_matches("INGOT-RESULT: ")).unwrap()
}

#[test]
fn what_cannot_be_made_where_it_is_to_be_is_73_and_an_unused_mirror_is_named() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container().file("root/etc/motd", "hello\n");
    let before = bench.look();
    let inside = description.folder().join("root/out");
    for (flag, value, says) in [
        ("--events", "/nonexistent/x", "create /nonexistent/x"),
        ("--work-dir", "/nonexistent", "find /nonexistent"),
        ("--cache-dir", "/dev/null", "make the folder /dev/null"),
    ] {
        bench.build(&description).args([flag, value]).run().expect(73).says(&["error: ", says]);
    }
    let inside = Ingot::new(["build"]).arg(description.folder()).arg("--target-dir").arg(&inside);
    inside.env("INGOT_CACHE_DIR", text(&bench.path("cache"))).run().expect(73).says(&["root/out", "the image gets"]);
    assert_eq!(fs::read_dir(description.folder().join("root")).unwrap().count(), 1);
    bench.assert_nothing_left(&before);
    let answer = bench.build(&description).args(["--mirror", "tinny=http://127.0.0.1:1"]).run().expect(0);
    answer.says(&["warning: --mirror tinny=... is not used"]);
}

#[test]
fn a_panic_is_70_and_told_as_every_other_failure_is() {
    need!(root);
    let _turn = together();
    // No thread can be started whose stack does not fit into memory.
    let panics = |ingot: Ingot| ingot.env("RUST_MIN_STACK", "4611686018427387904").run().expect(70);
    let says = ["panicked at", "error: cannot go on: this is a bug of ingot", "Resource temporarily unavailable"];
    let bench = Bench::new();
    let disk = bench.path("disk.raw");
    fs::write(&disk, vec![7; 4 << 20]).unwrap();
    panics(Ingot::new(["convert"]).arg(&disk).arg(bench.path("disk.qcow2"))).says(&says);
    bench.container().edit("mirror://tiny", &format!("file://{}", bench.world.repository().display()));
    let info = ["kiwi", "image", "info", "--description", "image", "--resolve-package-list"];
    let cache = bench.path("cache");
    let answer = panics(Ingot::new(info).in_folder(&bench.path("")).env("INGOT_CACHE_DIR", text(&cache)));
    let result = the_only_result(&answer.says(&says));
    assert!(result["exit"] == 70 && result["error"]["cause"][0].to_string().contains("Resource"), "{result}");
}

#[test]
fn why_a_build_failed_is_told_once_whatever_fails_afterwards() {
    need!(root);
    let _turn = alone();
    let failing = |bench: &Bench| bench.container().script("config.sh", "echo the reason; exit 3");
    // The log and a tree do not fit into the target.
    for is_kiwi in [false, true] {
        let bench = Bench::new();
        let description = failing(&bench);
        let small = Small::mount(bench.path("out"), "size=64k");
        let filled = fs::write(small.path.join("filler"), vec![0; 128 << 10]).unwrap_err();
        assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
        let before = Host::look(&[&bench.path("work")]);
        let build = match is_kiwi {
            true => kiwi_build(&bench, description, &small.path),
            false => bench.build(&description).arg("--keep-root"),
        };
        let answer = build.run().expect(65);
        assert_eq!(answer.stderr.matches("error: ").count(), 1, "{}", answer.stderr);
        let said = format!("{}{}", answer.stdout, answer.stderr);
        for part in ["config.sh", "the reason", "the log could not be kept", "No space left on device"] {
            assert!(said.contains(part), "{part:?} is not in\n{said}");
        }
        if is_kiwi {
            let result = the_only_result(&answer);
            assert!(result["exit"] == 65 && result["error"]["what"].to_string().contains("config.sh"), "{result}");
        }
        before.assert_nothing_left(&[&bench.path("work")]);
    }
    // The disk is full because of what is kept beside the target meanwhile: the log is only renamed.
    let bench = Bench::new();
    let description = failing(&bench);
    let small = Small::mount(bench.path("small"), "size=3m");
    let answer = kiwi_build(&bench, description, &small.path.join("out")).run().expect(65);
    assert_eq!(the_only_result(&answer)["exit"], 65);
    let log = fs::read_to_string(small.path.join("out/build/image-root.log")).unwrap();
    assert!(log.contains("the reason"), "{log}");
    assert_eq!(fs::read_dir(small.path.join("out")).unwrap().count(), 1);
}

#[test]
fn a_tree_that_is_asked_for_is_kept_whether_the_build_fails_or_not() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let marked = |text: &str, end: &str| bench.container().script("config.sh", &format!("echo {text} >/mark\n{end}"));
    for (text, end, code) in [("first", "exit 3", 65), ("second", "exit 3", 65), ("third", "", 0), ("fourth", "", 0)] {
        bench.build(&marked(text, end)).arg("--keep-root").run().expect(code);
        assert_eq!(fs::read_to_string(bench.path("out/tiny.root/mark")).unwrap(), format!("{text}\n"));
    }
}

#[test]
fn a_target_that_cannot_be_written_is_73_before_anything_is_done() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container();
    let requests = bench.mirror.requests().len();
    // A file.
    fs::write(bench.path("file"), "a file").unwrap();
    bench.build_into(&description, "file").run().expect(73);
    bench.build_into(&description, "file/below").run().expect(73);
    // A read-only filesystem.
    let small = Small::mount(bench.path("small"), "ro,size=1m");
    bench.build_into(&description, "small/out").run().expect(73);
    bench.build_into(&description, "small").run().expect(73);
    drop(small);
    // A symlink to nowhere.
    std::os::unix::fs::symlink("/nonexistent/folder", bench.path("link")).unwrap();
    bench.build_into(&description, "link").run().expect(73);
    assert_eq!(bench.mirror.requests().len(), requests, "the mirror was asked");
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"a file");
}

#[test]
fn of_three_builds_into_one_target_one_wins_and_the_others_are_73() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container();
    let before = Host::look(&[&bench.path("work")]);
    let mut codes: Vec<_> = (0..3)
        .map(|_| bench.build(&description).spawn())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|mut child| child.wait().unwrap().code())
        .collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(73), Some(73)]);
    before.assert_nothing_left(&[&bench.path("work")]);
}

#[test]
fn builds_side_by_side_share_a_cache_and_agree() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.container();
    let mut children: Vec<_> = (0..8).map(|n| bench.build_into(&description, &format!("out{n}")).spawn()).collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let all: std::collections::BTreeSet<_> = (0..8).map(|n| digests(&bench.path(&format!("out{n}")))).collect();
    assert_eq!(all.len(), 1);
    let packages = bench.mirror.asked(".deb");
    let once: std::collections::BTreeSet<_> = packages.iter().map(|asked| &asked.path).collect();
    assert_eq!(packages.len(), once.len(), "a package was fetched twice: {packages:?}");
}

#[test]
fn odd_surroundings_do_not_matter() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    bench.build_into(&description, "expected").run().expect(0);
    let expected = digests(&bench.path("expected"));
    for line in [
        "exec 0<&-",
        "exec 0<&- 1>&-",
        "exec 2>/dev/full",
        "ulimit -n 64",
        "umask 0",
        "umask 077",
        "export LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8",
        "cd /proc",
        "export TMPDIR='/a folder'",
    ] {
        let _ = fs::remove_dir_all(bench.path("out"));
        bench.build(&description).after(line).run().expect(0);
        assert_eq!(digests(&bench.path("out")), expected, "{line}");
    }
}
