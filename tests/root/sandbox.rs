//! What programs of an image can and cannot do.

use std::path::Path;

use ingot::host::rooted::RootPath;
use ingot::host::sandbox::Sandbox;
use ingot::report::Reporter;

use crate::support::{need, scratch};

/// A tree that borrows the host's programs: /usr bound read-only, the rest its own.
struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    fn new() -> Tree {
        let folder = scratch();
        for name in ["usr", "dev", "proc", "sys", "run", "tmp", "root", "etc"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
        }
        Tree { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.path()).bind(Path::new("/usr"), &RootPath::new("/usr"))
    }

    /// Status and both outputs of a shell script.
    fn shell(&self, script: &str) -> (i32, String) {
        let ended = self.sandbox().run_to_end(&Reporter::silent(), &["sh", "-c", script], |_| {}).unwrap();
        let said = [ended.output.stdout, ended.output.stderr].concat();
        (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    fn says(&self, script: &str) -> String {
        let (status, said) = self.shell(script);
        assert_eq!(status, 0, "{script}: {said}");
        said.trim_end().to_string()
    }

    fn fails(&self, script: &str) -> String {
        let (status, said) = self.shell(script);
        assert_ne!(status, 0, "{script}: {said}");
        said
    }
}

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
    assert_eq!(tree.says("ls -d /proc/[0-9]* | wc -l"), "4", "its shell, ls, wc and the first process");
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
    tree.fails("ls /proc/1/root/");
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
