//! A description and the user's choices to a [`Plan`].
//!
//! In: a [`Description`] and [`Choices`]. Out: a [`Plan`], or everything that stands in its way at once.
//! Never does I/O.

use super::package_database::package_database;
use super::selection::Selection;
use super::{
    Choices, Epoch, Image, Manager, Output, Plan, ScriptPhase, ScrubPlan, ScrubPreset, Seed, UpdateStack, Warning,
    conflict, container, disk, format, request, rootfs, sources, target, variables,
};
use crate::description::{Description, Problem, Problems, Spanned, Type, shown};

/// Decides everything.
pub fn make(description: &Description, choices: &Choices) -> Result<Plan, Problems> {
    let mut problems = Problems::new();
    let mut warnings = Vec::new();
    let selection = Selection::new(description, choices)?;
    let kind = selection.image_type(description, choices.image_type.as_deref())?;
    let manager = request::manager(description, &selection, &mut problems);
    conflict::check(description, &selection, kind, &manager, &mut problems, &mut warnings);

    let image = image(description, &selection, &mut problems);
    let seed = Seed::new(&image.name, &image.version, choices.source_date_epoch);
    // What another package manager would make of its repositories is not for us to judge.
    let repositories = match Manager::find(&manager) {
        Some(known) => {
            sources::repositories(&selection, known, &description.beside.folder, &mut problems, &mut warnings)
        }
        None => Vec::new(),
    };
    let update_stack = request::update_stack(&selection, kind, &manager, choices);
    let packages = request::packages(&selection, kind, update_stack, &manager, &mut problems, &mut warnings);
    let database = package_database(&selection, choices, update_stack, &manager, &mut problems);
    let asked = !packages.bootstrap.is_empty() || !packages.image.is_empty() || packages.has_groups();
    if asked && !selection.repositories.iter().any(|repository| repository.when_building()) {
        problems.add(Problem::invalid("packages are asked for, and no <repository> is selected").at(&description.span));
    }
    let output = match kind.image.as_str() {
        "oem" => {
            if let Some(from) = kind.get("derived_from") {
                let title = format!("derived_from=\"{}\" on a disk", shown(from));
                let label = "a disk is the only thing in its container";
                problems.add(Problem::refused(title).at(&from.span).label(label));
            }
            let mut disk = disk::plan(kind, &image, &seed, choices, &mut problems, &mut warnings);
            if let Some(archive) = kind.get("format").and_then(|format| format::in_container(format).0) {
                let folder = &description.beside.folder;
                disk.container = Some(Box::new(container::around_disk(
                    archive,
                    container::plan(kind, &image, &selection, folder, choices, &mut problems, &mut warnings),
                )));
            }
            Some(Output::Disk(Box::new(disk)))
        }
        "docker" | "oci" => {
            let folder = &description.beside.folder;
            let container = container::plan(kind, &image, &selection, folder, choices, &mut problems, &mut warnings);
            Some(Output::Container(Box::new(container)))
        }
        "tbz" => Some(Output::RootTarball),
        // Refused by name in `conflict`.
        _ => None,
    };
    if *kind.image != "oem" {
        format::warn_of_elements(kind, None, &mut warnings);
    }
    let mut root = rootfs::plan(description, &selection, kind, choices, &mut problems, &mut warnings);
    warnings.extend(rootfs::hooks_without_meaning(description));
    root.variables = variables::variables(description, &selection, kind);
    let scrub = scrub(&selection, &output, choices);
    check_essential(&selection, update_stack, &mut problems);
    let epoch = match choices.source_date_epoch {
        Some(seconds) => Epoch::Fixed(seconds),
        None => Epoch::NewestRelease,
    };
    let Some(mut output) = output else {
        // There is no output only where the reason was added.
        return Err(problems.or(()).err().unwrap_or_default());
    };
    let targets = target::targets(&selection, kind, &output, choices, &mut warnings);
    if let Output::Disk(disk) = &mut output {
        let edit = root.scripts.iter_mut().filter(|script| script.phase == ScriptPhase::EditBootConfig);
        edit.for_each(|script| script.arguments = disk.boot_arguments());
        let units = targets.iter().map(|planned| planned.target.size_unit());
        disk.unit = units.chain([disk.unit]).max().unwrap_or(disk.unit);
    }
    sort(&mut warnings);
    problems.or(Plan {
        profiles: selection.profiles.clone(),
        description_dir: description.beside.folder.clone(),
        description_file: description.source.path().to_path_buf(),
        included: description.included.clone(),
        image,
        epoch,
        seed,
        repositories,
        packages,
        update_stack,
        package_database: database,
        root,
        scrub,
        output,
        targets,
        warnings,
    })
}

