//! ingot in KIWI's place, called by the Open Build Service's own build script (Debian's `obs-build`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::farm::{BUILD, Worker, index};
use crate::support::image::{Bench, Ingot, digests, result};
use crate::support::world::{SUITE, World, sha256};
use crate::support::{alone, need, scratch, together};

const REPOSITORY: &str = "Tiny:World/standard";

/// A recipe with two profiles, and the repository that the service downloaded for it.
fn sources(folder: &Path, repository: &str) -> PathBuf {
    let world = World::open();
    let packages = folder.join("repos").join(REPOSITORY);
    fs::create_dir_all(packages.parent().unwrap()).unwrap();
    world.copy(&packages);
    let text = fs::read(packages.join("dists").join(SUITE).join("main/binary-amd64/Packages")).unwrap();
    fs::remove_dir_all(packages.join("dists")).unwrap();
    index(&packages, REPOSITORY, &text);
    let xml = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<!-- OBS-Profiles: One Two -->
<image schemaversion="7.5" name="tiny">
  <description type="system">
    <author>Tiny World</author>
    <contact>tiny@example.org</contact>
    <specification>An image of the tiny world</specification>
  </description>
  <profiles>
    <profile name="One" description="one"/>
    <profile name="Two" description="two"/>
  </profiles>
  <preferences>
    <version>1.2.3</version>
    <packagemanager>apt</packagemanager>
    <type image="docker"><containerconfig name="tiny" tag="1"/></type>
  </preferences>
  {repository}
  <packages type="bootstrap"><package name="passwd"/></packages>
  <packages type="image"><package name="tiny-app"/></packages>
  <packages type="image" profiles="Two"><package name="tiny-recommended"/></packages>
</image>
"#
    );
    fs::write(folder.join("tiny.kiwi"), xml).unwrap();
    let script = "#!/bin/bash\ntest -f /.kconfig && . /.kconfig\ntest -f /.profile && . /.profile\n\
                  [ \"$kiwi_iname/$kiwi_profiles\" != / ] || exit 9\n";
    fs::write(folder.join("config.sh"), script).unwrap();
    folder.join("tiny.kiwi")
}

const OF_THE_SERVICE: &str = "<repository type=\"apt-deb\"><source path=\"obsrepositories:/\"/></repository>";

#[test]
fn the_build_service_builds_two_profiles_without_knowing_who_we_are() {
    need!(root);
    need!(BUILD, "apt-get", "unshare");
    let _turn = alone();
    let scratch = scratch();
    let recipe = sources(&scratch.path().join("in"), OF_THE_SERVICE);
    let worker = Worker::new(scratch.path()).parameter("--ignore-repos").parameter("--recycle-root");
    let built = worker.repository(REPOSITORY).parameter("--option-of-tomorrow=1").build(&recipe);
    assert!(built.good, "{}", built.log);
    let results = built.packages.join("KIWI");
    for profile in ["One", "Two"] {
        let stem = format!("tiny.x86_64-1.2.3-{profile}-Build1.1");
        // The script unpacks and renames nothing of a container that is a plain tar.
        let archive = results.join(format!("{stem}.docker.tar"));
        let sum = fs::read_to_string(results.join(format!("{stem}.docker.tar.sha256"))).unwrap();
        assert_eq!(sum, format!("{}  {stem}.docker.tar\n", sha256(&fs::read(archive).unwrap())));
        let listed = fs::read_to_string(results.join(format!("{stem}.packages"))).unwrap();
        assert!(listed.lines().is_sorted() && listed.contains("tiny-app|None|1:2.0-3|None|amd64|None|None\n"));
        assert_eq!(listed.contains("tiny-recommended|"), profile == "Two", "{listed}");
        assert!(results.join(format!("{stem}.verified")).is_file());
        assert!(results.join(format!("{stem}.docker.containerinfo")).is_file(), "the script knows the container");
        let manifest = fs::read_to_string(results.join(format!("{stem}.manifest.json"))).unwrap();
        assert!(manifest.contains("not-checked") && manifest.contains("are not verified"), "{manifest}");
    }
    assert!(fs::read_dir(&results).unwrap().flatten().all(|entry| entry.path().is_file()), "results are flat");
    // What the service makes its list of contents from.
    let build = built.packages.join("KIWI-docker/build");
    assert!(build.join("image-root/var/lib/dpkg/status").is_file() && build.join("image-root.log").is_file());
    for part in ["--option-of-tomorrow=1 is unknown and ignored", "[ INFO    ]: ", "INGOT-RESULT: {\"exit\":0"] {
        assert!(built.log.contains(part), "{part:?} is not in\n{}", built.log);
    }
}

