//! KIWI's command line: ingot called `kiwi`, `kiwi-ng` or `kiwi-ng-3`, by people and by build farms.
//!
//! In: argv without the program's name. Out: an exit code (ingot's own, which tell a farm what to retry), a log in KIWI's
//! form, and a last line `INGOT-RESULT: {json}`. Never does work of its own: each command is a file beside this one.

mod arguments;
mod build;
mod create;
mod farm;
mod frame;
mod info;
mod prepare;
mod repository;
mod request;
mod resize;
mod result;
mod settings;
mod update;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use arguments::{ImageCommand, KiwiLine, ResultCommand, Service, SystemCommand};

use crate::cli::say::{print, print_line, say};
use crate::description::Colour;
use crate::error::{self, Error, Exit, Result};

/// The program's names that mean this command line.
const NAMES: [&str; 3] = ["kiwi", "kiwi-ng", "kiwi-ng-3"];

/// The version of KIWI whose command line this is, for programs that ask whether KIWI is new enough.
const ANSWERS_AS: &str = "10.3.9";

/// Whether ingot was called by one of KIWI's names.
pub fn is_name(argument: &OsStr) -> bool {
    Path::new(argument).file_name().and_then(OsStr::to_str).is_some_and(|name| NAMES.contains(&name))
}

/// The command tree, for man pages and completions.
pub fn command() -> clap::Command {
    KiwiLine::command()
}

/// Carries it out; whatever goes wrong is said here, a panic, too.
pub fn run(arguments: &[OsString], colour: Colour) -> u8 {
    error::caught(|| Ok(carry_out(arguments, colour))).unwrap_or_else(|bug| frame::give_up(&bug))
}

fn carry_out(arguments: &[OsString], colour: Colour) -> u8 {
    let (line, ignored) = match parse(arguments, farm::is_worker()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            if !error.use_stderr() {
                return 0;
            }
            let code = Exit::Usage.code();
            let said = error.to_string();
            let what = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
            frame::last_line(
                &serde_json::json!({"exit": code, "error": {"what": what, "cause": [], "hint": "kiwi --help"}}),
            );
            return code;
        }
    };
    let globals = &line.globals;
    if globals.version {
        // Programs take the last word of standard output as a version: nothing may follow it.
        let printed = print_line(format_args!("KIWI (next generation) version {ANSWERS_AS}"));
        say(concat!("ingot ", env!("CARGO_PKG_VERSION"), " answers in KIWI's place"));
        return printed.map_or_else(|error| frame::give_up(&error), |()| 0);
    }
    if globals.show_completion {
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut command(), "kiwi", &mut script);
        let printed = print(&String::from_utf8_lossy(&script));
        return printed.map_or_else(|error| frame::give_up(&error), |()| 0);
    }
    let mut frame = match frame::Frame::open(globals, colour) {
        Ok(frame) => frame,
        Err(error) => return frame::give_up(&error),
    };
    for option in ignored {
        frame.warn(format!("the option {option} is unknown and ignored"));
    }
    let done = check(&line).and_then(|()| dispatch(line.service, &mut frame));
    done.unwrap_or_else(|error| frame.failed(&error))
}

fn dispatch(service: Option<Service>, frame: &mut frame::Frame) -> Result<u8> {
    let refused = |what: &str, why: &str| Err(Error::cannot(Exit::Usage, format!("do {what}")).because(why));
    match service {
        None => Err(Error::cannot(Exit::Usage, "do nothing").because("no command is given").hint("kiwi --help")),
        Some(Service::System(command)) => match command {
            SystemCommand::Build(arguments) => build::run(&arguments, frame),
            SystemCommand::Prepare(arguments) => prepare::run(&arguments, frame),
            SystemCommand::Create(arguments) => create::run(&arguments, frame),
            SystemCommand::Update(arguments) => update::run(&arguments, frame),
            SystemCommand::Boxbuild(_) => refused(
                "system boxbuild",
                "no virtual machine is started for a build: its sandbox keeps scripts away from the host",
            ),
            SystemCommand::Stash(_) => refused("system stash", "trees are not kept in containers"),
            SystemCommand::Stackbuild(_) => refused("system stackbuild", "trees are not kept in containers"),
        },
        Some(Service::Result(ResultCommand::List { target_dir })) => result::list(&target_dir, frame),
        Some(Service::Result(ResultCommand::Bundle(arguments))) => result::bundle(&arguments, frame),
        Some(Service::Image(ImageCommand::Info(arguments))) => info::run(&arguments, frame),
        Some(Service::Image(ImageCommand::Resize(arguments))) => resize::run(&arguments, frame),
    }
}

