//! What a command says: its result on standard output, everything else on standard error.
//!
//! In: text. Out: whether it could be written. Never panics where it could not, as `println!` does.

use std::io::{ErrorKind, Write};

use crate::error::{OrCannot, Result};

/// A line on standard error. One that cannot be written (a full disk behind it, a reader that is gone) changes nothing
/// about what was done.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Text on standard output, as it is. A reader that has read enough (`| head`) is no error; 74 where it cannot be
/// written for another reason.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).or_cannot(|| "write to standard output"),
        _ => Ok(()),
    }
}

/// A line on standard output, under the same rules.
pub(super) fn print_line(line: impl std::fmt::Display) -> Result<()> {
    print(&format!("{line}\n"))
}
