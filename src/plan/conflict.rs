//! What a plan cannot be made of: what this version does not do, and what excludes each other.
//!
//! In: a [`Selection`] and the chosen image type. Out: [`Problems`] and [`Warning`]s, each with its place.
//! Never changes what was selected.

use super::selection::Selection;
use super::{Manager, Warning};
use crate::description::{Aside, Description, Problem, Problems, Status, Type, shown};

/// Finds what is refused and what is ignored in the parts that count.
pub fn check(
    description: &Description,
    selection: &Selection<'_>,
    kind: &Type,
    manager: &str,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) {
    if *description.kind == "boot" {
        problems.add(
            Problem::refused("a description of a boot image")
                .at(&description.kind.span)
                .label("initrds of KIWI's own are not made"),
        );
    }
    for (name, status) in crate::description::schema::IMAGE_TYPES {
        if let (true, Status::Refused(reason)) = (*kind.image == *name, status) {
            problems.add(
                Problem::refused(format!("image type {name}"))
                    .at(&kind.image.span)
                    .label(*reason)
                    .hint("this version makes oem, docker, oci and tbz images"),
            );
        }
    }
    let mut asides: Vec<&Aside> = kind.asides.iter().collect();
    asides.extend(selection.others.iter().flat_map(|other| &other.asides));
    let of_preferences = selection.preferences.iter().flat_map(|preferences| &preferences.asides);
    // What another manager would make of the rest is not for us to judge.
    if Manager::find(manager).is_some() {
        asides.extend(of_preferences);
        asides.extend(selection.repositories.iter().flat_map(|repository| &repository.asides));
        let packages = selection.packages.iter().filter(|packages| counts(&packages.kind, &kind.image));
        asides.extend(packages.flat_map(|packages| &packages.asides));
    }
    for aside in asides.into_iter().filter(|aside| selection.on_arch(&aside.arch)) {
        judge(aside, problems, warnings);
    }
    for text in &description.dropped {
        warnings.push(Warning { text: text.to_string(), place: Some(text.span.place()) });
    }
    for namespace in &description.foreign {
        warnings.push(Warning {
            text: format!("<extension> holds elements of {}, which is not ingot's", shown(namespace)),
            place: Some(namespace.span.place()),
        });
    }
}

/// The `type` of a section that `--delete-package` makes: no description can name it.
pub const WITHDRAWN: &str = "--delete-package";

/// Whether a `<packages>` section of this type counts for an image of that type.
pub fn counts(section: &str, image: &str) -> bool {
    matches!(section, "image" | "bootstrap" | "delete" | "uninstall" | WITHDRAWN) || section == image
}

fn judge(aside: &Aside, problems: &mut Problems, warnings: &mut Vec<Warning>) {
    match aside.status {
        Status::Honoured => {}
        Status::Refused(reason) => problems.add(Problem::refused(&aside.what).at(&aside.span).label(reason)),
        Status::Ignored(reason) => warnings
            .push(Warning { text: format!("{} is ignored: {reason}", aside.what), place: Some(aside.span.place()) }),
    }
}
