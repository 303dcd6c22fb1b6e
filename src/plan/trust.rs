//! Certificates that the image trusts, and that a build's own downloads trust, too.
//!
//! In: `<certificates>`. Out: a [`TrustPlan`]: files, the folder that they belong in, the program that makes a store of
//! them. Never reads a file.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::selection::Selection;
use super::{Place, Warning};
use crate::description::{Problem, Problems, shown};

/// How a family of distributions is told what to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// SUSE.
    Suse,
    /// Fedora, Red Hat and what is built on them.
    RedHat,
    /// Debian and what is built on it.
    Debian,
    /// Arch Linux.
    Arch,
}

impl Family {
    /// All of them, by the names that `target_distribution` and `--ca-target-distribution` have.
    pub const ALL: [(&str, Family); 4] =
        [("archlinux", Family::Arch), ("debian", Family::Debian), ("redhat", Family::RedHat), ("suse", Family::Suse)];

    /// The family of this name.
    pub fn named(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, family)| family)
    }

    /// Where certificates are put.
    pub fn anchors(self) -> &'static str {
        match self {
            Family::Suse => "/etc/pki/trust/anchors",
            Family::RedHat => "/etc/pki/ca-trust/source/anchors",
            Family::Debian => "/usr/local/share/ca-certificates",
            Family::Arch => "/etc/ca-certificates/trust-source/anchors",
        }
    }

    /// What reads that folder.
    pub fn program(self) -> &'static str {
        match self {
            Family::Suse | Family::Debian => "update-ca-certificates",
            Family::RedHat | Family::Arch => "update-ca-trust",
        }
    }

    /// The name of a certificate in that folder: Debian reads names that end in `.crt` only.
    pub fn name_of(self, file: &Path) -> PathBuf {
        let name = PathBuf::from(file.file_name().unwrap_or_default());
        if self == Family::Debian { name.with_extension("crt") } else { name }
    }
}

/// What the system trusts beside what its packages bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustPlan {
    /// Whose way of installing them.
    pub family: Family,
    /// In the order of the description.
    pub files: Vec<Certificate>,
}

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The file on the host.
    pub path: PathBuf,
    /// Where it is named.
    #[serde(skip)]
    pub place: Place,
}

/// Plans them. Of several sections that count the first one does, as in KIWI.
pub fn plan(selection: &Selection<'_>, problems: &mut Problems, warnings: &mut Vec<Warning>) -> Option<TrustPlan> {
    let (section, more) = selection.certificates.split_first()?;
    for other in more {
        let text = "<certificates> is ignored: another section of them counts already".to_string();
        warnings.push(Warning { text, place: Some(other.family.span.place()) });
    }
    let Some(family) = Family::named(&section.family) else {
        let title = format!("`{}` is no family of distributions", shown(&section.family));
        let names = Family::ALL.map(|(name, _)| name).join(", ");
        problems.add(Problem::invalid(title).at(&section.family.span).hint(format!("there is {names}")));
        return None;
    };
    let mut files: Vec<Certificate> = Vec::new();
    for (name, found) in &section.files {
        let Some(path) = found else {
            let title = format!("there is no certificate {}", shown(name));
            problems.add(Problem::missing(title).at(&name.span).label("looked for beside the description"));
            continue;
        };
        let target = family.name_of(path);
        if files.iter().any(|file| file.path != *path && family.name_of(&file.path) == target) {
            let title = format!("two certificates are called {}", target.display());
            problems.add(Problem::invalid(title).at(&name.span).label("they are put into one folder"));
        }
        files.push(Certificate { path: path.clone(), place: name.span.place() });
    }
    files.dedup_by(|one, other| one.path == other.path);
    Some(TrustPlan { family, files })
}
