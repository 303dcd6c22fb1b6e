//! The catalog: what was published where, and which of it is current.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ingot::catalog::{Catalog, Filter, Publication, State};
use ingot::error::Exit;

fn publication(version: &str, arch: &str, cloud: &str, region: &str, id: &str) -> Publication {
    let digest = format!("{:0>64}", id.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    Publication {
        name: "server".into(),
        version: version.into(),
        arch: arch.into(),
        description: "d".repeat(64),
        packages: "e".repeat(64),
        artifact: format!("server.{arch}-{version}.raw"),
        digest,
        cloud: cloud.into(),
        region: region.into(),
        target: format!("{cloud}:{region}/bucket"),
        id: id.into(),
        published: 1_700_000_000,
        tool: "ingot 0.1.0".into(),
    }
}

/// Two versions in one region, and one each in other places.
fn filled(path: &Path) {
    let mut catalog = Catalog::open_or_create(path).unwrap();
    for (version, arch, cloud, region, id) in [
        ("1.0.0", "x86_64", "aws", "eu-central-1", "ami-one"),
        ("1.1.0", "x86_64", "aws", "eu-central-1", "ami-two"),
        ("1.1.0", "aarch64", "aws", "eu-central-1", "ami-arm"),
        ("1.1.0", "x86_64", "gce", "project", "projects/project/global/images/server"),
    ] {
        let record = catalog.record(&publication(version, arch, cloud, region, id)).unwrap();
        assert_eq!((record.state, record.replaced_by), (State::Candidate, None));
    }
}

fn ingot(catalog: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ingot")).args(arguments).arg("--catalog").arg(catalog).output().unwrap()
}

fn stdout(catalog: &Path, arguments: &[&str]) -> String {
    let output = ingot(catalog, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(catalog: &Path, arguments: &[&str], code: i32, text: &str) {
    let output = ingot(catalog, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(text), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_publication_is_promoted_step_by_step_and_replaces_the_current_one() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("deep/below/catalog.sqlite");
    filled(&file);
    let id = ["id", "server", "--cloud", "aws", "--region", "eu-central-1", "--arch", "x86_64"];
    refused(&file, &id, 66, "no publication of it is current there");
    assert_eq!(stdout(&file, &["catalog", "promote", "ami-one"]), "ami-one tested\n");
    assert_eq!(stdout(&file, &["catalog", "promote", "ami-one"]), "ami-one current\n");
    assert_eq!(stdout(&file, &id), "ami-one\n");
    assert_eq!(stdout(&file, &["catalog", "promote", "2", "--to", "current"]), "ami-two current\n");
    assert_eq!(stdout(&file, &id), "ami-two\n");
    let listed = stdout(&file, &["catalog", "list", "server", "--cloud", "aws", "--arch", "x86_64"]);
    let wanted =
        "   1  deprecated  2023-11-14T22:13:20Z  server 1.0.0 x86_64  aws eu-central-1  ami-one  replaced by ami-two
   2  current     2023-11-14T22:13:20Z  server 1.1.0 x86_64  aws eu-central-1  ami-two
";
    assert_eq!(listed, wanted);
    // Another architecture, another cloud: each has a current one of its own.
    stdout(&file, &["catalog", "promote", "ami-arm", "--to", "current"]);
    refused(&file, &id[..6], 64, "2 publications are meant");
    assert_eq!(stdout(&file, &["catalog", "deprecate", "ami-two", "--replaced-by", "ami-arm"]), "ami-two deprecated\n");
    refused(&file, &id, 66, "no publication of it is current there");
    refused(&file, &["catalog", "promote", "ami-two"], 64, "it is deprecated");
    refused(&file, &["catalog", "deprecate", "2", "--replaced-by", "ami-two"], 64, "it would be replaced by itself");
    // What was deprecated may become current again, and is no longer replaced by anything.
    stdout(&file, &["catalog", "promote", "ami-one", "--to", "current"]);
    let shown: serde_json::Value = serde_json::from_str(&stdout(&file, &["catalog", "show", "ami-one"])).unwrap();
    assert_eq!((&shown["state"], &shown["replaced_by"]), (&"current".into(), &serde_json::Value::Null));
}

#[test]
fn what_is_not_there_is_66_and_what_is_unclear_64() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("catalog.sqlite");
    for arguments in [vec!["id", "server", "--cloud", "aws"], vec!["catalog", "list"], vec!["catalog", "promote", "x"]]
    {
        refused(&file, &arguments, 66, "there is no such file");
        assert!(!file.exists(), "{arguments:?} made a catalog");
    }
    filled(&file);
    for arguments in [
        &["catalog", "show", "ami-three"][..],
        &["catalog", "promote", "ami-three"],
        &["catalog", "deprecate", "ami-three"],
        &["catalog", "deprecate", "ami-one", "--replaced-by", "ami-three"],
        &["catalog", "export", "--image", "desktop"],
    ] {
        refused(&file, arguments, 66, "the catalog has no such publication");
    }
    refused(&file, &["catalog", "promote", "ami-one", "--region", "us-east-1"], 66, "no such publication");
    assert_eq!(stdout(&file, &["catalog", "list", "--state", "current"]), "");
}

/// What it answers to a query on its standard input.
fn asked(catalog: &Path, arguments: &[&str], query: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ingot"))
        .args([&["id", "--catalog", catalog.to_str().unwrap()], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_program_of_terraform_asks_in_json_and_gets_an_object_of_texts() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("catalog.sqlite");
    filled(&file);
    stdout(&file, &["catalog", "promote", "ami-two", "--to", "current"]);
    stdout(&file, &["catalog", "promote", "ami-arm", "--to", "current"]);
    let whole = r#"{"name": "server", "cloud": "aws", "region": "eu-central-1", "arch": "x86_64", "version": ""}"#;
    let digest = publication("1.1.0", "x86_64", "aws", "eu-central-1", "ami-two").digest;
    let wanted = serde_json::json!({
        "id": "ami-two", "name": "server", "version": "1.1.0", "arch": "x86_64", "cloud": "aws",
        "region": "eu-central-1", "sha256": digest, "published": "2023-11-14T22:13:20Z",
    });
    // Terraform knows the type `map(string)` only, and reads nothing but that object.
    let answers = [
        asked(&file, &["--query"], whole),
        asked(&file, &["--query", "--arch", "x86_64"], r#"{"name": "server", "cloud": "aws"}"#),
        asked(&file, &["server", "--cloud", "aws", "--arch", "x86_64", "--query"], "{}"),
        ingot(&file, &["id", "server", "--cloud", "aws", "--arch", "x86_64", "--json"]),
    ];
    for output in answers {
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: std::collections::BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(serde_json::json!(answer), wanted);
    }
    for (arguments, query, code, text) in [
        (&["--query"][..], "", 64, "a JSON object is needed"),
        (&["--query"], "[]", 64, "a JSON object is needed"),
        (&["--query"], "{}", 64, "it says no name"),
        (&["--query"], r#"{"name": 3}"#, 64, "`name` is no text"),
        (&["--query"], r#"{"name": "server", "zone": "a"}"#, 64, "an unknown `zone`"),
        (&["--query"], r#"{"name": "server", "cloud": "ec2"}"#, 64, "clouds are aws"),
        (&["server", "--query"], r#"{"name": "server"}"#, 64, "the command line says the name, too"),
        (&["--query"], r#"{"name": "server", "cloud": "aws"}"#, 64, "2 publications are meant"),
        (&["--query"], r#"{"name": "server", "cloud": "gce"}"#, 66, "no publication of it is current there"),
    ] {
        let output = asked(&file, arguments, query);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{query}: {said}");
        assert!(said.contains(text) && output.stdout.is_empty(), "{query}: {said}");
    }
    refused(&file, &["id"], 64, "required");
}

#[test]
fn the_same_publication_is_recorded_once_and_a_new_id_makes_it_a_candidate_again() {
    let scratch = tempfile::tempdir().unwrap();
    let mut catalog = Catalog::open_or_create(&scratch.path().join("c")).unwrap();
    let mut one = publication("1", "x86_64", "aws", "r", "ami-one");
    let first = catalog.record(&one).unwrap();
    catalog.promote(&Filter::default(), Some(State::Current)).unwrap();
    one.published += 1;
    let again = catalog.record(&one).unwrap();
    assert_eq!((again.number, again.state, again.publication.published), (first.number, State::Current, 1_700_000_000));
    one.id = "ami-anew".into();
    let anew = catalog.record(&one).unwrap();
    assert_eq!((anew.number, anew.state, anew.publication.id.as_str()), (first.number, State::Candidate, "ami-anew"));
}

#[test]
fn an_export_has_a_file_for_each_image_and_is_the_same_each_time() {
    let scratch = tempfile::tempdir().unwrap();
    let (file, folder) = (scratch.path().join("c"), scratch.path().join("json"));
    filled(&file);
    stdout(&file, &["catalog", "promote", "ami-two", "--to", "current"]);
    let written = stdout(&file, &["catalog", "export", folder.to_str().unwrap()]);
    assert_eq!(written, format!("{}\n", folder.join("server.json").display()));
    let text = fs::read_to_string(folder.join("server.json")).unwrap();
    assert_eq!(text, stdout(&file, &["catalog", "export", "--image", "server"]));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["stream"], "server");
    assert_eq!(value["metadata"]["last-modified"], "2023-11-14T22:13:20Z");
    let image = &value["architectures"]["x86_64"]["images"]["aws"]["regions"]["eu-central-1"];
    assert_eq!((&image["release"], &image["image"]), (&"1.1.0".into(), &"ami-two".into()));
    assert!(value["architectures"]["aarch64"].is_null(), "only what is current is offered");
    assert_eq!(value["publications"].as_array().unwrap().len(), 4);
    assert_eq!(value["publications"][0]["description"], "d".repeat(64));
}

#[test]
fn a_catalog_of_a_newer_ingot_or_of_another_program_is_refused_and_not_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let newer = scratch.path().join("newer");
    filled(&newer);
    let foreign = scratch.path().join("foreign");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let text = scratch.path().join("text");
    fs::write(&text, "not a database, but longer than the magic of one".repeat(100)).unwrap();
    for (path, says) in [(&newer, "version 2"), (&foreign, "another program"), (&text, "file is not a database")] {
        let before = fs::read(path).unwrap();
        let error = Catalog::open_or_create(path).unwrap_err();
        assert_eq!(error.exit(), Exit::Configuration, "{}", error.text());
        assert!(error.text().contains(says), "{}", error.text());
        refused(path, &["catalog", "list"], 78, says);
        assert_eq!(fs::read(path).unwrap(), before, "{says}");
    }
}

#[test]
fn who_reads_an_empty_file_makes_no_catalog_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("catalog.sqlite");
    fs::write(&file, "").unwrap();
    for arguments in [
        &["catalog", "list"][..],
        &["catalog", "show", "ami-one"],
        &["catalog", "promote", "ami-one"],
        &["catalog", "deprecate", "ami-one"],
        &["catalog", "export", "--image", "server"],
        &["id", "server", "--cloud", "aws"],
    ] {
        refused(&file, arguments, 66, "the file is empty");
        assert_eq!(fs::read(&file).unwrap(), b"", "{arguments:?}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    // Who has something to record may use it.
    filled(&file);
    assert_eq!(stdout(&file, &["catalog", "list", "--cloud", "gce"]).lines().count(), 1);
}

#[test]
fn many_writers_promote_at_once_and_one_is_current() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("c");
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let file = file.clone();
            std::thread::spawn(move || {
                for number in 0..10 {
                    let id = format!("ami-{thread}-{number}");
                    let one = publication(&format!("{thread}.{number}"), "x86_64", "aws", "r", &id);
                    // A connection of its own each time, as another process would have.
                    Catalog::open_or_create(&file).unwrap().record(&one).unwrap();
                    let filter = Filter { id: Some(id), ..Filter::default() };
                    Catalog::open(&file).unwrap().promote(&filter, Some(State::Current)).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let records = Catalog::open(&file).unwrap().list(&Filter::default()).unwrap();
    assert_eq!(records.len(), 40);
    let of = |state| records.iter().filter(|record| record.state == state).count();
    assert_eq!((of(State::Current), of(State::Deprecated)), (1, 39));
    assert!(records.iter().all(|record| record.replaced_by.is_some() == (record.state == State::Deprecated)));
}
