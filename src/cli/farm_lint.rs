//! `ingot check --farm`: what the Open Build Service reads otherwise than we do, or not at all.
//!
//! The service reads a description with a small parser of its own, to know what to download, before ingot sees it. In: a
//! loaded description. Out: warnings, each with its place. Never judges what the image would be.

use crate::description::{Description, Span, shown};
use crate::error::Warning;
use crate::plan::Choices;
use crate::plan::selection::combinations;

/// Types of `<packages>` that the service downloads.
const DOWNLOADED: [&str; 5] = ["image", "bootstrap", "delete", "uninstall", "systemfiles"];

/// Everything that a farm would stumble over, in the order of the file.
pub fn lint(description: &Description, choices: &Choices) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    let mut warn = |text: String, span: &Span| found.push(Warning { text, place: Some(span.place()) });
    let source = &description.source;
    let text = source.text();
    let parts = [
        ("<![CDATA[", "a CDATA section: a farm does not read what is in it"),
        ("&#", "a character reference: a farm does not resolve it"),
        ("<include", "<include>: a farm does not read the included file"),
    ];
    for (part, what) in parts {
        for (at, _) in text.match_indices(part) {
            // A comment may say anything.
            let (opened, closed) = (text[..at].rfind("<!--"), text[..at].rfind("-->"));
            if opened <= closed {
                warn(what.to_string(), &Span::new(source, at, at + part.len()));
            }
        }
    }
    for section in description.packages.iter().filter(|section| !DOWNLOADED.contains(&section.kind.as_str())) {
        let kind = shown(&section.kind);
        let hint = "use type=\"image\" and a profile";
        warn(format!("<packages type=\"{kind}\">: a farm may not download these packages; {hint}"), &section.kind.span);
    }
    for preferences in description.preferences.iter().filter(|preferences| !preferences.when.arch.is_empty()) {
        let span = preferences.types.first().map_or(&description.span, |kind| &kind.image.span);
        warn("`arch` on <preferences>: a farm ignores it and builds the type everywhere".to_string(), span);
    }
    for repository in description.repositories.iter().filter(|repository| !repository.when.arch.is_empty()) {
        warn("`arch` on <repository>: a farm ignores it".to_string(), &repository.span);
    }
    let all = combinations(description, choices);
    for (at, one) in all.iter().enumerate() {
        let same = |other: &&Choices| other.profiles == one.profiles;
        if let (Some(kind), true) = (&one.image_type, all[..at].iter().any(|other| same(&other))) {
            let profile = match one.profiles.as_slice() {
                [] => "without a profile".to_string(),
                names => format!("in profile {}", names.join(", ")),
            };
            let types = description.preferences.iter().flat_map(|preferences| &preferences.types);
            let span = types.into_iter().rfind(|known| *known.image == **kind).map(|known| &known.image.span);
            let text = format!("a second type `{kind}` {profile}: a farm builds the first one once for each of them");
            warn(text, span.unwrap_or(&description.span));
        }
    }
    found.sort_by(|a, b| (&a.place, &a.text).cmp(&(&b.place, &b.text)));
    found.dedup();
    found
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn warnings(edit: impl Fn(String) -> String) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let xml = "<image schemaversion=\"8.0\" name=\"x\">\n\
            <description type=\"system\"><author>a</author><contact>c</contact><specification>s</specification></description>\n\
            <preferences><version>1.0.0</version><packagemanager>apt</packagemanager><type image=\"docker\"/></preferences>\n\
            <repository type=\"apt-deb\"><source path=\"https://a.example/d\"/></repository>\n\
            <packages type=\"image\"><package name=\"bash\"/></packages>\n</image>\n";
        std::fs::write(folder.path().join("config.xml"), edit(xml.to_string())).unwrap();
        let description = crate::description::load(folder.path()).unwrap();
        let choices = Choices { arch: "x86_64".into(), ..Choices::default() };
        lint(&description, &choices).into_iter().map(|warning| warning.text).collect()
    }

    #[test]
    fn each_thing_that_a_farm_reads_otherwise_is_told() {
        assert_eq!(warnings(|xml| xml), [""; 0]);
        let rows = [
            ("<author>a", "<author><![CDATA[a]]>", "a CDATA section"),
            ("<author>a", "<author>&#97;", "a character reference"),
            ("<packages type=\"image\">", "<packages type=\"docker\">", "<packages type=\"docker\">"),
            ("<preferences>", "<preferences arch=\"x86_64\">", "`arch` on <preferences>"),
            ("<repository ", "<repository arch=\"x86_64\" ", "`arch` on <repository>"),
            ("<type image=\"docker\"/>", "<type image=\"docker\"/><type image=\"oci\"/>", "a second type `oci`"),
        ];
        for (old, new, told) in rows {
            let found = warnings(|xml| xml.replacen(old, new, 1));
            assert!(found.len() == 1 && found[0].starts_with(told), "{new}: {found:?}");
        }
        assert_eq!(warnings(|xml| xml.replacen("<author>", "<!-- <include &#1; --><author>", 1)), [""; 0]);
    }
}
