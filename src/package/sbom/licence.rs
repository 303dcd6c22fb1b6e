//! What packages say of their licences, as SPDX takes it.
//!
//! In: words of a package: SPDX's own expressions (Fedora, SUSE), Debian's short names, or anything. Out: an expression of
//! SPDX's identifiers, where each word is a known one, else of references to what the package says. Never guesses what
//! a word means.

use std::collections::BTreeMap;

/// Identifiers of SPDX that packages of distributions use most.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "FSFAP",
    "GFDL-1.2-or-later",
    "GFDL-1.3-or-later",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MPL-1.1",
    "MPL-2.0",
    "NCSA",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Vim",
    "X11",
    "Zlib",
    "curl",
    "libtiff",
    "zlib-acknowledgement",
];

/// Debian's short names (copyright-format 1.0) that mean one of SPDX's identifiers.
const DEBIAN: &[(&str, &str)] = &[
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("CC0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-2.0", "GPL-2.0-only"),
    ("GPL-2.0+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("GPL-3.0", "GPL-3.0-only"),
    ("GPL-3.0+", "GPL-3.0-or-later"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
];

/// Licences that SPDX has no identifier for, by their reference: what the packages say.
pub(super) type References = BTreeMap<String, String>;

/// The expression for what a package says; what it refers to goes into `references`.
pub(super) fn expression(said: &str, references: &mut References) -> String {
    // An expression of several levels is taken whole, or not at all.
    if said.contains(['(', ')']) || said.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("or")) {
        return nested(said).unwrap_or_else(|| refer(said, references));
    }
    let terms = said.split(" AND ").flat_map(|term| term.split(" and ")).map(str::trim).filter(|term| !term.is_empty());
    let mut found: Vec<String> = terms.map(|term| known(term).unwrap_or_else(|| refer(term, references))).collect();
    found.sort();
    found.dedup();
    found.join(" AND ")
}

fn known(term: &str) -> Option<String> {
    let debian = DEBIAN.iter().find(|(name, _)| *name == term).map(|(_, identifier)| *identifier);
    debian.or_else(|| KNOWN.iter().copied().find(|identifier| *identifier == term)).map(str::to_string)
}

/// The expression with each word as SPDX spells it; `None` where one of them is unknown.
fn nested(said: &str) -> Option<String> {
    let spaced = said.replace('(', " ( ").replace(')', " ) ");
    let (mut found, mut depth, mut wants_operand) = (Vec::new(), 0_i32, true);
    for word in spaced.split_ascii_whitespace() {
        let operator = ["AND", "OR"].into_iter().find(|operator| operator.eq_ignore_ascii_case(word));
        match (word, operator) {
            ("(", _) if wants_operand => depth += 1,
            (")", _) if !wants_operand && depth > 0 => depth -= 1,
            (_, Some(_)) if !wants_operand => wants_operand = true,
            (_, None) if wants_operand && !["(", ")"].contains(&word) => wants_operand = false,
            _ => return None,
        }
        found.push(match operator {
            Some(operator) => operator.to_string(),
            None if ["(", ")"].contains(&word) => word.to_string(),
            None => known(word)?,
        });
    }
    let whole = depth == 0 && !wants_operand;
    whole.then(|| found.join(" ").replace("( ", "(").replace(" )", ")"))
}

/// `LicenseRef-` and what is left of the words; a number where another text has the same.
fn refer(said: &str, references: &mut References) -> String {
    let safe = |char: char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' };
    let name: String = said.chars().map(safe).take(60).collect();
    let name = format!("LicenseRef-{}", name.trim_matches('-'));
    let mut number = 1;
    loop {
        let reference = if number == 1 { name.clone() } else { format!("{name}-{number}") };
        match references.get(&reference) {
            Some(other) if other != said => number += 1,
            Some(_) => return reference,
            None => {
                references.insert(reference.clone(), said.to_string());
                return reference;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_spelled_as_spdx_does_and_the_others_are_referred_to() {
        let mut references = References::new();
        for (said, wanted) in [
            ("MIT", "MIT"),
            ("GPL-2+ AND Expat AND MIT", "GPL-2.0-or-later AND MIT"),
            ("(MIT or Apache-2.0) AND ISC", "(MIT OR Apache-2.0) AND ISC"),
            ("(MIT OR GPL)", "LicenseRef-MIT-OR-GPL"),
            ("GPL-2+ AND public-domain", "GPL-2.0-or-later AND LicenseRef-public-domain"),
            ("GPL-2+ with Libtool exception", "LicenseRef-GPL-2--with-Libtool-exception"),
            ("public domain", "LicenseRef-public-domain-2"),
            ("MIT OR", "LicenseRef-MIT-OR"),
        ] {
            assert_eq!(expression(said, &mut references), wanted, "{said}");
        }
        assert_eq!(references["LicenseRef-public-domain-2"], "public domain");
        assert_eq!(references.len(), 5);
    }
}
