//! Which parts of a description count: profiles, architecture, image type.
//!
//! In: a [`Description`] and [`Choices`]. Out: a [`Selection`] that borrows the parts that count, in their order.
//! Never merges values and never refuses what a part asks for.

use super::Choices;
use crate::description::{
    Certificates, Containers, Description, Extension, Other, Packages, Preferences, Problem, Problems, Repository,
    Type, Users, When, closest, shown,
};

/// The parts that count.
pub struct Selection<'a> {
    /// Names of the selected profiles, each followed by what it requires, in the order in which they were chosen.
    pub profiles: Vec<String>,
    /// Architecture as `uname -m` says it.
    pub arch: &'a str,
    /// `<preferences>`, in order.
    pub preferences: Vec<&'a Preferences>,
    /// Every `<type>` of them, in order.
    pub types: Vec<&'a Type>,
    /// `<users>`, in order.
    pub users: Vec<&'a Users>,
    /// `<repository>`, in order.
    pub repositories: Vec<&'a Repository>,
    /// `<packages>` of every type, in order.
    pub packages: Vec<&'a Packages>,
    /// `<certificates>`, in order.
    pub certificates: Vec<&'a Certificates>,
    /// `<containers>`, in order.
    pub containers: Vec<&'a Containers>,
    /// Sections of which nothing is honoured.
    pub others: Vec<&'a Other>,
    /// ingot's own elements.
    pub extensions: Vec<&'a Extension>,
}

impl<'a> Selection<'a> {
    /// Follows the profiles and leaves out what does not count.
    pub fn new(description: &'a Description, choices: &'a Choices) -> Result<Selection<'a>, Problems> {
        let profiles = profiles(description, choices)?;
        let counts = |when: &When| {
            let chosen = when.profiles.iter().any(|wanted| profiles.contains(&wanted.value));
            (when.profiles.is_empty() || chosen) && matches(&when.arch, &choices.arch)
        };
        let preferences: Vec<&Preferences> = description.preferences.iter().filter(|part| counts(&part.when)).collect();
        Ok(Selection {
            types: preferences.iter().flat_map(|preferences| &preferences.types).collect(),
            preferences,
            users: description.users.iter().filter(|part| counts(&part.when)).collect(),
            repositories: description.repositories.iter().filter(|part| counts(&part.when)).collect(),
            packages: description.packages.iter().filter(|part| counts(&part.when)).collect(),
            certificates: description.certificates.iter().filter(|part| counts(&part.when)).collect(),
            containers: description.containers.iter().filter(|part| counts(&part.when)).collect(),
            others: description.others.iter().filter(|part| counts(&part.when)).collect(),
            extensions: description.extensions.iter().filter(|part| counts(&part.when)).collect(),
            arch: &choices.arch,
            profiles,
        })
    }

    /// The image type that is built: the first with the wanted name, else the first with `primary="true"`, else the first.
    pub fn image_type(&self, description: &Description, wanted: Option<&str>) -> Result<&'a Type, Problems> {
        let names: Vec<&str> = self.types.iter().map(|kind| kind.image.as_str()).collect();
        for (index, kind) in self.types.iter().enumerate() {
            if let Some(first) = self.types[..index].iter().find(|first| *first.image == *kind.image) {
                return Err(Problem::invalid(format!("two types `{}` are selected at once", kind.image.value))
                    .at(&kind.image.span)
                    .label(format!("first one in line {}", first.image.span.place().line))
                    .hint("give their <preferences> different profiles, and select one of them")
                    .into());
            }
        }
        if let Some(wanted) = wanted {
            let wanted = if wanted == "vmx" { "oem" } else { wanted };
            return self.types.iter().copied().find(|kind| *kind.image == wanted).ok_or_else(|| {
                let problem = Problem::invalid(format!("no image type `{}` is selected", shown(wanted)));
                match names.as_slice() {
                    [] => self.no_type(description).into(),
                    names => problem.at(&description.span).hint(format!("there is {}", names.join(", "))).into(),
                }
            });
        }
        let primary = self.types.iter().find(|kind| kind.primary);
        primary.or(self.types.first()).copied().ok_or_else(|| self.no_type(description).into())
    }

    fn no_type(&self, description: &Description) -> Problem {
        let problem = Problem::invalid("no <type> is selected").at(&description.span);
        let with_types: Vec<String> = description
            .preferences
            .iter()
            .filter(|preferences| !preferences.types.is_empty() && matches(&preferences.when.arch, self.arch))
            .flat_map(|preferences| &preferences.when.profiles)
            .map(|profile| format!("--profile {}", profile.value))
            .collect();
        match with_types.as_slice() {
            [] => problem.hint(format!("no <preferences> for {} holds a <type>", shown(self.arch))),
            options => problem.hint(format!("choose {}", options.join(" or "))),
        }
    }

    /// Whether an element with these architectures counts.
    pub fn on_arch(&self, arch: &[String]) -> bool {
        matches(arch, self.arch)
    }
}

