//! The build's namespaces, and what is left when a build dies in them.
//!
//! The builds of these tests are this test binary itself, started again with [`ENTRY`] and the name of a scenario.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingot::bytes::Bytes;
use ingot::error::Exit;
use ingot::host::loop_device::{Access, LoopDevice};
use ingot::host::mount::Mount;
use ingot::host::namespace::{isolated, kill_everything_else};
use ingot::host::program::Program;
use ingot::host::sandbox::Sandbox;
use ingot::report::Reporter;

use crate::support::leaks::Host;
use crate::support::{alone, need, scratch};

const ENTRY: &str = "__isolated";

#[used]
// SAFETY: the C library calls the functions of this section once, before main, in a single thread (elf(5)).
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, entry, scenario, folder] = arguments.as_slice() else { return };
    if entry == ENTRY {
        let code = isolated(|| run(scenario, Path::new(folder))).unwrap_or_else(|error| {
            eprintln!("{}", error.text());
            error.exit().code()
        });
        std::process::exit(code.into());
    }
}

/// The scenarios. Each says `ready` when the test may interfere.
fn run(scenario: &str, folder: &Path) -> u8 {
    let reporter = Reporter::silent();
    let result = match scenario {
        "look" => {
            let links = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            let namespaces = ["mnt", "pid", "ipc", "uts"].map(|name| links(name).display().to_string());
            println!("{} {}", std::process::id(), namespaces.join(" "));
            println!("{}", std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
            Ok(())
        }
        "panic" => panic!("as asked"),
        "seven" => return 7,
        "sleep" => {
            println!("ready");
            Program::new("sleep").arg("1000").run(&reporter).map(drop)
        }
        "ignore" => {
            println!("ready");
            loop {
                sleep(Duration::from_secs(1));
            }
        }
        "daemon" => {
            let script =
                "(setsid sleep 1000 &) </dev/null >/dev/null 2>&1; setsid sleep 1000 </dev/null >/dev/null 2>&1 &";
            Program::new("sh").args(["-c", script]).run(&reporter).unwrap();
            let processes = || {
                std::fs::read_dir("/proc")
                    .unwrap()
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
                    .count()
            };
            let before = processes();
            kill_everything_else().unwrap();
            println!("{before} {}", processes());
            Ok(())
        }
        "sandbox" => sandboxed(folder),
        "build" => build(folder),
        _ => return 99,
    };
    result.map_or_else(|error| error.exit().code(), |()| 0)
}

/// A program in a tree whose files have owners other than root.
fn sandboxed(folder: &Path) -> ingot::error::Result<()> {
    let tree = folder.join("tree");
    std::fs::create_dir_all(tree.join("tmp")).unwrap();
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name)).unwrap();
    }
    let sandbox = Sandbox::new(&tree).bind(Path::new("/usr"), &"/usr".into());
    let script =
        "touch /tmp/file && chown 33:65534 /tmp/file && stat -c %u:%g /tmp/file; echo x > /dev/null && id -u; ls /sys";
    let output = sandbox.run(&Reporter::silent(), &["sh", "-c", script])?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    ingot::host::file::remove_tree(&tree)
}

/// What a real build holds: a loop device, a mount, a program and a daemon.
fn build(folder: &Path) -> ingot::error::Result<()> {
    let reporter = Reporter::silent();
    let (disk, target) = (folder.join("disk"), folder.join("target"));
    std::fs::File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    std::fs::create_dir(&target).unwrap();
    Program::new("mke2fs").args(["-q", "-F"]).arg(&disk).run(&reporter)?;
    let device = LoopDevice::attach(&disk, Bytes(0), Bytes(8 << 20), Access::Write)?;
    let mount = Mount::device(device.path(), &target, "ext4", Access::Write, "")?;
    println!("ready");
    let script = "(setsid sleep 1000 &) </dev/null >/dev/null 2>&1; exec sleep 1000";
    let ran = Program::new("sh").args(["-c", script]).in_folder(&target).run(&reporter).map(drop);
    kill_everything_else()?;
    mount.close()?;
    device.close()?;
    std::fs::remove_dir(&target).unwrap();
    std::fs::remove_file(&disk).unwrap();
    ran
}

