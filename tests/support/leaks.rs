//! What a build could leave behind on the host: mounts, loop devices, processes, device nodes, work folders.
//!
//! In: the host before and after. Out: a panic that lists what is new. Never cleans up.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::getpid;

/// The state of the host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    mounts: BTreeSet<String>,
    loops: Vec<String>,
    processes: BTreeSet<String>,
    devices: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
}

impl Host {
    /// Looks. `watched` are folders in which nothing may appear.
    ///
    /// From the first call on, orphans of this process's children become its own children, so that a process which
    /// outlives its build is found whatever it did to its session, its name or its environment.
    pub fn look(watched: &[&Path]) -> Host {
        rustix::process::set_child_subreaper(Some(getpid())).unwrap();
        Host {
            mounts: mounts(),
            loops: loops(),
            processes: descendants(getpid().as_raw_nonzero().get()),
            devices: devices(),
            folders: watched.iter().flat_map(|folder| entries(folder)).collect(),
        }
    }

    /// Panics where something is on the host that was not there before. What the kernel still is taking down after
    /// a kill, and what somebody else does on this host, gets ten seconds.
    #[track_caller]
    pub fn assert_nothing_left(&self, watched: &[&Path]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = Host::look(watched);
            let left = self.left(&now);
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                panic!("the build left on the host:\n{}", left.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self, now: &Host) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(now.mounts.difference(&self.mounts).map(|line| format!("mount: {line}")));
        left.extend(self.mounts.difference(&now.mounts).map(|line| format!("mount that is gone: {line}")));
        // By inode, each as often as it is attached: the path of a loop device whose mount namespace is gone lies.
        let mut before = self.loops.clone();
        for line in &now.loops {
            match before.iter().position(|known| known == line) {
                Some(index) => drop(before.swap_remove(index)),
                None => left.push(format!("loop device on {line}")),
            }
        }
        left.extend(now.processes.difference(&self.processes).map(|line| format!("process: {line}")));
        left.extend(now.devices.difference(&self.devices).map(|name| format!("device node: {name}")));
        left.extend(self.devices.difference(&now.devices).map(|name| format!("device node that is gone: {name}")));
        left.extend(now.folders.difference(&self.folders).map(|path| format!("file: {}", path.display())));
        left
    }
}

/// Mounts without their numbers, which the kernel gives anew.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
}

/// `INODE DEVICE` of the file behind each loop device, without those of somebody else: a file that is there, under
/// that name, outside the folder in which tests build.
fn loops() -> Vec<String> {
    let output =
        Command::new("losetup").args(["--json", "-l", "-O", "BACK-INO,BACK-MAJ:MIN,BACK-FILE"]).output().unwrap();
    // Without any loop device it prints nothing.
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let ours = super::scratch_root();
    let mut loops: Vec<String> = answer["loopdevices"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|device| {
            let path = Path::new(device["back-file"].as_str().unwrap_or_default());
            let inode = fs::metadata(path).map(|meta| meta.ino()).ok();
            path.starts_with(&ours) || inode.is_none() || inode != device["back-ino"].as_u64()
        })
        .map(|device| format!("{} {}", device["back-ino"], device["back-maj:min"].as_str().unwrap_or_default().trim()))
        .collect();
    loops.sort();
    loops
}

fn devices() -> BTreeSet<String> {
    // The kernel makes a node for each loop device it ever had, and keeps it.
    entries(Path::new("/dev"))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with("loop"))
        .collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether `process` has a living descendant with this command, as proc(5) writes it: `(sleep)`.
pub fn has_descendant(process: u32, command: &str) -> bool {
    descendants(process as i32).iter().any(|name| name.ends_with(command))
}

/// Living descendants of a process, as `pid (command)`.
fn descendants(ancestor: i32) -> BTreeSet<String> {
    let mut living = Vec::new();
    for path in entries(Path::new("/proc")) {
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        // `pid (command) state ppid ...`; the command may hold anything (proc(5)).
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let mut words = tail.split_whitespace();
        let (state, parent) = (words.next().unwrap_or("Z"), words.next().and_then(|word| word.parse::<i32>().ok()));
        // One that is killed has a dead first thread while another one is still in the kernel, and holds its locks.
        if state != "Z" || entries(&path.join("task")).count() > 1 {
            living.push((pid, parent.unwrap_or(0), format!("{head})")));
        }
    }
    let mut family = BTreeSet::from([ancestor]);
    loop {
        let before = family.len();
        for (pid, parent, _) in &living {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    family.remove(&ancestor);
    living.into_iter().filter(|(pid, _, _)| family.contains(pid)).map(|(_, _, name)| name).collect()
}