#[test]
fn repositories_of_the_service_are_found_where_its_worker_puts_them() {
    need!(root);
    need!(BUILD, "apt-get", "unshare");
    let _turn = alone();
    let one = format!("<repository type=\"apt-deb\"><source path=\"obs://{REPOSITORY}\"/></repository>");
    for repository in [OF_THE_SERVICE, &one] {
        let scratch = scratch();
        let recipe = sources(&scratch.path().join("in"), repository);
        let built = Worker::new(scratch.path()).build(&recipe);
        assert!(built.good, "{repository}\n{}", built.log);
        assert_eq!(fs::read_dir(built.packages.join("KIWI")).unwrap().count(), 12);
    }
}

#[test]
fn the_end_of_a_farms_log_tells_what_went_wrong() {
    need!(root);
    need!(BUILD, "apt-get", "unshare");
    let _turn = alone();
    let scratch = scratch();
    let recipe = sources(&scratch.path().join("in"), "<repository><source path=\"obs://No:Such/thing\"/></repository>");
    let built = Worker::new(scratch.path()).build(&recipe);
    assert!(!built.good);
    let last = built.log.lines().rfind(|line| line.contains("INGOT-RESULT: ")).unwrap();
    let outcome: serde_json::Value = serde_json::from_str(last.split_once("INGOT-RESULT: ").unwrap().1).unwrap();
    // A file of the input is missing, and another try is no use.
    assert_eq!(outcome["exit"], 66, "{}", built.log);
    assert!(outcome["error"]["cause"][0].as_str().unwrap().contains("No:Such/thing"), "{outcome}");
}

#[test]
fn a_local_repository_without_signature_is_refused_outside_of_a_farm() {
    need!(root);
    let _turn = alone();
    let scratch = scratch();
    let recipe = sources(&scratch.path().join("in"), "");
    let repository = format!("dir://{}/repos/{REPOSITORY},rpm-md,,1", scratch.path().join("in").display());
    let kiwi = Ingot::new(["kiwi", "--profile", "One", "--shared-cache-dir"]).arg(scratch.path().join("cache"));
    let kiwi = kiwi.arg("--temp-dir").arg(scratch.path().join("work")).arg("system").arg("build");
    let kiwi =
        kiwi.arg("--description").arg(recipe.parent().unwrap()).arg("--target-dir").arg(scratch.path().join("out"));
    let answer = kiwi.arg("--add-repo").arg(repository).run().expect(76);
    assert!(answer.stdout.lines().last().unwrap().starts_with("INGOT-RESULT: {\"exit\":76"), "{}", answer.stdout);
}

/// `kiwi ARGUMENTS` in the tiny world.
fn kiwi(scratch: &Path, arguments: &[&str]) -> crate::support::image::Answer {
    let globals = ["kiwi", "--profile", "Two", "--setenv", "SOURCE_DATE_EPOCH=1700000000"];
    Ingot::new(globals)
        .args(arguments)
        .env("INGOT_CACHE_DIR", scratch.join("cache").to_str().unwrap())
        .env("INGOT_WORK_DIR", scratch.join("work").to_str().unwrap())
        .in_folder(scratch)
        .run()
}

