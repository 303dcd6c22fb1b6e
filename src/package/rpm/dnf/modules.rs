//! `<collectionModule>`: streams of modules that are enabled, and modules that are disabled.
//!
//! In: the description's modules. Out: dnf's own state in the folder's root, made by commands of dnf itself, which know
//! a stream that does not exist; the same state, in the image's dnf's form, for an image that keeps it. Never guesses which
//! stream is the default one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Command, Dnf, Generation};
use crate::error::Result;
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::package::rpm::Rpm;
use crate::plan::{Manager, Named};

/// Where dnf4 and microdnf keep a file for each module, and dnf5 one for all.
const FILES_OF_FOUR: &str = "/etc/dnf/modules.d";
const FILE_OF_FIVE: &str = "/usr/lib/sysimage/libdnf5/modules.toml";

/// What dnf noted about a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::package::rpm) struct State {
    name: String,
    /// Empty where it is disabled.
    stream: String,
    enabled: bool,
}

impl Dnf<'_> {
    /// Enable and disable; nothing where the description has no modules.
    pub(super) fn module_commands(&self) -> Vec<Command<'_>> {
        let mut commands = Vec::new();
        for (verb, enabled) in [("enable", true), ("disable", false)] {
            let chosen = self.rpm.request.modules.iter().filter(|module| module.enabled == enabled);
            let arguments: Vec<(String, &Named)> = chosen.map(|module| (module.spelled(), &module.named)).collect();
            if arguments.is_empty() {
                continue;
            }
            let mut words = vec!["module".to_string(), verb.to_string(), "--".to_string()];
            words.extend(arguments.iter().map(|(argument, _)| argument.clone()));
            commands.push(Command { what: format!("{verb} the modules"), words, arguments });
        }
        commands
    }

    /// dnf's state for [`write`], with the streams that are enabled beside it.
    pub(super) fn module_states(&self, beside: &BTreeMap<String, String>) -> Result<Vec<State>> {
        let mut states = self.states()?;
        for (name, stream) in beside {
            states.retain(|state| state.name != *name);
            states.push(State { name: name.clone(), stream: stream.clone(), enabled: true });
        }
        states.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(states)
    }

    fn states(&self) -> Result<Vec<State>> {
        let root = &self.folder.root;
        let mut text = String::new();
        match self.generation {
            Generation::Five => {
                let path = root.join(FILE_OF_FIVE.trim_start_matches('/'));
                if file::is_file(&path) {
                    text = file::read_text(&path)?;
                }
            }
            Generation::Four => {
                let folder = root.join(FILES_OF_FOUR.trim_start_matches('/'));
                if file::is_folder(&folder) {
                    for name in file::names(&folder)? {
                        text.push_str(&file::read_text(&folder.join(name))?);
                        text.push('\n');
                    }
                }
            }
        }
        Ok(parse(&text))
    }
}

/// Tells the image's own dnf, so that an update stays within the stream. Nothing where no module was chosen.
pub(in crate::package::rpm) fn write(rpm: &Rpm, tree: &Rooted) -> Result<()> {
    if rpm.modules.is_empty() {
        return Ok(());
    }
    if rpm.manager == Manager::Dnf5 {
        return tree.write(&FILE_OF_FIVE.into(), of_five(&rpm.modules), 0o644);
    }
    for state in &rpm.modules {
        let path = RootPath::from(FILES_OF_FOUR).join(format!("{}.module", state.name));
        tree.write(&path, of_four(state), 0o644)?;
    }
    Ok(())
}

/// Sections of an INI file (dnf4) or a TOML file (dnf5): `[NAME]`, `[modules.NAME]`.
fn parse(text: &str) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = section.strip_prefix("modules.").unwrap_or(section).trim_matches('"');
            states.push(State { name: name.to_string(), stream: String::new(), enabled: false });
        } else if let (Some((key, value)), Some(state)) = (line.split_once('='), states.last_mut()) {
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "stream" | "enabled_stream" => state.stream = value.to_string(),
                "state" => state.enabled = value.eq_ignore_ascii_case("enabled"),
                _ => {}
            }
        }
    }
    // The table around the modules of dnf5.
    states.retain(|state| state.name != "modules");
    states
}

fn of_four(state: &State) -> String {
    let word = if state.enabled { "enabled" } else { "disabled" };
    let State { name, stream, .. } = state;
    format!("[{name}]\nname={name}\nstream={stream}\nprofiles=\nstate={word}\n")
}

fn of_five(states: &[State]) -> String {
    let mut text = "version = \"1.0\"\n\n[modules]\n".to_string();
    for State { name, stream, enabled } in states {
        let word = if *enabled { "Enabled" } else { "Disabled" };
        text.push_str(&format!(
            "[modules.\"{name}\"]\nenabled_stream = \"{stream}\"\ninstalled_profiles = []\nstate = \"{word}\"\n\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_state_of_modules_say_the_same() {
        let states = [
            State { name: "a.b".into(), stream: "2".into(), enabled: true },
            State { name: "c".into(), stream: String::new(), enabled: false },
        ];
        assert_eq!(parse(&of_five(&states)), states);
        assert_eq!(parse(&states.iter().map(of_four).collect::<String>()), states);
        let written = "version = \"1.0\"\n[modules]\n[modules.c]\nenabled_stream = \"\"\nstate = \"Disabled\"\n";
        assert_eq!(parse(written), states[1..]);
    }
}
