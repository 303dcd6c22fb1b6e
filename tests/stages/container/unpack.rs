//! Archives opened again: layers laid over each other, hostile ones, those of other programs.

use std::fs;

use ingot::container::{self, Form};
use ingot::error::Exit;
use ingot::host::rooted::{RootPath, Rooted};
use ingot::plan::ContainerArchive;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Place, assert_same, expected, listing, owners, plan, run, scrubbed, text, tree, write};
use crate::support::need;

/// A layer made by the `tar` crate: (name, content or symlink).
enum Member<'a> {
    File(&'a str, &'a str),
    Link(&'a str, &'a str),
    Folder(&'a str),
}

fn layer(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        let (name, kind, content, mode) = match member {
            Member::File(name, content) => (name, tar::EntryType::Regular, *content, 0o644),
            Member::Link(name, target) => {
                header.set_link_name_literal(target.as_bytes()).unwrap();
                (name, tar::EntryType::Symlink, "", 0o777)
            }
            Member::Folder(name) => (name, tar::EntryType::Directory, "", 0o755),
        };
        // The crate refuses `..` in names that it writes; an attacker does not.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(7);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// An OCI layout in a tar, put together by hand.
fn oci_archive(layers: &[Vec<u8>], spoil: impl Fn(&mut Value)) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    let descriptor =
        |content: &[u8], kind: &str| json!({"mediaType": kind, "digest": digest(content), "size": content.len()});
    let mut everything = json!({
        "config": {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}},
        "layers": layers.iter().map(|layer| descriptor(layer, "application/vnd.oci.image.layer.v1.tar")).collect::<Vec<_>>(),
        "manifests": 1,
    });
    spoil(&mut everything);
    let config = everything["config"].to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "config": descriptor(&config, "c"), "layers": everything["layers"]});
    let manifest = manifest.to_string().into_bytes();
    let images = vec![
        descriptor(&manifest, "application/vnd.oci.image.manifest.v1+json");
        everything["manifests"].as_u64().unwrap() as usize
    ];
    let index = json!({"schemaVersion": 2, "manifests": images}).to_string().into_bytes();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("oci-layout", b"{\"imageLayoutVersion\": \"1.0.0\"}");
    add("index.json", &index);
    for blob in [&config, &manifest].into_iter().chain(layers) {
        add(&format!("blobs/sha256/{}", &digest(blob)[7..]), blob);
    }
    builder.into_inner().unwrap()
}

fn unpack(archive: &[u8], place: &Place) -> ingot::error::Result<(Vec<String>, container::Unpacked)> {
    let path = place.join("archive");
    fs::write(&path, archive).unwrap();
    let into = tempfile::tempdir_in(&place.path).unwrap();
    let rooted = Rooted::open(into.path()).unwrap();
    let unpacked = container::unpack(&path, &rooted, owners())?;
    let names = rooted.walk(&RootPath::root())?.into_iter().skip(1).map(|entry| entry.path.to_string());
    Ok((names.collect(), unpacked))
}

#[test]
fn whiteouts_hide_what_is_below_and_never_what_is_beside() {
    use Member::*;
    let base = layer(&[
        Folder("a/"),
        File("a/kept", "1"),
        File("a/gone", "1"),
        Folder("b/"),
        File("b/old", "1"),
        File("b/deep/old", "1"),
        File("c/x/y", "1"),
        Link("link", "a"),
        File("becomes-folder", "1"),
        Folder("becomes-file/"),
        File("becomes-file/x", "1"),
    ]);
    let top = layer(&[
        File("a/.wh.gone", ""),
        File("b/deep/new", "2"),
        File("b/.wh..wh..opq", ""),
        File("b/new", "2"),
        File(".wh.c", ""),
        File(".wh.link", ""),
        File(".wh..wh.plnk/7.3", ""),
        Folder("becomes-folder/"),
        File("becomes-folder/x", "2"),
        File("becomes-file", "2"),
    ]);
    let place = Place::new();
    let (names, unpacked) = unpack(&oci_archive(&[base, top], |_| ()), &place).unwrap();
    assert_eq!((unpacked.form, unpacked.layers), (Form::Oci, 2));
    let wanted = [
        "/.wh..wh.plnk",
        "/.wh..wh.plnk/7.3",
        "/a",
        "/a/kept",
        "/b",
        "/b/deep",
        "/b/deep/new",
        "/b/new",
        "/becomes-file",
        "/becomes-folder",
        "/becomes-folder/x",
    ];
    let names: Vec<_> = names.iter().filter(|name| !name.contains("plnk")).collect();
    let wanted: Vec<_> = wanted.iter().filter(|name| !name.contains("plnk")).collect();
    assert_eq!(names, wanted);
}