#[test]
fn prepare_and_create_make_what_build_makes_and_a_bundle_is_the_same_twice() {
    need!(root);
    let _turn = alone();
    let scratch = scratch();
    let folder = scratch.path();
    sources(&folder.join("in"), "");
    let repository = format!("dir://{}/in/repos/{REPOSITORY},,a,,,,,,,false", folder.display());
    let of_all = ["--description", "in", "--add-repo", &repository, "--set-container-tag", "7"];
    let with = |first: &[&str]| kiwi(folder, &[first, &of_all].concat());
    with(&["system", "build", "--target-dir", "whole"]).expect(0);
    with(&["system", "prepare", "--root", "tree"]).expect(0);
    kiwi(folder, &["system", "create", "--root", "tree", "--target-dir", "parts"]).expect(0);
    for end in [".docker.tar", ".packages", ".verified", ".changes"] {
        let [whole, parts] = ["whole", "parts"].map(|name| fs::read(result(&folder.join(name), end)).unwrap());
        assert!(whole == parts, "{end} differs");
    }
    // Nothing of somebody else's is replaced, and nothing at all without being told.
    with(&["system", "build", "--target-dir", "whole"]).expect(73);
    with(&["system", "build", "--target-dir", "whole", "--allow-existing-root"]).expect(0);
    with(&["system", "prepare", "--root", "tree"]).expect(73);
    fs::create_dir_all(folder.join("precious/files")).unwrap();
    with(&["system", "prepare", "--root", "precious", "--allow-existing-root"]).expect(73);
    assert!(folder.join("precious/files").is_dir());
    kiwi(folder, &["system", "create", "--root", "precious", "--target-dir", "x"]).expect(66);

    let bundle = ["result", "bundle", "--target-dir", "whole", "--id", "7", "--bundle-dir", "bundle"];
    let pattern = ["--bundle-format", "%N-%P-%A-%I-%T-%v"];
    let listing = || {
        let names = fs::read_dir(folder.join("bundle")).unwrap().flatten();
        let mut files: Vec<_> = names.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    };
    kiwi(folder, &[&bundle[..], &pattern].concat()).expect(0);
    let first = listing();
    assert!(first.iter().any(|(name, _)| name == "tiny-Two-x86_64-7-docker-1.2.3.docker.tar"), "{first:?}");
    kiwi(folder, &[&bundle[..], &pattern].concat()).expect(0);
    assert!(listing() == first);
    let listed = kiwi(folder, &["result", "list", "--target-dir", "whole"]).expect(0);
    assert!(listed.stdout.contains("--> container: "), "{}", listed.stdout);
}

#[test]
fn what_is_not_done_of_kiwis_commands_is_refused_by_name() {
    let scratch = scratch();
    sources(&scratch.path().join("in"), "");
    let rows: [(&[&str], i32, &str); 6] = [
        (&["system", "boxbuild", "--box", "leap", "--", "--description", "in"], 64, "system boxbuild"),
        (&["system", "stash", "--root", "x"], 64, "system stash"),
        (&["system", "stackbuild", "--stash", "x"], 64, "system stackbuild"),
        (&["result", "bundle", "--target-dir", "x", "--id", "1", "--bundle-dir", "b"], 66, "kiwi.result.json"),
        (&["system", "build", "--description", "in", "--target-dir", "o", "--ca-cert", "x"], 65, "--ca-cert"),
        (&["system", "nonsense"], 64, "nonsense"),
    ];
    for (arguments, code, named) in rows {
        let answer = kiwi(scratch.path(), arguments).expect(code);
        let last = answer.stdout.lines().last().unwrap_or_default().to_string();
        assert!(last.starts_with("INGOT-RESULT: ") && last.contains(named), "{arguments:?}: {last}");
    }
}

