//! argv in, exit code out.

use std::process::ExitCode;

use ingot::{cli, host};

fn main() -> ExitCode {
    if let Some(code) = host::sandbox::enter_if_asked() {
        return ExitCode::from(code);
    }
    match cli::parse(std::env::args_os()) {
        Ok(line) => ExitCode::from(cli::run(line)),
        Err(code) => ExitCode::from(code),
    }
}
