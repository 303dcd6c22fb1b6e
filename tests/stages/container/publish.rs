//! A release brought to a real registry on loopback, and what is recorded of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ingot::container;
use ingot::pieces::Pieces;
use ingot::plan::ContainerArchive;
use ingot::report::Reporter;
use serde_json::{Value, json};

use super::{Place, image, plan, run, scrubbed, text, tree};
use crate::support::need;

/// Debian's docker-registry, which ends with the test.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(place: &Place) -> Registry {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let data = place.join("registry");
        let settings = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": text(&data)}},
            "http": {"addr": address},
        });
        // JSON is YAML.
        let file = place.join("registry.yml");
        fs::write(&file, settings.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", text(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "the registry does not answer at {address}");
            std::thread::yield_now();
        }
        Registry { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A folder with a docker archive and the manifest of a release.
fn release(place: &Place) -> String {
    tree(&place.join("tree"));
    let scrubbed = scrubbed(&place.join("tree"));
    let folder = place.join("release");
    fs::create_dir(&folder).unwrap();
    let plan = plan(ContainerArchive::Docker);
    let image = image();
    let order = container::Order { tree: &scrubbed, plan: &plan, image: &image, base: None, disk: None };
    let step = Reporter::silent().step("container");
    let written = container::write(&order, &folder, "it", &mut Pieces::ignored(), None, &step).unwrap();
    let manifest = json!({
        "schema": 1,
        "name": "it", "version": "1.0.0", "arch": "x86_64",
        "description": {"file": "config.xml", "sha256": "ab", "inputs": {}},
        "packages": [],
        "artifacts": [written.artifact],
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    text(&folder).to_string()
}

fn ingot(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ingot"))
        .args(arguments)
        .env("XDG_STATE_HOME", place.join("state"))
        .output()
        .unwrap()
}

/// What it printed, where it ended well.
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_string()
}

#[test]
fn a_container_is_published_once_to_a_registry_and_recorded() {
    need!("skopeo", "docker-registry");
    let place = Place::new();
    let registry = Registry::start(&place);
    let release = release(&place);
    let parameters = place.join("publish.toml");
    fs::write(&parameters, "[registry]\ntls-verify = false\ntags = [\"latest\"]\n").unwrap();
    let repository = format!("{}/golden/it", registry.address);
    let target = format!("registry:{repository}:1.0.0");
    let publish = ["publish", &release, "--to", &target, "--parameters", text(&parameters), "--retries", "0"];

    // What would be done, and nothing is.
    let shown = printed(ingot(&place, &[&publish[..], &["--dry-run"]].concat()));
    let copy = format!("docker://{repository}:1.0.0");
    assert!(shown.lines().any(|line| line.starts_with("skopeo copy") && line.ends_with(&copy)), "{shown}");
    assert!(!place.join("registry/docker").exists());

    let id = printed(ingot(&place, &publish));
    assert!(id.starts_with(&format!("{repository}@sha256:")), "{id}");
    let remote = |reference: &str| -> Value {
        serde_json::from_str(&run("skopeo", &["inspect", "--tls-verify=false", "--raw", reference])).unwrap()
    };
    let archive = format!("docker-archive:{release}/it.docker.tar");
    let ours: Value = serde_json::from_str(&run("skopeo", &["inspect", "--raw", &archive])).unwrap();
    for reference in [&copy, &format!("docker://{repository}:latest"), &format!("docker://{id}")] {
        assert_eq!(remote(reference)["config"]["digest"], ours["config"]["digest"], "{reference}");
    }

    // A second time nothing is uploaded, and there is still one record.
    assert_eq!(printed(ingot(&place, &publish)), id);
    let list = printed(ingot(&place, &["catalog", "list"]));
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("candidate") && list.contains(&id), "{list}");

    // Nothing is current before somebody says so.
    let ask = ["id", "it", "--cloud", "registry", "--region", &repository];
    assert_eq!(ingot(&place, &ask).status.code(), Some(66));
    for state in ["tested", "current"] {
        printed(ingot(&place, &["catalog", "promote", &id, "--to", state]));
    }
    assert_eq!(printed(ingot(&place, &ask)), id);
}

#[test]
fn what_cannot_be_published_is_refused_before_anything_is_there() {
    need!("skopeo", "docker-registry");
    let place = Place::new();
    let registry = Registry::start(&place);
    let release = release(&place);
    let target = format!("registry:{}/it:1", registry.address);
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let output = ingot(&place, &[&["publish", &release, "--retries", "0"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    };
    let wrong = place.join("wrong.toml");
    fs::write(&wrong, "[registry]\ntls_verify = false\n").unwrap();
    refused(&["--to", &target, "--parameters", text(&wrong)], 78, "tls-verify");
    refused(&["--to", "moon:base"], 64, "moon");
    refused(&["--to", "openstack:lab"], 66, "qcow2");
    let path = place.join("release/it.docker.tar");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, bytes).unwrap();
    refused(&["--to", &target], 76, "it.docker.tar");
    assert!(!place.join("registry/docker").exists());
}