#[test]
fn a_bundle_is_one_package_or_has_zsync_files_and_is_the_same_twice() {
    need!(root);
    need!("rpmbuild", "rpm", "zsyncmake");
    let _turn = alone();
    let bench = Bench::new();
    let source = format!("file://{}", bench.world.repository().display());
    bench.container().edit("mirror://tiny", &source);
    let kiwi = |arguments: &[&str]| kiwi(&bench.path(""), arguments);
    let globals = ["system", "build", "--description", "image", "--target-dir", "out"];
    Ingot::new(["kiwi"])
        .args(globals)
        .env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap())
        .env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap())
        .in_folder(&bench.path(""))
        .run()
        .expect(0);
    let bundle = |folder: &str, more: &[&str]| {
        let first = ["result", "bundle", "--target-dir", "out", "--id", "7", "--bundle-dir", folder];
        kiwi(&[&first[..], more].concat()).expect(0);
        let files = digests(&bench.path(folder));
        assert!(files.keys().all(|name| !name.starts_with('.')), "{files:?}");
        files
    };
    let zsync = ["--zsync-source", "https://example.org/images/"];
    let files = bundle("plain", &zsync);
    let image = "tiny.x86_64-1.2.3-7.docker.tar";
    let control = fs::read(bench.path("plain").join(format!("{image}.zsync"))).unwrap();
    let control = String::from_utf8_lossy(&control).into_owned();
    for line in [format!("Filename: {image}\n"), format!("URL: https://example.org/images/{image}\n")] {
        assert!(control.contains(&line), "{control}");
    }
    let rpm = ["--package-as-rpm"];
    let package = "tiny.x86_64-1.2.3-7-1.2.3-0.noarch.rpm";
    let first = bundle("rpm", &rpm);
    assert_eq!(first.keys().collect::<Vec<_>>(), [package]);
    assert_eq!(bundle("rpm", &rpm), first, "the package differs");
    assert_eq!(bundle("other", &rpm), first, "the package differs");
    let query = ["-qp", "--qf", "[%{FILENAMES} %{FILEDIGESTS} %{FILEUSERNAME}\n]"];
    let said = Command::new("rpm").args(query).arg(bench.path("rpm").join(package)).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let wanted = format!("/var/tmp/tiny.x86_64-1.2.3-7/{image} {} root\n", files[image]);
    assert!(said.contains(&wanted), "{wanted} is not in\n{said}");
    assert_eq!(said.lines().count(), 1 + files.keys().filter(|name| !name.ends_with(".zsync")).count(), "{said}");
}

