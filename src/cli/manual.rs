//! Man pages and completions, generated from the same definitions that parse the command line.
//!
//! In: nothing but [`CommandLine`]. Out: roff and shell code. Never a text of its own.

use std::path::Path;

use clap::CommandFactory;

use super::CommandLine;
use crate::error::{OrCannot, Result};
use crate::host::file;

/// Prints completions to stdout.
pub fn completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "ingot", &mut script);
    super::say::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Writes `ingot.1`, one page per command, and `kiwi.1` into `folder`.
pub fn write(folder: &Path) -> Result<u8> {
    let mut command = CommandLine::command();
    command.build();
    let mut pages = vec![("ingot.1".to_string(), command.clone())];
    for subcommand in command.get_subcommands() {
        let name = format!("ingot-{}", subcommand.get_name());
        // clap keeps names as &'static str; a page per run of `manual` is not worth leaking for, so the page keeps
        // the command's own name and only the file is called ingot-NAME.
        pages.push((format!("{name}.1"), subcommand.clone()));
    }
    pages.push(("kiwi.1".to_string(), super::kiwi::command()));
    for (name, command) in pages {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).or_cannot(|| format!("write {name}"))?;
        file::write_atomically(&folder.join(name), &page)?;
    }
    Ok(0)
}
