//! What a package says of its licence.
//!
//! In: the text of `/usr/share/doc/PACKAGE/copyright`. Out: the short names of its licences, when the file is in the
//! machine-readable form (Debian copyright-format 1.0). Never guesses from prose.

use std::collections::BTreeSet;

/// The licences' short names, sorted and joined with ` AND `; `None` where the file is not machine-readable.
pub fn from_copyright(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let machine_readable = lines.next()?.to_ascii_lowercase().starts_with("format:");
    if !machine_readable {
        return None;
    }
    let names: BTreeSet<&str> = lines
        .filter_map(|line| line.split_once(':').filter(|(field, _)| field.eq_ignore_ascii_case("license")))
        .map(|(_, name)| name.trim())
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() { None } else { Some(names.into_iter().collect::<Vec<_>>().join(" AND ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_come_from_machine_readable_files_only() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
                    Files: *\nLicense: GPL-2+\n text\n\nLicense: Expat\nFiles: x\nLicense: GPL-2+\n";
        assert_eq!(from_copyright(text).as_deref(), Some("Expat AND GPL-2+"));
        assert_eq!(from_copyright("This is free software.\nLicense: none\n"), None);
        assert_eq!(from_copyright(""), None);
    }
}
