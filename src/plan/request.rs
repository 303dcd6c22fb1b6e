//! Which packages: lists merged, sorted, and the package manager's own package by KIWI's rule.
//!
//! In: a [`Selection`]. Out: a [`PackageRequest`] and whether the image keeps an update stack. Never resolves a name.

use serde::Serialize;

use super::selection::Selection;
use super::{
    Choices, Essential, Groups, Manager, Module, Named, PackageRequest, Recommends, RpmOptions, UpdateStack, Warning,
    conflict,
};
use crate::description::{Description, Name, Packages, Preferences, Problem, Problems, Spanned, Type, shown, truth};

/// KIWI's convention: packages in the bootstrap list and none for the image mean an image without package manager,
/// unless the list names it. The description's own words win over that, and the command line over both.
pub fn update_stack(selection: &Selection<'_>, kind: &Type, manager: &str, choices: &Choices) -> UpdateStack {
    if let Some(choice) = choices.update_stack {
        return choice;
    }
    let own = selection.extensions.iter().rfind(|extension| extension.name == "update-stack");
    match own.and_then(|extension| extension.attributes.get("mode")).map(|mode| mode.as_str()) {
        Some("none") => return UpdateStack::None,
        Some(_) => return UpdateStack::Kept,
        None => {}
    }
    let bootstrap = names(selection, |section| section == "bootstrap", |section| &section.packages);
    let image = names(selection, |section| in_image(section, kind), |section| &section.packages);
    let named = bootstrap.iter().any(|package| package.name == package_of(manager));
    if !bootstrap.is_empty() && image.is_empty() && !named { UpdateStack::None } else { UpdateStack::Kept }
}

/// The names that the description itself asks for, sorted, each once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lists {
    /// `<packages type="bootstrap">`, and the package manager's own package where the image's list has packages too.
    pub bootstrap: Vec<Named>,
    /// `<packages type="image">` and those of the image's type.
    pub image: Vec<Named>,
    /// `<ignore>` of all of them.
    pub ignore: Vec<Named>,
    /// `--delete-package`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Named>,
    /// `<packages type="uninstall">`.
    pub uninstall: Vec<Named>,
    /// `<packages type="delete">`.
    pub delete: Vec<Named>,
}