#[test]
fn info_lists_what_a_build_installs() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let source = format!("file://{}", bench.world.repository().display());
    let description = bench.container().edit("mirror://tiny", &source);
    let ingot = |arguments: &[&str]| {
        let ingot = Ingot::new(arguments).env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap());
        ingot.env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap()).in_folder(&bench.path(""))
    };
    let info = ["kiwi", "image", "info", "--description", "image", "--resolve-package-list"];
    let told = ingot(&info).run().expect(0).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    bench.build(&description).run().expect(0);
    let manifest = fs::read(bench.path("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let listed = told["resolved-packages"].as_object().unwrap();
    let packages = manifest["packages"].as_array().unwrap();
    assert_eq!(listed.len(), packages.len());
    for package in packages {
        let one = &listed[package["name"].as_str().unwrap()];
        assert_eq!((&one["version"], &one["arch"]), (&package["version"], &package["arch"]), "{package}");
        assert_eq!(one["source"], source.as_str());
        assert!(one["installsize_bytes"].as_u64().is_some() && one["packagesize_bytes"].as_u64() > Some(0), "{one}");
    }
    let status = |name: &str| listed[name]["status"].as_str().unwrap();
    assert_eq!(status("tiny-app"), "listed_in_kiwi_description");
    assert_eq!(status("libtiny1"), "added_by_dependency_solver");
    assert_eq!(fs::read_dir(bench.path("work")).unwrap().count(), 0);
    description.package("tiny-ap");
    ingot(&info).run().expect(65);
}

#[test]
fn info_tells_what_a_description_says() {
    let scratch = scratch();
    sources(&scratch.path().join("in"), "");
    let repository = ["--add-repo", "https://mirror.example/debian,,,,,,,main,sid"];
    let info = ["image", "info", "--description", "in", "--list-profiles", "--print-kiwi-env"];
    let answer = kiwi(scratch.path(), &[&info[..], &repository].concat()).expect(0);
    let info_of: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(info_of["profile_names"], serde_json::json!(["One", "Two"]));
    assert_eq!((&info_of["image"], &info_of["kiwi_env"]["kiwi_profiles"]), (&"tiny".into(), &"Two".into()));
    let xml = kiwi(scratch.path(), &["image", "info", "--description", "in", "--print-xml"]).expect(0).stdout;
    fs::create_dir(scratch.path().join("again")).unwrap();
    fs::write(scratch.path().join("again/config.xml"), &xml).unwrap();
    let again = kiwi(scratch.path(), &["image", "info", "--description", "again", "--print-xml"]).expect(0).stdout;
    assert_eq!(xml, again);
    // The other languages hold the same: read again, each is the same XML, elements of a name standing together.
    let mut converted = Vec::new();
    for (option, file) in [("--print-yaml", "config.yaml"), ("--print-toml", "config.toml")] {
        let text = kiwi(scratch.path(), &["image", "info", "--description", "in", option]).expect(0).stdout;
        let folder = scratch.path().join(file);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.xml"), &text).unwrap();
        let read = kiwi(scratch.path(), &["image", "info", "--description", file, option]).expect(0).stdout;
        assert_eq!(text, read);
        let info = ["image", "info", "--description", file, "--print-kiwi-env"];
        let environment = kiwi(scratch.path(), &[&info[..], &repository].concat()).expect(0).stdout;
        let environment: serde_json::Value = serde_json::from_str(&environment).unwrap();
        assert_eq!(environment["kiwi_env"], info_of["kiwi_env"]);
        converted.push(kiwi(scratch.path(), &["image", "info", "--description", file, "--print-xml"]).expect(0).stdout);
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    converted.iter().for_each(|text| assert_eq!(sorted(text), sorted(&xml)));
}

#[test]
fn a_version_is_printed_that_programs_take_for_kiwis() {
    let scratch = scratch();
    let answer = kiwi(scratch.path(), &["--version"]).expect(0);
    let version = answer.stdout.trim_end().strip_prefix("KIWI (next generation) version ").unwrap();
    assert!(version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    assert!(answer.stderr.contains("ingot ") && answer.stderr.contains("in KIWI's place"), "{}", answer.stderr);
}

#[test]
fn an_updated_tree_is_the_one_that_prepare_makes_with_these_packages() {
    need!(root);
    let _turn = alone();
    let scratch = scratch();
    let folder = scratch.path();
    sources(&folder.join("in"), "");
    let repository = format!("dir://{}/in/repos/{REPOSITORY},,a,,,,,,,false", folder.display());
    let prepare = |words: &[&str]| {
        let first = ["system", "prepare", "--description", "in", "--add-repo", &repository];
        kiwi(folder, &[&first[..], words].concat())
    };
    let packages = |root: &str| {
        let status = fs::read_to_string(folder.join(root).join("var/lib/dpkg/status")).unwrap();
        let names = status.lines().filter_map(|line| line.strip_prefix("Package: ")).map(str::to_string);
        names.collect::<std::collections::BTreeSet<String>>()
    };
    prepare(&["--root", "tree"]).expect(0);
    prepare(&["--root", "other", "--add-package", "tiny-unwanted"]).expect(0);
    let plain = packages("tree");
    // What is deleted is gone before config.sh.
    let script = folder.join("in/config.sh");
    let earlier = fs::read_to_string(&script).unwrap();
    let looks = "case \"$(</var/lib/dpkg/status)\" in *'Package: tiny-unwanted'*) exit 9 ;; esac\n";
    fs::write(&script, format!("{earlier}{looks}")).unwrap();
    prepare(&["--root", "third", "--add-package", "tiny-unwanted"]).expect(65);
    prepare(&["--root", "third", "--add-package", "tiny-unwanted", "--delete-package", "tiny-unwanted"]).expect(0);
    assert_eq!(packages("third"), plain);
    fs::write(&script, earlier).unwrap();
    kiwi(folder, &["system", "update", "--root", "tree"]).expect(64);
    kiwi(folder, &["system", "update", "--root", "none", "--add-package", "x"]).expect(66);
    let answer = kiwi(folder, &["system", "update", "--root", "tree", "--add-package", "tiny-unwanted"]).expect(0);
    assert!((answer.stdout + &answer.stderr).contains("changes that were made in it by hand are lost"));
    assert!(packages("tree") == packages("other") && packages("tree") != plain, "{:?}", packages("tree"));
    kiwi(folder, &["system", "update", "--root", "tree", "--delete-package", "tiny-unwanted"]).expect(0);
    assert_eq!(packages("tree"), plain);
    // A name that is nowhere changes nothing.
    kiwi(folder, &["system", "update", "--root", "tree", "--add-package", "nowhere"]).expect(65);
    assert_eq!(packages("tree"), plain);
    kiwi(folder, &["system", "create", "--root", "tree", "--target-dir", "out"]).expect(0);
}

#[test]
fn a_program_that_watches_hears_of_every_step_and_of_the_end() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let events = bench.path("events");
    let listen = format!("exec 3>'{}'", events.display());
    let records = || -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&events).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let description = bench.container();
    bench.build(&description).args(["--status-fd", "3"]).after(&listen).run().expect(0);
    let all = records();
    assert!(all.iter().all(|record| record["ts"].is_string() && record["event"].is_string()), "{all:?}");
    let fetched = all.iter().find(|record| record["step"] == "fetch" && record["event"] == "finished").unwrap();
    assert_eq!(fetched["cache"]["hits"], 0, "{fetched}");
    let archive = fs::read(result(&bench.path("out"), ".docker.tar")).unwrap();
    assert_eq!(all.last().unwrap()["artifacts"][0]["sha256"], sha256(&archive));

    let description = description.edit("\"tiny-app\"", "\"tiny-ap\"");
    bench.build(&description).args(["--status-fd", "3"]).after(&listen).run().expect(65);
    let error = &records().pop().unwrap()["error"];
    assert_eq!((&error["code"], &error["hint"]), (&65.into(), &"did you mean `tiny-app`?".into()), "{error}");
    bench.build(&description).args(["--status-fd", "77"]).run().expect(64);
}

#[test]
fn a_resized_disk_is_sound_in_every_format_and_its_checksums_are_right() {
    need!(root);
    need!("sfdisk", "qemu-img");
    let _turn = alone();
    let bench = Bench::new();
    let description = bench.disk();
    let source = format!("file://{}", bench.world.repository().display());
    let description = description.edit("mirror://tiny", &source);
    let options = "format=\"qcow2\" formatoptions=\"compression_type=zstd,cluster_size=128k\"";
    let description = description.edit("format=\"qcow2\"", options);
    let folder = bench.path("");
    let kiwi = |arguments: &[&str]| {
        Ingot::new(["kiwi"])
            .args(arguments)
            .env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap())
            .env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap())
            .in_folder(&folder)
            .run()
    };
    kiwi(&["system", "build", "--description", description.folder().to_str().unwrap(), "--target-dir", "out"])
        .expect(0);
    let out = bench.path("out");
    let before = crate::support::image::partitions(&result(&out, ".raw"));
    kiwi(&["image", "resize", "--target-dir", "out", "--size", "1m"]).expect(65);
    kiwi(&["image", "resize", "--target-dir", "out", "--size", "much"]).expect(64);
    kiwi(&["image", "resize", "--target-dir", "out", "--size", "1g"]).expect(0);
    let raw = result(&out, ".raw");
    assert_eq!(fs::metadata(&raw).unwrap().len(), 1 << 30);
    assert_eq!(crate::support::image::partitions(&raw), before);
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).current_dir(&out).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}\n{said}");
        said
    };
    assert!(run("sfdisk", &["--verify", raw.to_str().unwrap()]).contains("No errors detected"));
    let qcow2 = result(&out, ".qcow2");
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", qcow2.to_str().unwrap(), raw.to_str().unwrap()]);
    let about = run("qemu-img", &["info", qcow2.to_str().unwrap()]);
    assert!(about.contains("cluster_size: 131072") && about.contains("compression type: zstd"), "{about}");
    run("sh", &["-c", "sha256sum --check --strict *.sha256"]);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["artifacts"][0]["size"], 1 << 30);
    kiwi(&["result", "bundle", "--target-dir", "out", "--id", "1", "--bundle-dir", "bundle"]).expect(0);
    assert!(bench.path("bundle/tiny.x86_64-1.2.3-1.qcow2").is_file());
}