#[test]
fn hostile_layers_stay_inside_and_wrong_digests_are_76() {
    use Member::*;
    let place = Place::new();
    fs::write(place.join("canary"), "host").unwrap();
    let outside = text(&place.path).to_string();
    let escapes = [
        vec![Link("up", "../.."), File("up/canary", "x")],
        vec![Link("absolute", &outside), File("absolute/canary", "x")],
        vec![Link("up", "../.."), File("up/.wh.canary", "")],
        vec![File("../../.wh.canary", "")],
        vec![Link("up", "../.."), File("up/.wh..wh..opq", "")],
    ];
    for members in &escapes {
        let _ = unpack(&oci_archive(&[layer(&[File("a", "1")]), layer(members)], |_| ()), &place);
        assert_eq!(fs::read(place.join("canary")).unwrap(), b"host");
    }
    for members in [vec![File("a/.wh.", "")], vec![File("a/.wh..", "")], vec![File("a/.wh...", "")]] {
        let error = unpack(&oci_archive(&[layer(&members)], |_| ()), &place).unwrap_err();
        assert_eq!(error.exit(), Exit::Description);
    }
    let good = layer(&[File("a", "1")]);
    type Spoil = fn(&mut Value);
    let spoilt: [(Spoil, Exit, &str); 5] = [
        (|all| all["config"]["rootfs"]["diff_ids"][0] = json!(digest(b"x")), Exit::Integrity, "does not match"),
        (|all| all["layers"][0]["digest"] = json!(digest(b"x")), Exit::Description, "has no `/blobs/sha256/"),
        (|all| all["layers"][0]["digest"] = json!("sha256:../../etc/passwd"), Exit::Description, "no SHA-256 digest"),
        (|all| all["layers"] = json!([]), Exit::Description, "0 layers"),
        (|all| all["manifests"] = json!(0), Exit::Description, "0 images"),
    ];
    for (spoil, exit, reason) in spoilt {
        let error = unpack(&oci_archive(std::slice::from_ref(&good), spoil), &place).unwrap_err();
        assert_eq!(error.exit(), exit, "{}", error.text());
        assert!(error.text().contains(reason), "{}", error.text());
    }
    // A blob whose bytes changed after the index was written.
    let mut archive = oci_archive(&[layer(&[File("marker", "content-to-change")])], |_| ());
    let at = archive.windows(17).position(|window| window == b"content-to-change").unwrap();
    archive[at] ^= 1;
    assert_eq!(unpack(&archive, &place).unwrap_err().exit(), Exit::Integrity);
}

#[test]
fn archives_of_other_programs_are_opened_compressed_or_not() {
    need!("skopeo", "xz");
    let place = Place::new();
    let root = tree(&place.join("tree"));
    write(&scrubbed(&place.join("tree")), &plan(ContainerArchive::Oci), &place.path);
    let oci = format!("oci-archive:{}:1.0", place.join("example.oci.tar").display());
    let docker = place.join("by-skopeo.tar");
    run("skopeo", &["copy", "-q", &oci, &format!("docker-archive:{}:a/b:c", docker.display())]);
    let other = place.join("by-skopeo.oci.tar");
    run("skopeo", &["copy", "-q", &oci, &format!("oci-archive:{}:c", other.display())]);
    run("xz", &["-k", "-0", text(&docker)]);
    let compressed = place.join("by-skopeo.tar.xz");
    for (path, form) in [(docker, Form::Docker), (other, Form::Oci), (compressed, Form::Docker)] {
        let into =
            Rooted::open(&place.folder(path.file_name().unwrap().to_str().unwrap().replace(".tar", "-into").as_str()))
                .unwrap();
        let unpacked = container::unpack(&path, &into, owners()).unwrap();
        assert_eq!(unpacked.form, form);
        assert_same(&listing(&into), &expected(&root), text(&path));
    }
}

#[test]
fn what_is_no_archive_is_65() {
    let place = Place::new();
    for content in [b"no archive at all, but longer than a tar block".repeat(20), Vec::from(b"\x1f\x8b\x08 broken")] {
        let error = unpack(&content, &place).unwrap_err();
        assert!(matches!(error.exit(), Exit::Description | Exit::Io), "{}", error.text());
    }
}
