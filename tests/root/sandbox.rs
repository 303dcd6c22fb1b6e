//! What programs of an image can and cannot do.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use ingot::error::Exit;
use ingot::host::rooted::RootPath;
use ingot::host::sandbox::{Network, Sandbox};
use ingot::report::Reporter;

use crate::support::{need, scratch};
use crate::tree::Tree;

#[test]
fn a_program_sees_a_minimal_dev_its_own_proc_and_nothing_of_the_host() {
    need!(root);
    let tree = Tree::new();
    assert_eq!(
        tree.says("ls /dev"),
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"
    );
    assert_eq!(
        tree.says("hostname; cat /proc/cmdline; ls -A /sys/firmware /sys/block"),
        "localhost\n/sys/block:\n\n/sys/firmware:"
    );
    assert_eq!(tree.says("set -- /proc/[0-9]*; echo $#"), "2", "its shell and the first process");
    assert_eq!(tree.says("ls /sys/class/net; umask; pwd; tty || true"), "lo\n0022\n/\nnot a tty");
    let mounts = tree.says("cut -d ' ' -f 2 /proc/mounts");
    assert!(
        mounts
            .lines()
            .all(|point| ["/dev", "/proc", "/sys", "/usr"].iter().any(|top| point.starts_with(top)) || point == "/"),
        "{mounts}"
    );
    assert_eq!(std::fs::read_dir(tree.path().join("dev")).unwrap().count(), 0);
}

#[test]
fn a_program_cannot_mount_open_devices_reach_its_first_process_or_make_namespaces() {
    need!(root);
    let tree = Tree::new();
    tree.fails("mount -t tmpfs x /tmp");
    tree.fails("unshare -Ur true");
    tree.fails("mknod /tmp/disk b 7 0 && dd if=/tmp/disk of=/dev/null count=1");
    tree.fails("mknod /dev/shm/mem c 1 1 && head -c 1 /dev/shm/mem");
    tree.fails("mknod /dev/mem c 1 1 && head -c 1 /dev/mem");
    assert_eq!(tree.says("ls -A /proc/1 /proc/1/root/"), "/proc/1:\nroot\n\n/proc/1/root/:");
    assert_eq!(tree.says("ischroot && echo a chroot"), "a chroot");
    tree.fails("cat /proc/1/exe");
    tree.fails("for file in /proc/1/fd/*; do cat $file && exit 0; done; exit 1");
    assert_eq!(tree.says("ls /proc/self/fd"), "0\n1\n2\n3", "3 is the folder that ls reads");
    tree.fails("echo 1 > /proc/sys/kernel/sysrq");
    tree.fails("chmod 600 /dev/null");
    tree.fails("dmesg");
    tree.fails("touch /usr/canary");
    tree.fails("hostname other");
    tree.fails("ip link set lo down");
}

#[test]
fn arguments_and_environment_keep_any_bytes_and_any_length() {
    need!(root);
    let tree = Tree::new();
    let odd = OsStr::from_bytes(b"new\nline \xff '$x'");
    let sandbox = tree.sandbox().env("ODD", odd);
    let script = OsStr::new("printf '%s|%s' \"$1\" \"$ODD\"; shift; echo \"|$#\"");
    let mut arguments = vec![OsStr::new("sh"), OsStr::new("-c"), script, OsStr::new("sh"), odd];
    arguments.extend(std::iter::repeat_n(OsStr::new("a path of some length that stands for a package"), 10_000));
    let output = sandbox.run(&Reporter::silent(), &arguments).unwrap();
    let wanted = [odd.as_bytes(), b"|", odd.as_bytes(), b"|10000\n"].concat();
    assert_eq!(output.stdout, wanted);
}