/// Merges the lists that count, by KIWI's rules.
pub fn lists(selection: &Selection<'_>, kind: &Type, manager: &Spanned<String>) -> Lists {
    let list = |wanted: &str| names(selection, |section| section == wanted, |section| &section.packages);
    let image = names(selection, |section| in_image(section, kind), |section| &section.packages);
    let mut bootstrap = list("bootstrap");
    let package = package_of(manager);
    if !bootstrap.is_empty() && !image.is_empty() && !bootstrap.iter().any(|named| named.name == package) {
        bootstrap.push(Named { name: package.to_string(), place: manager.span.place() });
        bootstrap.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let in_any = |section: &str| section == "bootstrap" || in_image(section, kind);
    let ignore = names(selection, in_any, |section| &section.ignore);
    let withdrawn = list(conflict::WITHDRAWN);
    Lists { bootstrap, image, ignore, withdrawn, uninstall: list("uninstall"), delete: list("delete") }
}

/// The package that a package manager is in.
fn package_of(manager: &str) -> &str {
    match manager {
        "dnf4" => "dnf",
        "apk" => "apk-tools",
        other => other,
    }
}

fn in_image(section: &str, kind: &Type) -> bool {
    section == "image" || section == *kind.image
}

/// Merges the lists that count.
pub fn packages(
    selection: &Selection<'_>,
    kind: &Type,
    update_stack: UpdateStack,
    manager: &Spanned<String>,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> PackageRequest {
    let counts = |section: &&&Packages| conflict::counts(&section.kind, &kind.image);
    for name in selection.packages.iter().filter(counts).flat_map(|section| &section.packages) {
        check_name(selection, name, problems);
    }
    let known = Manager::find(manager).unwrap_or(Manager::Apt);
    let Lists { mut bootstrap, mut image, ignore, withdrawn, uninstall, delete } = lists(selection, kind, manager);
    let own = package_of(manager);
    let groups = |counts: &dyn Fn(&str) -> bool| Groups {
        collections: names(selection, counts, |section| &section.collections),
        products: names(selection, counts, |section| &section.products),
    };
    let bootstrap_groups = groups(&|section| section == "bootstrap");
    let image_groups = groups(&|section| in_image(section, kind));
    check_groups(selection, kind, known, problems);
    match update_stack {
        UpdateStack::None => {
            let mut leave_out = |packages: &mut Vec<Named>| {
                packages.retain(|package| {
                    let stays = package.name != own;
                    if !stays {
                        warnings.push(Warning {
                            text: format!("package `{own}` is left out: the image has no update stack"),
                            place: Some(package.place.clone()),
                        });
                    }
                    stays
                });
            };
            leave_out(&mut bootstrap);
            leave_out(&mut image);
        }
        // What is built on another container has the package manager of that one.
        UpdateStack::Kept if kind.get("derived_from").is_some() => {}
        // KIWI's apt bootstrap installs it in any case.
        UpdateStack::Kept => {
            if !bootstrap.iter().any(|package| package.name == own) {
                bootstrap.push(Named { name: own.to_string(), place: manager.span.place() });
                bootstrap.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }
    PackageRequest {
        manager: known,
        bootstrap_groups,
        image_groups,
        modules: modules(selection, kind),
        rpm: rpm_options(selection, known, warnings),
        ignore,
        withdrawn,
        uninstall,
        delete,
        recommends: recommends(selection, kind, known, warnings),
        essential: essential(selection),
        bootstrap,
        image,
    }
}

/// Whether the manager has such groups of packages at all.
fn check_groups(selection: &Selection<'_>, kind: &Type, manager: Manager, problems: &mut Problems) {
    let collections = match manager {
        Manager::Apt => Some("apt has no collections: name a meta package or a task's packages"),
        _ => None,
    };
    let products = match manager {
        Manager::Apt => Some("apt has no products"),
        Manager::Pacman => Some("pacman has no products"),
        Manager::Zypper => None,
        _ => Some("dnf has no products"),
    };
    let modules = match manager {
        Manager::Apt => Some("apt has no modules"),
        Manager::Pacman => Some("pacman has no modules"),
        Manager::Zypper => Some("zypper has no modules"),
        _ => None,
    };
    for section in selection.packages.iter().filter(|section| conflict::counts(&section.kind, &kind.image)) {
        let of_products = section.products.iter().map(|name| (name, "product", products));
        let of_modules = section.modules.iter().map(|module| (&module.name, "collectionModule", modules));
        let of_collections = section.collections.iter().map(|name| (name, "namedCollection", collections));
        let all = of_collections.chain(of_products).chain(of_modules);
        for (name, element, without) in all.filter(|(name, ..)| selection.on_arch(&name.arch)) {
            if let Some(label) = without {
                let title = format!("<{element} name=\"{}\">", shown(&name.name));
                problems.add(Problem::refused(title).at(&name.name.span).label(label));
            }
            if name.name.starts_with('-') || name.name.contains(char::is_control) {
                let title = format!("`{}` is not the name of a collection", shown(&name.name));
                problems.add(Problem::invalid(title).at(&name.name.span));
            }
        }
    }
}

/// Modules; the last word about one counts.
fn modules(selection: &Selection<'_>, kind: &Type) -> Vec<Module> {
    let mut found: Vec<Module> = Vec::new();
    let sections = selection.packages.iter().filter(|section| conflict::counts(&section.kind, &kind.image));
    for written in sections.flat_map(|section| &section.modules) {
        if !selection.on_arch(&written.name.arch) {
            continue;
        }
        let name = &written.name.name;
        found.retain(|module| module.named.name != name.value);
        found.push(Module {
            named: Named { name: name.value.clone(), place: name.span.place() },
            stream: written.stream.clone(),
            enabled: written.enabled,
        });
    }
    found
}

/// What rpm is told; with apt it is ignored by name.
fn rpm_options(selection: &Selection<'_>, manager: Manager, warnings: &mut Vec<Warning>) -> RpmOptions {
    let mut found = Vec::new();
    let mut first =
        |element: &'static str, reason: &'static str, of: &dyn Fn(&Preferences) -> Option<Spanned<String>>| {
            let text = selection.preferences.iter().find_map(|preferences| of(preferences));
            found.extend(text.clone().map(|text| (element, reason, text)));
            text
        };
    let (rpm_only, no_release) = match manager {
        Manager::Pacman => (
            "it is about rpm, and pacman installs the packages",
            "pacman has no release version: name it in the repository's address",
        ),
        _ => ("it is about rpm, and apt installs the packages", "apt has no release version: name the suite"),
    };
    let release = first("release-version", no_release, &|one| one.release_version.clone());
    // What is verified is asked of each repository.
    if manager != Manager::Pacman {
        first("rpm-check-signatures", rpm_only, &|one| one.check_signatures.clone());
    }
    let documentation = first("rpm-excludedocs", "documentation is installed: remove it in config.sh", &|one| {
        one.exclude_documentation.clone()
    });
    let filter = first("rpm-locale-filtering", rpm_only, &|one| one.filter_languages.clone());
    if !manager.is_rpm() {
        for (element, reason, text) in
            found.into_iter().filter(|(_, _, text)| text.value != "false" && text.value != "0")
        {
            let what = format!("<{element}>{}</{element}> is ignored: {reason}", shown(&text));
            warnings.push(Warning { text: what, place: Some(text.span.place()) });
        }
        return RpmOptions::default();
    }
    let says_yes = |text: &Option<Spanned<String>>| text.as_ref().is_some_and(|text| truth(text));
    let locale = selection.preferences.iter().rev().find_map(|preferences| preferences.locale.clone());
    let languages = locale.map(|locale| locale.split(',').map(|one| one.trim().to_string()).collect());
    if let (Some(text), None) = (filter.as_ref().filter(|text| truth(text)), &languages) {
        let what =
            "<rpm-locale-filtering>true</rpm-locale-filtering> is ignored: no <locale> says which languages stay";
        warnings.push(Warning { text: what.into(), place: Some(text.span.place()) });
    }
    RpmOptions {
        release_version: release.map(|text| text.value).filter(|text| !text.is_empty()),
        exclude_documentation: says_yes(&documentation),
        languages: if says_yes(&filter) { languages } else { None },
    }
}

/// A name must not be an option of apt, and not two names.
fn check_name(selection: &Selection<'_>, name: &Name, problems: &mut Problems) {
    let odd = |char: char| char.is_whitespace() || char.is_control();
    if selection.on_arch(&name.arch) && (name.name.starts_with('-') || name.name.contains(odd)) {
        let title = format!("`{}` is not the name of a package", shown(&name.name));
        problems.add(Problem::invalid(title).at(&name.name.span));
    }
}

/// `<packagemanager>`: the first one counts, and dnf4 where there is none.
pub fn wanted_manager(description: &Description, selection: &Selection<'_>) -> Spanned<String> {
    let found = selection.preferences.iter().find_map(|preferences| preferences.manager.clone());
    found.unwrap_or_else(|| Spanned { value: "dnf4".to_string(), span: description.span.clone() })
}

/// The package manager; those that are not driven are refused.
pub fn manager(description: &Description, selection: &Selection<'_>, problems: &mut Problems) -> Spanned<String> {
    let manager = wanted_manager(description, selection);
    if Manager::find(&manager).is_none() {
        let label = match selection.preferences.iter().any(|preferences| preferences.manager.is_some()) {
            true => "not driven yet",
            false => "no selected <preferences> has a <packagemanager>",
        };
        let title = format!("package manager {}", shown(&manager));
        let hint = "this version drives apt, zypper, dnf and pacman";
        problems.add(Problem::refused(title).at(&manager.span).label(label).hint(hint));
    }
    manager
}

fn recommends(selection: &Selection<'_>, kind: &Type, manager: Manager, warnings: &mut Vec<Warning>) -> Recommends {
    let first = |wanted: &dyn Fn(&str) -> bool| {
        selection
            .packages
            .iter()
            .filter(|section| wanted(&section.kind))
            .find_map(|section| section.pattern_type.as_ref())
    };
    let bootstrap = first(&|section| section == "bootstrap");
    let image = first(&|section| in_image(section, kind));
    if let (Some(bootstrap), Some(image)) = (bootstrap, image)
        && **bootstrap != **image
    {
        warnings.push(Warning {
            text: format!("patternType of the bootstrap list is ignored: {} of the image's list counts", image.value),
            place: Some(bootstrap.span.place()),
        });
    }
    let counts = image.or(bootstrap);
    match counts.map(|pattern| pattern.as_str()) {
        Some("plusRecommended") if manager == Manager::Pacman => {
            warnings.push(Warning {
                text: "patternType=\"plusRecommended\" is ignored: pacman never installs optional dependencies".into(),
                place: counts.map(|pattern| pattern.span.place()),
            });
            Recommends::No
        }
        Some("plusRecommended") => Recommends::Yes,
        _ => Recommends::No,
    }
}

fn essential(selection: &Selection<'_>) -> Essential {
    let own = selection.extensions.iter().rfind(|extension| extension.name == "packages");
    match own.and_then(|extension| extension.attributes.get("essential")).map(|value| value.as_str()) {
        Some("only-needed") => Essential::OnlyNeeded,
        _ => Essential::Kept,
    }
}

/// Names of the sections that count, sorted, each once.
pub fn names<'a>(
    selection: &Selection<'a>,
    counts: impl Fn(&str) -> bool,
    of: impl Fn(&'a Packages) -> &'a Vec<Name>,
) -> Vec<Named> {
    let sections = selection.packages.iter().filter(|section| counts(&section.kind));
    let mut names: Vec<Named> = sections
        .flat_map(|section| of(section))
        .filter(|name| selection.on_arch(&name.arch))
        .map(|name| Named { name: name.name.to_string(), place: name.name.span.place() })
        .collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|later, first| later.name == first.name);
    names
}
