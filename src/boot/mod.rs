//! Starting a disk in a virtual machine and listening to its serial console.
//!
//! In: a disk of any format, a firmware, what to wait for. Out: whether it was said, how long it took, what failed on the
//! way. The disk is never changed (`snapshot=on`), the machine reaches no network, and no process outlives us.

mod console;
mod machine;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Exit, Result};
use crate::host::program::failure;
use crate::host::running::{Heard, Running, attach};
use crate::report::Reporter;
use console::Console;

/// How many lines of the console are shown when a trial fails.
const TAIL: usize = 25;
/// After the text is seen, units may still fail: the trial goes on until the console was silent for so long ...
const SILENCE: Duration = Duration::from_secs(2);
/// ... or so long at most.
const AFTERMATH: Duration = Duration::from_secs(15);

/// A machine to try.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A disk, of any format that is read.
    pub image: PathBuf,
    /// What starts it.
    pub firmware: Firmware,
    /// What runs it.
    pub acceleration: Acceleration,
    /// Memory in MiB.
    pub memory: u64,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// What runs a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// Software: works everywhere.
    Tcg,
    /// /dev/kvm.
    Kvm,
}

impl Acceleration {
    fn name(self) -> &'static str {
        match self {
            Acceleration::Tcg => "TCG",
            Acceleration::Kvm => "KVM",
        }
    }
}

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Text on the serial console.
    pub text: String,
    /// How long at most.
    pub timeout: Duration,
}

/// Boots until the text appears and the console is quiet. The error (exit code 1) shows the last lines of the console
/// where it does not appear, or which units failed.
pub fn trial(machine: &Machine, expectation: &Expectation, reporter: &Reporter) -> Result<()> {
    let program = machine::program(machine, machine::Console::Piped)?;
    reporter.log_line(&format!("+ {}", program.line()));
    let command = program.line();
    let running = Running::start(program)?;
    let started = Instant::now();
    let step = reporter.step("boot");
    let (mut console, mut seen) = (Console::default(), None::<Instant>);
    let verdict = loop {
        if let Some(seen) = seen
            && seen.elapsed() > AFTERMATH
        {
            break Ok(());
        }
        if seen.is_none() && started.elapsed() > expectation.timeout {
            break Err(format!("{:?} did not appear within {} s", expectation.text, expectation.timeout.as_secs()));
        }
        match running.listen(if seen.is_some() { SILENCE } else { Duration::from_millis(500) }) {
            Heard::Silence if seen.is_some() => break Ok(()),
            Heard::Silence => {}
            Heard::End if seen.is_some() => break Ok(()),
            Heard::End => {
                let ended = running.wait()?;
                if !ended.status.success() {
                    return Err(failure(&command, &ended).within(format!("boot {}", machine.image.display())));
                }
                return Err(unseen("the machine switched itself off", expectation, machine, &console));
            }
            Heard::Bytes(bytes) => {
                console.hear(&bytes);
                if let Some(line) = console.last_lines(1).pop() {
                    reporter.log_line(&line);
                    step.now(&line);
                }
                if seen.is_none() && console.says(&expectation.text) {
                    seen = Some(Instant::now());
                }
                if let Some(line) = console.hopeless() {
                    break Err(format!("it gave up: {line}"));
                }
            }
        }
    };
    let took = seen.map_or(started.elapsed(), |seen| seen - started).as_secs();
    running.stop()?;
    drop(step);
    if let Err(why) = verdict {
        return Err(unseen(&why, expectation, machine, &console));
    }
    let failed = console.failed();
    let line = format!(
        "booted in {took} s ({}): {:?} on ttyS0; {} {} failed",
        machine.acceleration.name(),
        expectation.text,
        failed.len(),
        if failed.len() == 1 { "unit" } else { "units" }
    );
    if failed.is_empty() {
        reporter.say(&line);
        return Ok(());
    }
    let error = failed.iter().fold(Error::new(Exit::Findings, line), |error, unit| error.because(unit));
    Err(error)
}

fn unseen(why: &str, expectation: &Expectation, machine: &Machine, console: &Console) -> Error {
    let lines: String = console.last_lines(TAIL).iter().map(|line| format!("| {line}\n")).collect();
    let error = Error::new(
        Exit::Findings,
        format!("{} did not say {:?} ({})", machine.image.display(), expectation.text, machine.acceleration.name()),
    );
    let error = error.because(why);
    if lines.is_empty() {
        return error
            .because("nothing was said on the serial console")
            .hint("the image may lack console=ttyS0 in its kernelcmdline, or a boot loader for this firmware");
    }
    error.because(format!("last lines of its console\n{lines}"))
}

/// Boots on this terminal until the machine is switched off. Ctrl-A X ends it.
pub fn interactive(machine: &Machine) -> Result<()> {
    let program = machine::program(machine, machine::Console::Terminal)?;
    let status = attach(&program)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::cannot(Exit::HostLacks, format!("boot {}", machine.image.display()))
        .because(format!("QEMU ended with {}", crate::host::program::status_text(status))))
}
