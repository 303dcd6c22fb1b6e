//! A machine whose disk lives on: what a guest writes stays, or is thrown away, as the test says.
//!
//! In: a disk in QEMU's words, what its console must say. Out: the console's text, when the guest has switched itself off.
//! Never leaves a process behind.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A disk, and what is around it.
pub struct Machine<'a> {
    /// The file.
    pub disk: &'a Path,
    /// QEMU's driver for it: `raw`, `vhdx`.
    pub driver: &'a str,
    /// `snapshot=on` throws away what the guest writes; empty keeps it.
    pub option: &'a str,
    /// QEMU's `-nic`; `none` is no network at all.
    pub network: &'a str,
}

/// Ended in any case.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, waits until its console says all of `wanted`, presses the power button and waits until it is off.
#[track_caller]
pub fn live_once(machine: &Machine<'_>, wanted: &[&str], scratch: &Path) -> String {
    let console = scratch.join("console");
    // What an earlier machine said there must not be heard again.
    let _ = fs::remove_file(&console);
    let Machine { disk, driver, option, network } = machine;
    let drive = format!("file={},format={driver},if=virtio", disk.display());
    let drive = if option.is_empty() { drive } else { format!("{drive},{option}") };
    let mut process = Process(
        Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-m", "1024", "-smp", "2", "-display", "none", "-monitor", "stdio"])
            .args(["-no-reboot", "-nic", network])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-drive", &drive])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let said = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).replace('\r', "");
    let deadline = Instant::now() + Duration::from_secs(600);
    // A button that is pressed before anybody in the guest listens is lost: it is pressed until it works.
    let mut next_press = None::<Instant>;
    while process.0.try_wait().unwrap().is_none() {
        if next_press.is_none() && wanted.iter().all(|text| said().contains(text)) {
            next_press = Some(Instant::now());
        }
        if next_press.is_some_and(|due| Instant::now() >= due) {
            // It may end at this very moment.
            let _ = process.0.stdin.as_mut().unwrap().write_all(b"system_powerdown\n");
            next_press = Some(Instant::now() + Duration::from_secs(10));
        }
        assert!(!said().contains("Kernel panic"), "{}", said());
        if Instant::now() > deadline {
            panic!("no {} in\n{}", if next_press.is_some() { "end".into() } else { wanted.join(", ") }, said());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(next_press.is_some(), "it ended before it said {wanted:?}:\n{}", said());
    said()
}
