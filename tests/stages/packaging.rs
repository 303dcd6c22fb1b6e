//! What the packages of ingot claim, and what a farm's solver makes of that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::description::Status;
use ingot::description::schema::IMAGE_TYPES;
use ingot::plan::Manager;

use super::support::program::{finish, run, text};
use super::support::{need, scratch};

/// The Open Build Service's own scripts.
const SERVICE: &str = "/usr/lib/obs-build";

/// Answers what `scripts/package` asks a program.
const STAND_IN: &str = r##"
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    char path[4096];
    if (argc > 1 && !strcmp(argv[1], "--version")) return puts("ingot 0.1.0") < 0;
    if (argc < 3 || strcmp(argv[1], "manual")) return puts("#") < 0;
    snprintf(path, sizeof path, "%s/kiwi.1", argv[2]);
    FILE *file = fopen(path, "w");
    return !file || fputs("manual\n", file) < 0 || fclose(file);
}
"##;

/// What the Open Build Service reads of a description whose packages this manager installs.
const RECIPE: &str = r#"<image schemaversion="7.4" name="tiny">
  <description type="system"><author>Tiny</author><contact>tiny@example.org</contact><specification>Tiny</specification></description>
  <preferences><version>1.0.0</version><packagemanager>MANAGER</packagemanager><type image="docker"/></preferences>
  <repository type="rpm-md"><source path="obsrepositories:/"/></repository>
  <packages type="image"><package name="tiny-app"/></packages>
</image>
"#;

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Package managers that packages claim: the package, the manager, what the package needs in Debian.
fn claims() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(sources().join("packaging/managers")).unwrap();
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, claims, debian, _] = words[..] else { panic!("{line}") };
        for claim in claims.split(',') {
            let manager = claim.strip_prefix("kiwi-packagemanager:").unwrap_or_else(|| panic!("{claim}"));
            found.push((format!("ingot-{name}"), manager.to_string(), debian.to_string()));
        }
    }
    found
}

/// All packages, made of a program that only answers what is asked while they are made.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&source, STAND_IN).unwrap();
    run("cc", &["-o", text(&program), text(&source)]);
    let mut command = Command::new(sources().join("scripts/package"));
    let made = finish(command.arg(folder.join("packages")).arg(program).env("SOURCE_DATE_EPOCH", "1700000000"));
    made.lines().map(PathBuf::from).collect()
}

#[test]
fn packages_claim_exactly_what_ingot_does() {
    let text = fs::read_to_string(sources().join("packaging/provides")).unwrap();
    assert!(text.lines().all(|line| line.starts_with("kiwi") && !line.contains(' ')), "{text}");
    let claimed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("kiwi-image:")).collect();
    let built = IMAGE_TYPES.iter().filter(|(_, status)| *status == Status::Honoured).map(|(name, _)| *name);
    assert_eq!(claimed, built.collect());
    for name in ["kiwi", "kiwi-ng", "kiwi-filesystem:ext4"] {
        assert!(text.lines().any(|line| line == name), "{name}");
    }
    let claimed: BTreeSet<String> = claims().into_iter().map(|(_, manager, _)| manager).collect();
    // `dnf` is the word of older descriptions.
    let driven = ["apt", "dnf", "dnf4", "dnf5", "microdnf", "pacman", "zypper"];
    assert_eq!(claimed, driven.map(str::to_string).into());
    for manager in driven.iter().filter(|name| **name != "dnf") {
        assert!(Manager::find(manager).is_some(), "{manager} is not driven");
    }
}

#[test]
fn the_build_service_finds_each_package_manager_with_the_package_that_claims_it() {
    need!("dpkg-deb", "cc", "obs-build", "perl");
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    let made = packages(folder.path());
    assert!(made[0].file_name().unwrap().to_str().unwrap().starts_with("ingot_"), "{made:?}");
    fs::create_dir(at("debs")).unwrap();
    for package in made.iter().filter(|path| path.extension().is_some_and(|end| end == "deb")) {
        fs::copy(package, at("debs").join(package.file_name().unwrap())).unwrap();
    }
    let service = |name: &str| {
        let mut command = Command::new("perl");
        command.arg(Path::new(SERVICE).join(name)).env("BUILD_DIR", SERVICE).current_dir(folder.path());
        command
    };
    let mut known = finish(service("createdirdeps").arg("debs"));
    let of_debian: BTreeSet<String> = claims().into_iter().flat_map(|(_, _, needs)| words(&needs)).collect();
    let base = ["apt", "dpkg", "e2fsprogs", "libc6", "libgcc-s1"].map(str::to_string);
    for name in of_debian.iter().chain(&base) {
        let id = format!("{name}.amd64-1/1/1");
        known += &format!("F:{id}: {name}.deb\nP:{id}: {name} (= 9)\nI:{id}: {name}-9 0-amd64\n");
    }
    fs::write(at("known"), known).unwrap();
    fs::write(at("farm.conf"), "Binarytype: deb\nSubstitute: system-packages:kiwi-image kiwi\n").unwrap();
    for (package, manager, needs) in claims() {
        fs::write(at("image.kiwi"), RECIPE.replace("MANAGER", &manager)).unwrap();
        let configuration = at("farm.conf");
        let asked = ["--depfile", "known", "--dist", text(&configuration), "--archpath", "x86_64", "image.kiwi"];
        let said = finish(service("expanddeps").args(asked));
        let chosen: BTreeSet<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        let mut wanted = vec!["ingot".to_string()];
        if needs != "-" {
            wanted.push(package);
            wanted.extend(words(&needs));
        }
        assert!(wanted.iter().all(|name| chosen.contains(name.as_str())), "{manager}: {wanted:?} in {said}");
        let own = chosen.iter().filter(|name| name.starts_with("ingot")).count();
        assert_eq!(own, if needs == "-" { 1 } else { 2 }, "{manager}: {said}");
    }
}

/// What a list with commas holds; nothing for `-`.
fn words(list: &str) -> Vec<String> {
    list.split(',').filter(|name| *name != "-").map(str::to_string).collect()
}

#[test]
fn rpm_packages_need_what_they_claim_and_the_same_program_gives_the_same_debs() {
    need!("dpkg-deb", "cc", "rpmbuild", "rpm");
    let (one, other) = (scratch(), scratch());
    let made = packages(one.path());
    let again = packages(other.path());
    for (one, other) in std::iter::zip(&made, &again).filter(|(one, _)| text(one).ends_with(".deb")) {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{}", one.display());
    }
    let query = |package: &Path, what: &str| run("rpm", &["-qp", what, text(package)]);
    let has = |text: &str, line: &str| text.lines().any(|other| other.trim() == line);
    let of = |name: &str| made.iter().find(|path| text(path).contains(&format!("/{name}-0.1.0-1.")));
    let main = of("ingot").unwrap();
    assert!(!query(main, "--provides").contains("packagemanager"), "it brings none");
    for (package, manager, _) in claims() {
        let file = of(&package).unwrap_or_else(|| panic!("{package} in {made:?}"));
        let (provides, requires) = (query(file, "--provides"), query(file, "--requires"));
        assert!(has(&provides, &format!("kiwi-packagemanager:{manager}")), "{provides}");
        let program = package.trim_start_matches("ingot-");
        assert!(has(&requires, program) && has(&requires, "ingot = 0.1.0-1"), "{requires}");
        assert_eq!(query(file, "--list").trim(), "(contains no files)");
    }
}
