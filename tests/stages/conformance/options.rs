//! Every option of KIWI's command line is known, and docs/switching.md tells which ones are refused or ignored.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value as Json, json};

use super::{ask, python};

/// Our command tree at this path, and whether a command above it is refused whole.
fn find<'a>(root: &'a clap::Command, path: &[String]) -> (&'a clap::Command, bool) {
    let mut command = root;
    for name in path {
        if is_refused(command) {
            return (command, true);
        }
        command = command.find_subcommand(name).unwrap_or_else(|| panic!("kiwi {} is unknown", path.join(" ")));
    }
    (command, is_refused(command))
}

fn is_refused(command: &clap::Command) -> bool {
    command.get_about().is_some_and(|about| about.to_string().starts_with("Refused"))
}

fn takes_a_value(argument: &clap::Arg) -> bool {
    argument.get_action().takes_values()
}

#[test]
fn no_option_of_kiwis_is_unknown() {
    let Some(python) = python() else { return };
    let known = ingot::cli::kiwi::command();
    let answers = ask(&python, "options", &json!([]));
    let mut seen = 0;
    for answer in &answers {
        let path: Vec<String> = serde_json::from_value(answer["command"].clone()).unwrap();
        let (command, refused) = find(&known, &path);
        if refused {
            continue;
        }
        for (option, value) in answer["options"].as_object().unwrap() {
            let long = option.trim_start_matches("--");
            if long == "help" {
                continue;
            }
            let found = command.get_arguments().find(|argument| argument.get_long() == Some(long));
            let found = found.unwrap_or_else(|| panic!("kiwi {} {option} is unknown", path.join(" ")));
            assert_eq!(Json::Bool(takes_a_value(found)), *value, "kiwi {} {option} takes a value", path.join(" "));
            seen += 1;
        }
    }
    assert!(answers.len() > 12 && seen > 80, "{} commands, {seen} options: KIWI's help is read wrongly", answers.len());
}

/// Every command and option that says of itself that it is not honoured: `system stash`, `system create --signing-key`.
fn not_honoured(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
    for argument in command.get_arguments() {
        let about = argument.get_help().map(|help| help.to_string()).unwrap_or_default();
        if let (true, Some(long)) = (about.starts_with("Refused") || about.starts_with("Ignored"), argument.get_long())
        {
            found.insert(format!("{path} --{long}").trim().to_string());
        }
    }
    for inner in command.get_subcommands() {
        let path = format!("{path} {}", inner.get_name()).trim().to_string();
        match is_refused(inner) {
            true => drop(found.insert(path)),
            false => not_honoured(inner, &path, found),
        }
    }
}

#[test]
fn what_is_not_honoured_of_the_command_line_is_in_the_guide() {
    let guide = fs::read_to_string("docs/switching.md").unwrap();
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `kiwi ")?.split_once('`')).map(|(name, _)| name);
    let rows: BTreeSet<String> = rows.map(str::to_string).collect();
    let mut found = BTreeSet::new();
    not_honoured(&ingot::cli::kiwi::command(), "", &mut found);
    assert_eq!(rows, found);
}
