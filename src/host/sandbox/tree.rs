//! The filesystems of a sandbox: the image's tree as `/`, a private /dev, /proc, /sys, and what is bound read-only.
//!
//! In: an [`Order`], in fresh mount, PID and network namespaces. Out: this process, with the tree as its root and no way
//! back. Every mount point is resolved inside the tree; nothing is written into it but missing mount points, which the
//! helper removes again.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::{Network, Order};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::{Kind, RootPath, Rooted};

/// Device nodes of the sandbox, bound read-only from the host, so that no mode or owner of the host's can change.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// What programs expect beside the nodes.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Read-only: these change the whole kernel, not only a namespace.
const READ_ONLY: [&str; 6] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/mtrr"];
/// Empty: these show the host's hardware, disks, boot parameters or keys, and some packages copy what they see into
/// the image (an initrd's resume device, a boot entry's command line).
const HIDDEN: [&str; 28] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/mdstat",
    "/proc/modules",
    "/proc/partitions",
    "/proc/scsi",
    "/proc/swaps",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/vmallocinfo",
    "/sys/block",
    "/sys/class/block",
    "/sys/class/dmi",
    "/sys/dev/block",
    "/sys/devices/virtual/block",
    "/sys/devices/virtual/dmi",
    "/sys/firmware",
    "/sys/fs",
    "/sys/hypervisor",
    "/sys/power",
];

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// The places in the tree that something is mounted on, those that were missing made.
pub(super) struct MountPoints {
    tree: Rooted,
    made: Vec<RootPath>,
    resolver: Option<RootPath>,
}

impl MountPoints {
    /// Makes what is missing. 65 where the image has something else than a folder at /dev, /proc or /sys.
    pub fn prepare(order: &Order) -> Result<MountPoints> {
        let mut points = MountPoints { tree: Rooted::open(Path::new(&order.root))?, made: Vec::new(), resolver: None };
        let made = points.make(order);
        if made.is_err() {
            // The first failure is the one worth telling.
            let _ = points.remove();
        }
        made.map(|()| points)
    }

    fn make(&mut self, order: &Order) -> Result<()> {
        for path in ["/dev", "/proc", "/sys"].map(RootPath::from) {
            self.folder(&path)?;
            if !self.tree.entry(&path)?.is_some_and(|entry| entry.is_folder()) {
                return Err(Error::cannot(Exit::Description, format!("mount {path} in the image"))
                    .because("the image has something else than a folder there"));
            }
        }
        for (host, target) in &order.binds {
            let target = RootPath::new(target);
            if Path::new(host).is_dir() { self.folder(&target)? } else { self.file(&target)? }
        }
        if order.view == super::View::Tree && order.network == Network::Host && Path::new("/etc/resolv.conf").exists() {
            let target = self.follow("/etc/resolv.conf".into())?;
            self.file(&target)?;
            self.resolver = Some(target);
        }
        Ok(())
    }

    fn folder(&mut self, path: &RootPath) -> Result<()> {
        let mut at = RootPath::root();
        for name in path.relative().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = at.join(name);
            if !self.tree.exists(&at) {
                self.tree.create_folders(&at, 0o755)?;
                self.made.push(at.clone());
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &RootPath) -> Result<()> {
        self.folder(&path.parent())?;
        if !self.tree.exists(path) {
            self.tree.write(path, "", 0o644)?;
            self.made.push(path.clone());
        }
        Ok(())
    }

    /// Where a symlink leads to, even if there is nothing (as /etc/resolv.conf into an empty /run).
    fn follow(&self, mut path: RootPath) -> Result<RootPath> {
        for _ in 0..16 {
            match self.tree.entry(&path)?.map(|entry| entry.kind) {
                Some(Kind::Symlink(target)) if target.starts_with(b"/") => path = RootPath::new(target),
                Some(Kind::Symlink(target)) => path = path.parent().join(target),
                _ => return Ok(path),
            }
        }
        Err(Error::cannot(Exit::Description, format!("follow {path} in the image")).because("too many symlinks"))
    }

    /// Removes what [`MountPoints::prepare`] made, unless something is in it now.
    pub fn remove(&self) -> Result<()> {
        for path in self.made.iter().rev() {
            let Some(entry) = self.tree.entry(path)? else { continue };
            let empty = if entry.is_folder() { self.tree.names(path)?.is_empty() } else { entry.size.0 == 0 };
            if empty {
                self.tree.remove(path)?;
            }
        }
        Ok(())
    }
}

/// Mounts everything and makes the tree this process's root.
pub(super) fn enter(order: &Order, points: &MountPoints) -> Result<()> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", private).or_cannot(|| "make the sandbox's mounts private")?;
    let root = Path::new(&order.root);
    rustix::mount::mount_bind(root, root).or_cannot(|| format!("bind {}", root.display()))?;
    tighten(&Root::open(root)?.0, MountFlags::NODEV).or_cannot(|| "forbid devices in the tree")?;
    let root = Root::open(root)?;
    root.surroundings()?;
    let resolver = points.resolver.iter().map(|target| (Path::new("/etc/resolv.conf"), target.clone()));
    let binds = order.binds.iter().map(|(host, target)| (Path::new(host), RootPath::new(target)));
    for (host, target) in binds.chain(resolver) {
        let more = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        root.show(host, &target, more).or_cannot(|| format!("show {} at {target}", host.display()))?;
    }