fn start_scenario(scenario: &str, folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ENTRY).arg(scenario).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn finish(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

/// Waits for `ready`.
fn wait_until_ready(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let mut rest = String::new();
    if line != "ready\n" {
        child.stderr.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    }
    assert_eq!(line, "ready\n", "{rest}");
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_build_is_process_1_of_namespaces_of_its_own() {
    need!(root);
    let (code, said) = finish(start_scenario("look", Path::new("/")));
    assert_eq!(code, 0, "{said}");
    let (first, host_name) = said.trim().split_once('\n').unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!((words[0], host_name), ("1", "localhost"));
    for (word, name) in words[1..].iter().zip(["mnt", "pid", "ipc", "uts"]) {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(Path::new(word), own);
    }
}

#[test]
fn the_exit_code_of_a_build_comes_out_and_a_panic_is_70() {
    need!(root);
    assert_eq!(finish(start_scenario("seven", Path::new("/"))).0, 7);
    let (code, said) = finish(start_scenario("panic", Path::new("/")));
    assert_eq!(code, i32::from(Exit::Bug.code()), "{said}");
}

#[test]
fn daemons_are_killed_before_packing() {
    need!(root);
    assert_eq!(finish(start_scenario("daemon", Path::new("/"))), (0, "3 1\n".into()));
}

#[test]
fn a_signal_ends_a_build_within_two_seconds_and_it_cleans_up() {
    need!(root);
    need!("mke2fs");
    use rustix::process::Signal;
    let _turn = alone();
    for (number, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let (scratch, before) = (scratch(), Host::look(&[]));
        let mut child = start_scenario("build", scratch.path());
        wait_until_ready(&mut child);
        let started = Instant::now();
        signal(&child, number);
        assert_eq!(finish(child), (code, String::new()));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        before.assert_nothing_left(&[]);
    }
}

#[test]
fn a_second_signal_kills_a_build_that_does_not_listen() {
    need!(root);
    let mut child = start_scenario("ignore", Path::new("/"));
    wait_until_ready(&mut child);
    let started = Instant::now();
    signal(&child, rustix::process::Signal::INT);
    sleep(Duration::from_millis(100));
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(finish(child).0, 130);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_build_killed_at_any_moment_leaves_no_mount_loop_device_or_process() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    for moment in 0..30 {
        let (scratch, before) = (scratch(), Host::look(&[]));
        let mut child = start_scenario("build", scratch.path());
        if moment >= 20 {
            wait_until_ready(&mut child);
        }
        sleep(Duration::from_millis(moment * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        before.assert_nothing_left(&[]);
    }
}

#[test]
fn an_ordinary_user_with_subordinate_ids_builds_in_a_user_namespace() {
    need!(root);
    need!("newuidmap", "setpriv", "unshare", "mount");
    use std::os::unix::fs::PermissionsExt;
    // A place that an ordinary user can reach, for the program and for its work.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let ids = folder.path().join("ids");
    let script = "mount --bind $1 /etc/subuid && mount --bind $1 /etc/subgid && \
        exec setpriv --reuid=games --regid=games --clear-groups $2 __isolated sandbox $3";
    let mut answers = Vec::new();
    for content in ["games:200000:65536\n", "games:200000:10\n"] {
        std::fs::write(&ids, content).unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([&ids, &program, folder.path()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        answers.push((output.status.code().unwrap(), said));
    }
    assert_eq!(answers[0].0, 0, "{}", answers[0].1);
    assert!(answers[0].1.starts_with("33:65534\n0\n"), "{}", answers[0].1);
    assert_eq!(answers[1].0, i32::from(Exit::HostLacks.code()), "{}", answers[1].1);
    assert!(answers[1].1.contains("  hint:  run ingot as root, or install `uidmap`"), "{}", answers[1].1);
}