/// Options that are accepted by name and refused by name.
fn check(line: &KiwiLine) -> Result<()> {
    let refused = |option: &str, why: &str| Err(Error::cannot(Exit::Usage, format!("use {option}")).because(why));
    if line.globals.debug_run_scripts_in_screen {
        let why = "scripts run in a sandbox without a terminal; `set -x` shows in the log what they do";
        return refused("--debug-run-scripts-in-screen", why);
    }
    if line.globals.install_completion {
        return refused("--install-completion", "packages of ingot bring the completions");
    }
    Ok(())
}

/// Parses; with `is_worker`, what nobody knows is left out and returned.
fn parse(arguments: &[OsString], is_worker: bool) -> std::result::Result<(KiwiLine, Vec<String>), clap::Error> {
    let mut words: Vec<OsString> = std::iter::once("kiwi".into()).chain(arguments.iter().cloned()).collect();
    // KIWI's `kiwi system build help`.
    if words.len() > 1 && words.last().is_some_and(|word| word == "help") {
        words.pop();
        words.push("--help".into());
    }
    let mut ignored = Vec::new();
    loop {
        let error = match KiwiLine::try_parse_from(&words) {
            Ok(line) => return Ok((line, ignored)),
            Err(error) => error,
        };
        let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(unknown))) if is_worker => unknown.clone(),
            _ => return Err(error),
        };
        let is_it = |word: &OsString| {
            let text = word.to_string_lossy();
            text == unknown || text.split_once('=').is_some_and(|(name, _)| name == unknown)
        };
        let Some(at) = words.iter().rposition(is_it) else { return Err(error) };
        ignored.push(words.remove(at).to_string_lossy().into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_farms_calls_are_understood() {
        for line in [
            "--debug --profile Disk --target-arch x86_64 system build --allow-existing-root --description /s \
             --target-dir /t --ignore-repos-used-for-build --add-repo dir:///./repos/P/R,rpm-md,,1 --add-repo=x,,,2 \
             --set-container-tag 1 --add-container-label a=b --set-type-attr volid=x --signing-key /k",
            "result bundle --target-dir /t --id Disk-Build1.1 --bundle-dir //b/",
            "--type vmx --kiwi-file x.kiwi --setenv A=B system prepare --description d --root r",
            "image info --description d --print-kiwi-env --list-profiles",
            "system boxbuild --box leap -- --description d",
        ] {
            assert!(parse(&words(line), false).is_ok(), "{line}: {}", parse(&words(line), false).unwrap_err());
        }
    }

    #[test]
    fn what_nobody_knows_is_left_out_on_a_farms_worker_only() {
        let line = "--new-thing system build --description d --target-dir t --other=3 --third 4";
        assert!(parse(&words(line), false).is_err());
        let (parsed, ignored) = parse(&words(line), true).unwrap();
        assert_eq!(ignored, ["--new-thing", "--other=3", "--third", "4"]);
        assert!(matches!(parsed.service, Some(Service::System(SystemCommand::Build(_)))));
        // What is missing stays an error.
        assert!(parse(&words("system build --target-dir t"), true).is_err());
    }

    #[test]
    fn three_names_mean_kiwi() {
        for (name, meant) in [("/usr/bin/kiwi", true), ("kiwi-ng-3", true), ("ingot", false), ("kiwi-settings", false)]
        {
            assert_eq!(is_name(OsStr::new(name)), meant);
        }
    }
}