#[test]
fn a_daemon_dies_with_the_program_that_started_it() {
    need!(root);
    let tree = Tree::new();
    let started = Instant::now();
    // No other process has such a number.
    let seconds = format!("30.{}", std::process::id());
    tree.says(&format!("setsid sleep {seconds} & exit 0"));
    assert!(started.elapsed() < Duration::from_secs(30), "the daemon held the output open");
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    let daemons =
        processes.filter_map(|path| std::fs::read_to_string(path).ok()).filter(|line| line.contains(&seconds));
    assert_eq!(daemons.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_failure_names_the_program_its_status_and_what_it_said() {
    need!(root);
    let tree = Tree::new();
    let error = tree.sandbox().run(&Reporter::silent(), &["sh", "-c", "echo why >&2; exit 3"]).unwrap_err();
    assert_eq!(error.text(), "error: `sh -c echo why >&2; exit 3` failed\n  cause: exit status 3\n         | why");
    let killed = tree.sandbox().run(&Reporter::silent(), &["sh", "-c", "kill -9 $$"]).unwrap_err();
    assert!(killed.text().contains("killed by signal 9"), "{}", killed.text());
    let missing = tree.sandbox().run(&Reporter::silent(), &["no-such-program"]).unwrap_err();
    assert_eq!(missing.exit(), Exit::Description);
    assert!(missing.text().starts_with("error: cannot run no-such-program in the image\n"), "{}", missing.text());
}

#[test]
fn mount_points_that_were_missing_are_gone_afterwards_and_symlinks_stay_inside() {
    need!(root);
    let tree = Tree::new();
    for name in ["dev", "proc", "sys", "etc"] {
        std::fs::remove_dir(tree.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink("/", tree.path().join("out")).unwrap();
    let canary = scratch();
    std::fs::write(canary.path().join("canary"), "host").unwrap();
    let sandbox = tree.sandbox().bind(canary.path(), &RootPath::new("/out/new/canary"));
    let output = sandbox.run(&Reporter::silent(), &["sh", "-c", "cat /new/canary/canary; echo x > /new/canary/canary"]);
    let error = output.unwrap_err().text();
    assert!(error.contains("Read-only file system"), "{error}");
    assert_eq!(std::fs::read(canary.path().join("canary")).unwrap(), b"host");
    let mut names: Vec<_> = std::fs::read_dir(tree.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "lib", "lib64", "out", "root", "run", "sbin", "tmp", "usr"]);

    std::os::unix::fs::symlink("/tmp", tree.path().join("dev")).unwrap();
    let refused = tree.sandbox().run(&Reporter::silent(), &["true"]).unwrap_err();
    assert_eq!(refused.exit(), Exit::Description, "{}", refused.text());
}

#[test]
fn the_hosts_resolver_shows_only_with_the_hosts_network_and_never_stays() {
    need!(root);
    let tree = Tree::new();
    std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", tree.path().join("etc/resolv.conf")).unwrap();
    assert_eq!(tree.says("cat /etc/resolv.conf 2>/dev/null || echo none"), "none");
    let sandbox = tree.sandbox().network(Network::Host);
    let output = sandbox.run(&Reporter::silent(), &["cat", "/etc/resolv.conf"]).unwrap();
    assert_eq!(output.stdout, std::fs::read("/etc/resolv.conf").unwrap());
    assert_eq!(std::fs::read_dir(tree.path().join("run")).unwrap().count(), 0);
}

#[test]
fn programs_of_several_threads_run_side_by_side() {
    need!(root);
    let tree = Tree::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let tree = &tree;
            scope.spawn(move || assert_eq!(tree.says(&format!("sleep 0.1; echo {number}")), number.to_string()));
        }
    });
}

#[test]
fn syncing_costs_nothing() {
    need!(root);
    let tree = Tree::new();
    let started = Instant::now();
    tree.says("i=0; while [ $i -lt 300 ]; do echo x > /tmp/file; sync /tmp/file; i=$((i+1)); done");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_program_of_the_host_sees_the_hosts_tmp_and_changes_nothing_but_what_it_is_given() {
    need!(root);
    let tree = Tree::new();
    let folder = || tempfile::Builder::new().prefix("test-sandbox-").tempdir_in("/tmp").unwrap();
    let (host, given, links) = (folder(), folder(), folder());
    let file = tempfile::Builder::new().prefix("test-sandbox-").tempfile_in("/tmp").unwrap();
    std::fs::write(host.path().join("inside"), "inside\n").unwrap();
    std::fs::write(file.path(), "beside\n").unwrap();
    std::os::unix::fs::symlink(host.path(), links.path().join("link")).unwrap();
    let script = "cat \"$1/inside\" \"$2\" \"$4/link/inside\"; cat \"$(readlink -f \"$1\")/inside\"
        touch \"$1/new\" || touch \"$2\" || rm \"$4/link\" || touch \"/tmp/.ingot-host/${3##*/}.x\" || echo refused
        echo own > \"$3.own\" && cat \"$3.own\"
        echo kept > \"$3/kept\"; cd \"$3\" && pwd -P; cat /tmp/.ingot-0/kept";
    let paths = [host.path(), file.path(), given.path(), links.path()].map(|path| path.to_str().unwrap());
    let sandbox = Sandbox::new(tree.path()).of_host(&[given.path()]);
    let said = sandbox.run(&Reporter::silent(), &[&["sh", "-c", script, "sh"][..], &paths].concat()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        format!("inside\nbeside\ninside\ninside\nrefused\nown\n{}\nkept\n", given.path().display())
    );
    assert_eq!(std::fs::read_to_string(given.path().join("kept")).unwrap(), "kept\n");
    assert!(!std::path::Path::new(&format!("{}.own", given.path().display())).exists());
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 1);
}