/// Everything that can be built: each profile alone, with each image type that it selects, and what is built where
/// nothing is chosen. Profiles that select no type are parts of others and stand for nothing alone.
pub fn combinations(description: &Description, choices: &Choices) -> Vec<Choices> {
    let alone = description.profiles.iter().filter(|profile| matches(&profile.arch, &choices.arch));
    let alone = alone.map(|profile| vec![profile.name.to_string()]);
    let mut seen: Vec<(Vec<String>, String)> = Vec::new();
    let mut combinations = Vec::new();
    for profiles in std::iter::once(Vec::new()).chain(alone) {
        let choices = Choices { profiles, ..choices.clone() };
        let Ok(selection) = Selection::new(description, &choices) else {
            combinations.push(choices);
            continue;
        };
        for kind in &selection.types {
            let combination = (selection.profiles.clone(), kind.image.to_string());
            if !seen.contains(&combination) {
                seen.push(combination);
                combinations.push(Choices { image_type: Some(kind.image.to_string()), ..choices.clone() });
            }
        }
    }
    if combinations.is_empty() {
        // Nothing can be built; planning says why.
        combinations.push(choices.clone());
    }
    combinations
}

fn matches(wanted: &[String], arch: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == arch)
}

/// The chosen profiles, else those with `import="true"` in the description's order, each followed by what it requires.
fn profiles(description: &Description, choices: &Choices) -> Result<Vec<String>, Problems> {
    let mut problems = Problems::new();
    let known: Vec<_> = description.profiles.iter().filter(|profile| matches(&profile.arch, &choices.arch)).collect();
    let mut pending: Vec<&str> = match choices.profiles.as_slice() {
        [] => known.iter().filter(|profile| profile.import).map(|profile| profile.name.as_str()).collect(),
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    // The last one is taken first.
    pending.reverse();
    let mut selected: Vec<&str> = Vec::new();
    while let Some(name) = pending.pop() {
        if selected.contains(&name) {
            continue;
        }
        let Some(profile) = known.iter().find(|profile| *profile.name == *name) else {
            let names = || known.iter().map(|profile| profile.name.as_str());
            let problem = Problem::invalid(format!("no profile is called `{}`", shown(name))).at(&description.span);
            problems.add(match (closest(name, names()), known.is_empty()) {
                (Some(close), _) => problem.hint(format!("did you mean --profile {close}?")),
                (None, true) => problem.hint("the description defines no profiles"),
                (None, false) => problem.hint(format!("known are {}", names().collect::<Vec<_>>().join(", "))),
            });
            continue;
        };
        selected.push(name);
        for (required, arch) in profile.requires.iter().rev() {
            if matches(arch, &choices.arch) {
                pending.push(required);
            }
        }
    }
    problems.or(selected.into_iter().map(str::to_string).collect())
}
