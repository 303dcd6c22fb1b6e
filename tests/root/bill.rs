//! What becomes of the database of packages, and bills of materials as others read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::image::{Bench, digests, result, unpack_docker};
use crate::support::packages::DATE;
use crate::support::{need, python, together};

/// The readers of both forms.
pub const READERS: &[&str] =
    &["spdx-tools==0.8.5", "cyclonedx-python-lib[json-validation]==11.12.0", "packageurl-python==0.17.6"];

const CYCLONEDX: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(str(wrong) if wrong else 0)
";

const PURLS: &str = "\
import json, sys
from packageurl import PackageURL
for line in json.load(open(sys.argv[1]))['components']:
    if 'purl' in line:
        purl = PackageURL.from_string(line['purl'])
        assert purl.name == line['name'], line
        print(purl.type, purl.namespace, purl.name, purl.version, purl.qualifiers['arch'])
";

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}{wrong}", output.status);
    said
}

/// Both documents of a result, read by others. Returns what the package URLs say, sorted.
pub fn read_by_others(bin: &Path, folder: &Path) -> Vec<String> {
    let (spdx, cyclonedx) = (result(folder, ".spdx.json"), result(folder, ".cdx.json"));
    said(Command::new(bin.join("pyspdxtools")).args(["--version", "SPDX-2.3", "--infile"]).arg(&spdx));
    said(Command::new(bin.join("python")).args(["-c", CYCLONEDX]).arg(&cyclonedx));
    let mut lines: Vec<String> = said(Command::new(bin.join("python")).args(["-c", PURLS]).arg(&cyclonedx))
        .lines()
        .map(str::to_string)
        .collect();
    lines.sort();
    let document: Value = serde_json::from_slice(&fs::read(&spdx).unwrap()).unwrap();
    let packages = document["packages"].as_array().unwrap().iter();
    let mut purls = packages.filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str());
    assert_eq!(purls.clone().count(), lines.len());
    assert!(purls.all(|purl| purl.starts_with("pkg:")));
    lines
}

/// The same packages as in the manifest.
fn names(folder: &Path) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let packages = manifest["packages"].as_array().unwrap().iter();
    let mut names: Vec<String> = packages.map(|package| package["name"].as_str().unwrap().to_string()).collect();
    names.sort();
    names
}

#[test]
fn the_database_stays_becomes_a_bill_or_goes_and_nothing_else_changes() {
    need!(root);
    need!("apt-get", "dpkg-deb", "dpkg-query");
    let Some(bin) = python::programs("sbom", READERS) else { return };
    let _turn = together();
    let bench = Bench::new();
    let description = bench.container();
    let date = DATE.to_string();
    let build = |target: &str, database: &str| {
        let words = ["--source-date-epoch", &date, "--update-stack", "none", "--package-database", database];
        bench.build_into(&description, target).args(words).run().expect(0);
        let tree = bench.path(&format!("{target}-tree"));
        unpack_docker(&result(&bench.path(target), ".docker.tar"), &tree);
        tree
    };
    let listed = |tree: &Path| -> Vec<String> {
        let listed = said(Command::new("find").arg(tree).args(["-mindepth", "1", "-printf", "%P %y %m %s %T@\n"]));
        let mut lines: Vec<String> = listed.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    let kept = build("kept", "keep");
    let query = ["--show", "--showformat", "${Package}\n", "--admindir"];
    let mut known: Vec<String> = said(Command::new("dpkg-query").args(query).arg(kept.join("var/lib/dpkg")))
        .lines()
        .map(str::to_string)
        .collect();
    known.sort();
    let purls = read_by_others(&bin, &bench.path("kept"));
    assert_eq!(names(&bench.path("kept")), known, "the database describes what is there");
    let called: Vec<&str> = purls.iter().map(|purl| purl.split(' ').nth(2).unwrap()).collect();
    assert_eq!(called, known);
    assert!(!known.contains(&"apt".to_string()) && !known.contains(&"dpkg".to_string()), "{known:?}");

    let none = build("none", "none");
    let sbom = build("sbom", "sbom");
    let bill = "var/lib/db/sbom/tiny.x86_64-1.2.3.spdx.json";
    assert_eq!(fs::read(sbom.join(bill)).unwrap(), fs::read(result(&bench.path("sbom"), ".spdx.json")).unwrap());
    for (target, tree) in [("none", &none), ("sbom", &sbom)] {
        assert_eq!(names(&bench.path(target)), known, "the manifest still tells what is there");
        assert_eq!(read_by_others(&bin, &bench.path(target)), purls);
        let own = |line: &String| {
            let path = line.split(' ').next().unwrap();
            path.starts_with("var/lib/dpkg") || path.starts_with("var/lib/db")
        };
        let mut with: Vec<String> = listed(&kept).into_iter().filter(|line| !own(line)).collect();
        let mut without: Vec<String> = listed(tree).into_iter().filter(|line| !own(line)).collect();
        // How large a folder is, its filesystem decides.
        for lines in [&mut with, &mut without] {
            lines.retain(|line| !line.contains(" d "));
        }
        assert_eq!(with, without, "{target}");
        assert!(!tree.join("var/lib/dpkg").exists());
        assert_eq!(tree.join(bill).exists(), target == "sbom");
    }
    let again = build("again", "sbom");
    assert_eq!(listed(&again), listed(&sbom));
    assert_eq!(digests(&bench.path("again")), digests(&bench.path("sbom")));
}

#[test]
fn an_update_stack_without_its_database_is_refused_by_name() {
    need!(root);
    let bench = Bench::new();
    let description = bench.container();
    for database in ["sbom", "none"] {
        let answer = bench.build(&description).args(["--package-database", database]).run();
        let wanted = format!("works with its package database, which is to be `{database}`");
        answer.expect(65).says(&[&wanted, "--update-stack none"]);
    }
    let own = "<extension xmlns:ingot=\"urn:ingot:1\"><ingot:package-database mode=\"none\"/></extension>\n</image>";
    let description = description.edit("</image>", own);
    bench.build(&description).run().expect(65).says(&["config.xml:", "package-database mode=\"none\""]);
    assert!(!bench.path("out").exists());
}
