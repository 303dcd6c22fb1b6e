//! Indexes of images for several machines, put together from archives and read by skopeo.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use ingot::container;
use ingot::pieces::Pieces;
use ingot::plan::{ContainerArchive, Image};
use ingot::report::Reporter;
use serde_json::Value;

use super::{Place, image, plan, run, scrubbed, text, tree};
use crate::support::{archives, layout, need};

fn ingot(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ingot")).args(arguments).output().unwrap()
}

/// The same tree as an image for two machines, one of each kind of archive.
fn two(place: &Place) -> [String; 2] {
    tree(&place.join("tree"));
    let scrubbed = scrubbed(&place.join("tree"));
    [("x86_64", ContainerArchive::Oci, "oci"), ("aarch64", ContainerArchive::Docker, "docker")].map(
        |(arch, archive, end)| {
            let mut plan = plan(archive);
            plan.additional_names.clear();
            let image = Image { arch: arch.into(), ..image() };
            let order = container::Order { tree: &scrubbed, plan: &plan, image: &image, base: None, disk: None };
            let step = Reporter::silent().step("container");
            container::write(&order, &place.path, arch, &mut Pieces::ignored(), None, &step).unwrap();
            text(&place.join(&format!("{arch}.{end}.tar"))).to_string()
        },
    )
}

#[test]
fn an_index_has_an_image_for_each_machine_and_shared_layers_once() {
    need!("skopeo");
    let place = Place::new();
    let [one, other] = two(&place);
    let archive = place.join("both.oci.tar");
    let made = ingot(&["index", text(&archive), "--quiet", "--from", &one, &other, "--name", "example.org/both:3"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let raw: Value =
        serde_json::from_str(&run("skopeo", &["inspect", "--raw", &format!("oci-archive:{}:3", archive.display())]))
            .unwrap();
    let platforms: BTreeSet<(&str, Option<&str>)> = raw["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["platform"]["architecture"].as_str().unwrap(), one["platform"]["variant"].as_str()))
        .collect();
    assert_eq!(platforms, [("amd64", None), ("arm64", Some("v8"))].into());
    let layout = place.join("copied");
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--multi-arch",
            "all",
            &format!("oci-archive:{}:3", archive.display()),
            &format!("oci:{}:3", layout.display()),
        ],
    );
    // An index, two manifests, two configurations, and one layer of both.
    assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 6);

    // The same as a folder, from the index itself, with the same bytes.
    let folder = place.join("folder");
    let made = ingot(&["index", text(&folder), "--quiet", "--from", text(&archive), "--name", "example.org/both:3"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let again = run("skopeo", &["inspect", "--raw", &format!("oci:{}:3", folder.display())]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), raw);
}

#[test]
fn two_images_for_one_machine_damage_and_what_is_there_are_refused() {
    let place = Place::new();
    let [one, _] = two(&place);
    fs::write(place.join("there.tar"), "mine").unwrap();
    fs::write(place.join("text"), "no archive").unwrap();
    let mut bytes = fs::read(&one).unwrap();
    // The layer follows three headers; this byte of it says which system compressed it, and changes no file.
    bytes[3 * 512 + 9] ^= 1;
    fs::write(place.join("damaged.oci.tar"), bytes).unwrap();
    let endless = place.join("endless");
    layout::write(&endless, &[(layout::zeros(2 << 30), layout::digest(b""))], serde_json::json!({}));
    // A layer that ends too early, under its right digest; one that is spoilt, under its old one; none at all.
    let layer = archives::gzip(&layout::layer(&[layout::Member::File("x", &"text ".repeat(1000), 0o644)]));
    let cut = place.join("cut");
    layout::write(&cut, &[(layer[..layer.len() - 9].to_vec(), layout::digest(b""))], serde_json::json!({}));
    let spoilt = place.join("spoilt");
    layout::write(&spoilt, &[(layer.clone(), layout::digest(b""))], serde_json::json!({}));
    let blob = spoilt.join("blobs/sha256").join(&layout::digest(&layer)[7..]);
    fs::write(blob, [&layer[..20], &[0xff; 40], &layer[60..]].concat()).unwrap();
    let empty = place.join("empty");
    layout::write(&empty, &[], serde_json::json!({}));
    fs::write(empty.join("index.json"), "{\"schemaVersion\":2,\"manifests\":[]}").unwrap();
    let (out, there) = (place.join("out.tar"), place.join("there.tar"));
    let [damaged, no_archive, nowhere] = ["damaged.oci.tar", "text", "nowhere"].map(|name| place.join(name));
    for (to, from, code, said) in [
        (&out, vec![one.as_str(), one.as_str()], 65, "linux/amd64"),
        (&out, vec![text(&damaged)], 76, "damaged.oci.tar"),
        (&out, vec![text(&no_archive)], 65, "text"),
        (&out, vec![text(&nowhere)], 66, "nowhere"),
        (&out, vec![text(&cut)], 65, "cannot read the archive"),
        (&out, vec![text(&spoilt)], 76, "does not match"),
        (&out, vec![text(&empty)], 65, "none in them"),
        (&out, vec![text(&endless)], 65, "made to fill disks"),
        (&there, vec![one.as_str()], 73, "exists"),
    ] {
        let answer = ingot(&[&["index", text(to), "--from"], from.as_slice()].concat());
        let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(answer.status.code() == Some(code) && stderr.contains(said), "{:?} {stderr}", answer.status);
        assert!(!out.exists());
    }
    let left: Vec<_> = fs::read_dir(&place.path).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}
