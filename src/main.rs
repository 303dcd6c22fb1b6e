//! argv in, exit code out.

use std::process::ExitCode;

use ingot::cli;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(line) => ExitCode::from(cli::run(line)),
        Err(code) => ExitCode::from(code),
    }
}
