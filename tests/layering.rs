//! The architecture, as a table that fails the build: which module may use which, what only `host` may do, how long a
//! file may be.
//!
//! In: the text under src/. Out: the file and line that breaks a rule. Never looks at what the code does.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules of this crate that it may name, lowest first. A module may name only modules in
/// earlier rows, so that there are no cycles by construction.
const LAYERS: &[(&str, &[&str])] = &[
    ("bytes", &[]),
    ("error", &[]),
    ("parallel", &["error"]),
    // What containers and disk formats know of an earlier artifact: `cache` keeps it, `pipeline` brings both together.
    ("pieces", &[]),
    ("report", &["error"]),
    ("host", &["bytes", "error", "report"]),
    ("cache", &["bytes", "error", "report", "host"]),
    ("description", &["bytes", "error", "report", "host"]),
    ("plan", &["bytes", "error", "host", "description"]),
    ("package", &["bytes", "error", "parallel", "report", "host", "cache", "plan"]),
    ("root", &["bytes", "error", "pieces", "report", "host", "plan", "package"]),
    ("scrub", &["bytes", "error", "pieces", "report", "host", "plan", "package", "root"]),
    ("release", &["bytes", "error", "report", "host", "plan", "package", "root", "scrub"]),
    ("disk", &["bytes", "error", "parallel", "report", "host", "plan", "root", "scrub"]),
    (
        "container",
        &["bytes", "error", "parallel", "pieces", "report", "host", "plan", "package", "root", "scrub", "release"],
    ),
    ("format", &["bytes", "error", "parallel", "pieces", "report", "host", "plan", "disk", "release"]),
    (
        "audit",
        &["bytes", "error", "parallel", "report", "host", "plan", "root", "scrub", "disk", "container", "format"],
    ),
    (
        "preflight",
        &["bytes", "error", "pieces", "report", "host", "plan", "root", "scrub", "release", "disk", "format", "audit"],
    ),
    ("boot", &["bytes", "error", "report", "host", "format"]),
    ("catalog", &["error", "report", "host"]),
    ("publish", &["bytes", "error", "report", "host", "format", "release"]),
    (
        "pipeline",
        &[
            "bytes",
            "error",
            "pieces",
            "report",
            "host",
            "cache",
            "description",
            "plan",
            "package",
            "root",
            "scrub",
            "release",
            "disk",
            "container",
            "format",
            "audit",
            "preflight",
        ],
    ),
    (
        "cli",
        &[
            "bytes",
            "error",
            "pieces",
            "pieces",
            "report",
            "host",
            "cache",
            "description",
            "plan",
            "package",
            "root",
            "scrub",
            "release",
            "disk",
            "container",
            "format",
            "audit",
            "preflight",
            "boot",
            "catalog",
            "publish",
            "pipeline",
        ],
    ),
];

/// What `main.rs` may name of the library.
const MAIN: &[&str] = &["cli", "error", "report", "pipeline", "audit", "boot", "description", "plan", "host"];

#[test]
fn every_module_uses_only_what_lies_below_it() {
    let mut complaints = Vec::new();
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for file in sources() {
        let module = file.module();
        if module == "lib" {
            continue;
        }
        let (prefix, may) = match module.as_str() {
            "main" => ("ingot::", MAIN),
            module => match allowed.get(module) {
                Some(may) => ("crate::", *may),
                None => {
                    complaints.push(format!("{}: module `{module}` has no row in LAYERS", file.path.display()));
                    continue;
                }
            },
        };
        for (number, line) in file.code() {
            for named in modules_named(line, prefix) {
                if named != module && !may.contains(&named) {
                    complaints
                        .push(format!("{}:{number}: `{module}` may not use `{named}`: {line}", file.path.display()));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_table_of_layers_has_no_cycle_and_no_row_too_many() {
    for (index, (module, may)) in LAYERS.iter().enumerate() {
        for used in *may {
            assert!(LAYERS[..index].iter().any(|(name, _)| name == used), "`{used}` is not below `{module}`");
        }
    }
}

#[test]
fn only_host_starts_programs_and_is_unsafe() {
    let mut complaints = Vec::new();
    for file in sources().into_iter().filter(|file| file.module() != "host") {
        for (number, line) in file.code() {
            let words = line.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).collect::<Vec<_>>();
            if words.contains(&"unsafe") || line.contains("process::Command") || line.contains("Command::new(\"") {
                complaints.push(format!("{}:{number}: only src/host may do this: {line}", file.path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for_and_ends_before_line_800() {
    let mut complaints = Vec::new();
    for file in sources() {
        if !file.text.starts_with("//! ") {
            complaints.push(format!("{}:1: does not open with `//!`", file.path.display()));
        }
        let lines = file.text.lines().count();
        if lines > 800 {
            complaints.push(format!("{}: {lines} lines; split it by meaning", file.path.display()));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn lib_is_a_map_and_main_is_short() {
    for file in sources() {
        if file.module() == "lib" {
            for (number, line) in file.code().filter(|(_, line)| !line.trim().is_empty()) {
                let declaration = line.starts_with("pub mod ") && line.ends_with(';') || line.starts_with("#![");
                assert!(declaration, "{}:{number}: lib.rs holds no code: {line}", file.path.display());
            }
        }
        if file.module() == "main" {
            assert!(file.text.lines().count() < 80, "main.rs has 80 lines or more");
        }
    }
}

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/disk/gpt.rs` and `src/disk.rs` are both `disk`.
    fn module(&self) -> String {
        let below = self.path.strip_prefix(source_folder()).unwrap();
        below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_string()
    }

    /// Numbered lines without comments; what `#[cfg(test)] mod tests` holds may name anything.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(index, line)| (index + 1, line)).map(|(number, line)| {
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") { (number, "") } else { (number, line.split(" // ").next().unwrap_or(line)) }
        })
    }
}

/// Modules behind each `crate::` of a line, `crate::{a, b::c}` included.
fn modules_named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(prefix) {
        let boundary = line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
        if !boundary {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        found.extend(first_word(part.trim()));
                    }
                    depth += match part.chars().next_back() {
                        Some('{') => 1,
                        Some('}') => -1,
                        _ => 0,
                    };
                }
            }
            None => found.extend(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|word| word.starts_with(|c: char| c.is_lowercase()))
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut folders = vec![source_folder()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(Source { text: fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "src/ is not where it was");
    found
}

#[test]
fn the_reader_of_use_lines_understands_groups() {
    let table: &[(&str, &[&str])] = &[
        ("use crate::error::{Error, Result};", &["error"]),
        ("use crate::{bytes::Bytes, host::{file, program}, plan};", &["bytes", "host", "plan"]),
        ("    let x = crate::plan::make(crate::bytes::Bytes(1));", &["plan", "bytes"]),
        ("pub(crate) use skip;", &[]),
    ];
    for (line, expected) in table {
        assert_eq!(&modules_named(line, "crate::"), expected, "{line}");
    }
}
