//! What becomes of the database of packages.
//!
//! In: the command line's choice, the description's `<ingot:package-database mode="..."/>`. Out: a [`PackageDatabase`].
//! Never lets an update stack stay without the database that it works with.

use serde::{Deserialize, Serialize};

use super::selection::Selection;
use super::{Choices, UpdateStack};
use crate::description::{Problem, Problems, Spanned};

/// What becomes of the database of packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageDatabase {
    /// It stays, in the form that scanners read.
    #[default]
    Keep,
    /// A bill of materials takes its place.
    Sbom,
    /// It goes.
    None,
}

impl PackageDatabase {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            PackageDatabase::Keep => "keep",
            PackageDatabase::Sbom => "sbom",
            PackageDatabase::None => "none",
        }
    }
}

/// The command line's choice, else the description's, else [`PackageDatabase::Keep`].
pub fn package_database(
    selection: &Selection<'_>,
    choices: &Choices,
    update_stack: UpdateStack,
    manager: &Spanned<String>,
    problems: &mut Problems,
) -> PackageDatabase {
    let own = selection.extensions.iter().rfind(|extension| extension.name == "package-database");
    let own = own.and_then(|extension| extension.attributes.get("mode"));
    let described = own.map(|mode| match mode.as_str() {
        "sbom" => PackageDatabase::Sbom,
        "none" => PackageDatabase::None,
        _ => PackageDatabase::Keep,
    });
    let wanted = choices.package_database.or(described).unwrap_or_default();
    if wanted != PackageDatabase::Keep && update_stack == UpdateStack::Kept {
        let span = own.map_or(&manager.span, |mode| &mode.span);
        let title =
            format!("an update stack that is kept works with its package database, which is to be `{}`", wanted.word());
        problems.add(
            Problem::invalid(title)
                .at(span)
                .hint("--update-stack none, or <ingot:update-stack mode=\"none\"/>; or keep the database"),
        );
    }
    wanted
}
