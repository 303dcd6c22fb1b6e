//! `ingot check`: every problem of a description at once, and what can be built from it.
//!
//! In: a description and choices. Out: text on stderr and an exit code. Never touches anything.

use std::fmt::Write;
use std::path::Path;

use super::CheckArguments;
use super::plan::{decide, warning_line, what};
use super::say::say;
use crate::description::{self, Colour, Description, Kind, Problems};
use crate::error::{Result, Warning};
use crate::plan::overrides::{DescribedRepositories, Overrides, RepositoryWords, UnsignedLocal};
use crate::plan::{Choices, selection};

/// Who builds what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// This host.
    Here,
    /// A worker of the Open Build Service: it brings the repositories.
    Farm,
}

/// What the check found.
pub struct Verdict {
    /// For stderr; one newline at the end.
    pub text: String,
    /// 0, 65 or 66.
    pub exit: u8,
}

/// Checks and prints.
pub fn run(arguments: &CheckArguments, colour: Colour) -> Result<u8> {
    let builder = if arguments.farm { Builder::Farm } else { Builder::Here };
    let verdict = check(&arguments.selection.description, &arguments.selection.choices(), builder, colour);
    if !verdict.text.is_empty() {
        say(verdict.text.trim_end_matches('\n'));
    }
    // What cannot be loaded was told above.
    if let Ok(description) = description::load(&arguments.selection.description) {
        if arguments.farm {
            let mut told = Vec::new();
            for choices in arguments.selection.choices() {
                for warning in super::farm_lint::lint(&description, &choices) {
                    let line = warning_line(&warning).replacen("warning: ", "farm: ", 1);
                    if !told.contains(&line) {
                        say(&line);
                        told.push(line);
                    }
                }
            }
        }
        if arguments.differences {
            super::differences::of(&description).iter().for_each(|line| say(&format!("differs: {line}")));
        }
    }
    Ok(verdict.exit)
}

/// Loads the description and plans what was chosen; where nothing was chosen, every profile and image type.
pub fn check(path: &Path, choices: &[Choices], builder: Builder, colour: Colour) -> Verdict {
    let description = match description::load(path) {
        Ok(description) => description,
        Err(problems) => {
            return Verdict { text: problems.render(colour) + "\n", exit: problems.exit().code() };
        }
    };
    let is_chosen = |choices: &Choices| !choices.profiles.is_empty() || choices.image_type.is_some();
    let combinations = match choices {
        [open] if !is_chosen(open) => selection::combinations(&description, open),
        chosen => chosen.to_vec(),
    };
    let mut found = Found::default();
    for choices in &combinations {
        match builder {
            Builder::Here => found.plan(&description, choices),
            Builder::Farm => match on_a_worker().apply(description.clone(), choices) {
                Ok(description) => found.plan(&description, choices),
                Err(problems) => found.problems.extend(problems),
            },
        }
    }
    found.verdict(&description, colour)
}

/// What the farm's build script says on the command line, whatever it found out about the repositories.
fn on_a_worker() -> Overrides {
    let repositories = RepositoryWords {
        written: "--add-repo dir:///usr/src/packages/SOURCES/repos".to_string(),
        source: "dir:///usr/src/packages/SOURCES/repos".to_string(),
        kind: Some("rpm-md".to_string()),
        ..RepositoryWords::default()
    };
    Overrides {
        repositories: DescribedRepositories::NotForTheBuild,
        add_repositories: vec![repositories],
        unsigned_local: UnsignedLocal::Accepted,
        ..Overrides::default()
    }
}

#[derive(Default)]
struct Found {
    problems: Problems,
    warnings: Vec<Warning>,
    lines: Vec<String>,
}

impl Found {
    fn plan(&mut self, description: &Description, choices: &Choices) {
        match decide(description, choices) {
            Ok(plan) => {
                self.lines.push(format!("{:<9}{}", "ok", what(&plan)));
                self.warnings.extend(plan.warnings);
            }
            Err(problems) => {
                let refused = problems.iter().all(|problem| problem.kind == Kind::Refused);
                let mut line = format!("{:<9}", if refused { "refused" } else { "invalid" });
                let _ = match &choices.image_type {
                    Some(kind) => write!(line, "{kind}, {}", choices.arch),
                    None => write!(line, "{}", choices.arch),
                };
                match choices.profiles.as_slice() {
                    [] => {}
                    [one] => drop(write!(line, ", profile {one}")),
                    several => drop(write!(line, ", profiles {}", several.join(", "))),
                }
                let _ = match problems.iter().count() {
                    1 => write!(line, ": 1 problem"),
                    number => write!(line, ": {number} problems"),
                };
                self.lines.push(line);
                self.problems.extend(problems);
            }
        }
    }

    fn verdict(mut self, description: &Description, colour: Colour) -> Verdict {
        let mut text = String::new();
        self.warnings.sort_by(|a, b| (&a.place, &a.text).cmp(&(&b.place, &b.text)));
        self.warnings.dedup();
        for warning in &self.warnings {
            let _ = writeln!(text, "{}", warning_line(warning));
        }
        if !self.warnings.is_empty() {
            text.push('\n');
        }
        let found = self.problems.or(());
        if let Err(problems) = &found {
            let _ = writeln!(text, "{}\n", problems.render(colour));
        }
        let _ = writeln!(text, "{}", description.source.path().display());
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        Verdict { text, exit: found.err().map_or(0, |problems| problems.exit().code()) }
    }
}