    let pivot = || {
        rustix::process::fchdir(&root.0)?;
        // The old root lands on top of the new one, and is taken away from there (pivot_root(2)).
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    pivot().or_cannot(|| "make the tree the root")
}

/// The tree's mount, before it becomes `/`.
pub(super) struct Root(OwnedFd);

impl Root {
    /// The tree at this path, which must be a mount point.
    pub fn open(path: &Path) -> Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).or_cannot(|| "open the tree").map(Root)
    }

    /// Mounts what programs expect around them: /dev, /proc and /sys of their own.
    pub fn surroundings(&self) -> Result<()> {
        self.devices()?;
        self.mount("proc", "/proc", QUIET, "")?;
        // Without a network namespace of our own the kernel may refuse a sysfs.
        if self.mount("sysfs", "/sys", QUIET | MountFlags::RDONLY, "").is_err() {
            self.mount("tmpfs", "/sys", QUIET | MountFlags::RDONLY, "mode=555,size=4k")?;
        }
        for path in READ_ONLY {
            self.make_read_only(path).or_cannot(|| format!("make {path} read-only"))?;
        }
        for path in HIDDEN {
            self.hide(path).or_cannot(|| format!("hide {path}"))?;
        }
        self.close_first_process()
    }

    /// What is at `path` now, whatever was mounted there, symlinks followed inside the tree.
    fn at(&self, path: impl AsRef<[u8]>) -> rustix::io::Result<OwnedFd> {
        let path = RootPath::new(path);
        let relative = std::ffi::OsStr::from_bytes(if path.relative().is_empty() { b"." } else { path.relative() });
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.0, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename, of anybody on this host, raced with a `..` in a symlink (openat2(2)).
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other,
            }
        }
    }

    fn mount(&self, kind: &str, path: &str, flags: MountFlags, options: &str) -> Result<()> {
        let options = std::ffi::CString::new(options).unwrap_or_default();
        let mount = || {
            let target = self.at(path)?;
            rustix::mount::mount(kind, through(&target), kind, flags, options.as_c_str())
        };
        mount().or_cannot(|| format!("mount {kind} on {path}"))
    }

    fn devices(&self) -> Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount("tmpfs", "/dev", flags | MountFlags::NODEV, "mode=755,size=64k")?;
        let make = || {
            let folder = self.at("/dev")?;
            for name in ["pts", "shm"] {
                rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))?;
            }
            for (name, target) in LINKS {
                rustix::fs::symlinkat(target, &folder, name)?;
            }
            for name in NODES {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666))?;
            }
            Ok::<(), Errno>(())
        };
        make().or_cannot(|| "fill /dev")?;
        for name in NODES {
            let host = format!("/dev/{name}");
            self.show(Path::new(&host), &RootPath::new(&host), flags | MountFlags::RDONLY).map_err(|error| {
                Error::cannot(Exit::HostLacks, format!("show {host} in the sandbox"))
                    .because(std::io::Error::from(error))
            })?;
        }
        self.mount("tmpfs", "/dev/shm", flags | MountFlags::NODEV, "mode=1777")?;
        self.mount("devpts", "/dev/pts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    }

    /// Another root for the first process than the program has, as in a chroot: by that ischroot(1) and
    /// systemd-detect-virt(1) know that no system is running here, and scripts neither restart it nor wait for it.
    /// What else `/proc/1` would show is a door to the host's files.
    fn close_first_process(&self) -> Result<()> {
        self.mount("tmpfs", "/proc/1", QUIET, "mode=555,size=4k")?;
        let make = || {
            let folder = self.at("/proc/1")?;
            rustix::fs::mkdirat(&folder, "root", Mode::from_raw_mode(0o555))?;
            tighten(&folder, QUIET | MountFlags::RDONLY)
        };
        make().or_cannot(|| "close /proc/1")
    }

    /// Binds something of the host, without what is mounted below it.
    fn show(&self, host: &Path, target: &RootPath, more: MountFlags) -> rustix::io::Result<()> {
        let source = rustix::fs::openat(CWD, host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::mount::mount_bind(through(&source), through(&self.at(target.as_bytes())?))?;
        tighten(&self.at(target.as_bytes())?, more)
    }

    fn make_read_only(&self, path: &str) -> rustix::io::Result<()> {
        let target = match self.at(path) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        rustix::mount::mount_bind(through(&target), through(&target))?;
        tighten(&self.at(path)?, QUIET | MountFlags::RDONLY)
    }

    fn hide(&self, path: &str) -> rustix::io::Result<()> {
        let target = match self.at(path) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let mode = rustix::fs::fstat(&target)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory {
            let flags = QUIET | MountFlags::RDONLY;
            return rustix::mount::mount("tmpfs", through(&target), "tmpfs", flags, c"mode=555,size=4k");
        }
        rustix::mount::mount_bind(through(&self.at("/dev/null")?), through(&target))
    }
}

/// The way to name what a descriptor refers to, for mount(2).
fn through(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Adds flags to the mount that `point` is the root of, keeping those it has: a user namespace may not take any away.
fn tighten(point: &OwnedFd, more: MountFlags) -> rustix::io::Result<()> {
    // The four lowest bits of statvfs(3) are those of mount(2): read-only, nosuid, nodev, noexec.
    let have = MountFlags::from_bits_truncate(rustix::fs::fstatvfs(point)?.f_flag.bits() as u32 & 0xf);
    rustix::mount::mount_remount(through(point), MountFlags::BIND | have | more, "")
}