fn sort(warnings: &mut Vec<Warning>) {
    warnings.sort_by(|a, b| (&a.place, &a.text).cmp(&(&b.place, &b.text)));
    warnings.dedup();
}

fn image(description: &Description, selection: &Selection<'_>, problems: &mut Problems) -> Image {
    let version = selection.preferences.iter().find_map(|preferences| preferences.version.as_ref());
    let version = match version {
        None => {
            problems.add(Problem::invalid("no selected <preferences> holds a <version>").at(&description.span));
            String::new()
        }
        Some(version) => checked_version(version, problems),
    };
    if let Some(title) = description.display_name.as_ref().filter(|title| title.contains(char::is_control)) {
        let title = format!("`{}` is not a title", shown(title));
        problems.add(Problem::invalid(title).at(&description.span).label("no control characters"));
    }
    Image {
        name: description.name.to_string(),
        display_name: description.display_name.clone().unwrap_or_else(|| description.name.to_string()),
        version,
        arch: if matches!(selection.arch, "i586" | "i686") { "ix86".to_string() } else { selection.arch.to_string() },
        id: description.id.clone(),
        author: description.author.clone(),
        contact: description.contact.clone(),
        specification: description.specification.clone(),
    }
}

/// The version is a part of file names.
fn checked_version(version: &Spanned<String>, problems: &mut Problems) -> String {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_' | '+' | '~');
    if version.is_empty() || !version.chars().all(fits) || version.len() > 64 {
        let title = format!("`{}` is not a version", shown(version));
        problems.add(Problem::invalid(title).at(&version.span).label("three numbers are usual: 1.0.0"));
    }
    version.to_string()
}

fn scrub(selection: &Selection<'_>, output: &Option<Output>, choices: &Choices) -> ScrubPlan {
    let mut plan = ScrubPlan {
        preset: match output {
            Some(Output::Container(_)) => ScrubPreset::Container,
            _ => ScrubPreset::Vm,
        },
        except: choices.scrub_except.clone(),
    };
    for extension in selection.extensions.iter().filter(|extension| extension.name == "scrub") {
        match extension.attributes.get("preset").map(|preset| preset.as_str()) {
            Some("vm") => plan.preset = ScrubPreset::Vm,
            Some("container") => plan.preset = ScrubPreset::Container,
            Some("none") => plan.preset = ScrubPreset::None,
            _ => {}
        }
        if let Some(except) = extension.attributes.get("except") {
            let names = except.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_string);
            plan.except.extend(names);
        }
    }
    plan.except.sort();
    plan.except.dedup();
    plan
}

fn check_essential(selection: &Selection<'_>, update_stack: UpdateStack, problems: &mut Problems) {
    let wanted = selection.extensions.iter().rfind(|extension| extension.name == "packages");
    if let (Some(extension), UpdateStack::Kept) = (wanted, update_stack)
        && let Some(essential) = extension.attributes.get("essential")
        && **essential == "only-needed"
    {
        problems.add(
            Problem::invalid("essential=\"only-needed\" needs an image without update stack")
                .at(&essential.span)
                .hint("dpkg expects essential packages: add <ingot:update-stack mode=\"none\"/>"),
        );
    }
}

/// The first character of a file's or user's text that cannot be a part of a line in /etc.
pub(super) fn breaks_a_line(text: &str) -> bool {
    text.contains([':', '\n', '\0']) || text.chars().any(char::is_control)
}

/// The types that may hold the disk's attributes.
pub(super) fn is_disk(kind: &Type) -> bool {
    *kind.image == "oem"
}
