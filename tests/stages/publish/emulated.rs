//! Azure, Google and OpenStack: their own command lines against stand-ins that take long to install. `scripts/test clouds`.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Place, done, killed, refused};
use crate::support::emulator::Emulator;
use crate::support::need;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A release with a disk of 8 MiB in this format, made by qemu-img.
fn disk(name: &str, format: &str, arguments: &[&str]) -> Place {
    let place = Place::new();
    place.raw(8 << 20, &[0, 3, 15]);
    let (raw, file) = (place.release().join("it.raw"), place.release().join(name));
    let convert = ["convert", "-f", "raw"];
    let status = Command::new("qemu-img").args(convert).args(arguments).arg(&raw).arg(&file).status().unwrap();
    assert!(status.success());
    fs::remove_file(raw).unwrap();
    place.list(&[(name, format)]);
    place
}

#[test]
fn a_page_blob_of_azure_is_uploaded_once_compared_and_removed_when_given_up() {
    need!("qemu-img");
    let Some(cloud) = Emulator::start_if_wanted("azure") else { return };
    let place = disk("it.vhd", "vhd-fixed", &["-O", "vpc", "-o", "subformat=fixed,force_size=on"]);
    place.parameters("[azure]\nupload-only = true\nauth-mode = \"key\"\n");
    let target = "azure:devstoreaccount1/images";
    let blobs =
        || json(&cloud.ask("az", &["storage", "blob", "list", "--container-name", "images", "--output", "json"]));
    let (url, _) = done(&mut place.publish(&cloud, target, &[]));
    assert!(url.ends_with(".vhd") && url.contains("/devstoreaccount1/images/it-1.0.0-x86_64-"), "{url}");
    let there = blobs();
    let there = there.as_array().unwrap();
    assert_eq!((there.len(), &there[0]["properties"]["blobType"]), (1, &"PageBlob".into()));
    // The service gives back what was sent.
    let (name, back) = (there[0]["name"].as_str().unwrap(), place.join("back"));
    let download = ["storage", "blob", "download", "--container-name", "images", "--name", name, "--file"];
    cloud.ask("az", &[&download[..], &[back.to_str().unwrap(), "--no-progress"]].concat());
    assert!(fs::read(back).unwrap() == fs::read(place.release().join("it.vhd")).unwrap());
    // Nothing twice, neither here nor from another host.
    assert_eq!(done(&mut place.publish(&cloud, target, &[])).0, url);
    place.forget();
    let (again, said) = done(&mut place.publish(&cloud, target, &[]));
    assert!(again == url && !said.contains("upload "), "{said}");
    assert_eq!(place.catalog(), [(url, "candidate".to_string())]);

    refused(&mut place.publish(&cloud, "azure:devstoreaccount1/none", &["--retries", "0"]), 66, "ingot makes no");
    let mut wrong = place.publish(&cloud, "azure:devstoreaccount1/images2", &["--retries", "0"]);
    let connection = cloud.value("AZURE_STORAGE_CONNECTION_STRING").replace("AccountKey=Eby8", "AccountKey=Abc8");
    let said = refused(wrong.env("AZURE_STORAGE_CONNECTION_STRING", &connection), 77, "lack a permission");
    assert!(!said.contains("Abc8vdM02"), "{said}");

    // `az image create` has no stand-in: up to that call, which asks for a login that is not there.
    place.forget();
    place.parameters("[azure]\nresource-group = \"golden\"\nauth-mode = \"key\"\n");
    let said = refused(&mut place.publish(&cloud, target, &["--retries", "0"]), 78, "az login");
    assert!(said.contains("nothing was made there"), "{said}");
    assert_eq!(blobs().as_array().unwrap().len(), 1);

    // So its arguments are shown to az itself: a wrong one ends with 2, before it asks for the login.
    place.parameters(
        "[azure]\nresource-group = \"golden\"\nlocation = \"westeurope\"\nhyper-v-generation = \"V2\"\n\
         tags = { team = \"golden images\" }\n",
    );
    let (lines, _) = done(&mut place.publish(&cloud, target, &["--dry-run"]));
    let lines: Vec<&str> = lines.lines().filter(|line| line.starts_with("az image ")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let az = |line: &str| {
        let output = cloud.command("sh").args(["-c", line]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for line in &lines {
        let (code, said) = az(line);
        assert!(code == Some(1) && said.contains("az login"), "{line}: {code:?} {said}");
    }
    let create = lines.iter().find(|line| line.starts_with("az image create")).unwrap();
    assert_eq!(az(&create.replace("--os-type", "--operating-system")).0, Some(2));
    assert_eq!(az(&create.replace(" V2 ", " V3 ")).0, Some(2));
}

#[test]
fn an_object_of_google_is_uploaded_once_compared_and_removed_when_given_up() {
    let Some(cloud) = Emulator::start_if_wanted("gce") else { return };
    let place = Place::new();
    place.raw(3 << 20, &[0, 1, 2, 3, 4]);
    fs::rename(place.release().join("it.raw"), place.release().join("it.tar.gz")).unwrap();
    place.list(&[("it.tar.gz", "gce")]);
    place.parameters("[gce]\ntool = \"gsutil\"\nupload-only = true\n");
    let target = "gce:project/images";
    let (url, _) = done(&mut place.publish(&cloud, target, &[]));
    assert!(url.starts_with("gs://images/ingot/") && url.ends_with(".tar.gz"), "{url}");
    let back = place.join("back");
    cloud.ask("gsutil", &["cp", &url, back.to_str().unwrap()]);
    assert!(fs::read(back).unwrap() == fs::read(place.release().join("it.tar.gz")).unwrap());
    assert_eq!(done(&mut place.publish(&cloud, target, &[])).0, url);
    place.forget();
    let (again, said) = done(&mut place.publish(&cloud, target, &[]));
    assert!(again == url && !said.contains("upload "), "{said}");
    assert_eq!(place.catalog(), [(url.clone(), "candidate".to_string())]);
    refused(&mut place.publish(&cloud, "gce:project/none", &["--retries", "0"]), 66, "ingot makes no");

    // The image is made by gcloud, which no registry of packages has, or which has no login here: nothing is sent before it
    // was asked.
    cloud.ask("gsutil", &["rm", &url]);
    place.forget();
    place.parameters("[gce]\ntool = \"gsutil\"\n");
    let has_gcloud = std::env::split_paths(&cloud.value("PATH")).any(|folder| folder.join("gcloud").is_file());
    let code = if has_gcloud { 78 } else { 69 };
    let said = refused(&mut place.publish(&cloud, target, &["--retries", "0"]), code, "gcloud");
    assert!(said.contains("nothing was made there"), "{said}");
    let list = ["ls", "gs://images/**"];
    assert!(!cloud.command("gsutil").args(list).output().unwrap().status.success(), "an object was left");
}

#[test]
fn an_image_of_glance_is_made_once_compared_and_removed_when_given_up() {
    need!("qemu-img");
    let Some(cloud) = Emulator::start_if_wanted("openstack") else { return };
    let place = disk("it.qcow2", "qcow2", &["-O", "qcow2"]);
    place.parameters("[openstack]\nproperties = { os_distro = \"debian\" }\ntags = [\"golden\"]\nmin-ram = 256\n");
    let target = "openstack:lab";
    let openstack = |arguments: &[&str]| json(&cloud.ask("openstack", &[&["--os-cloud", "lab"], arguments].concat()));
    let images = || openstack(&["image", "list", "-f", "json"]).as_array().unwrap().len();
    let (id, _) = done(&mut place.publish(&cloud, target, &[]));
    let shown = openstack(&["image", "show", "-f", "json", &id]);
    assert_eq!(
        (&shown["disk_format"], &shown["min_disk"], &shown["min_ram"]),
        (&"qcow2".into(), &1.into(), &256.into())
    );
    assert_eq!((&shown["properties"]["os_distro"], &shown["tags"][0]), (&"debian".into(), &"golden".into()));
    let back = place.join("back");
    cloud.ask("openstack", &["--os-cloud", "lab", "image", "save", "--file", back.to_str().unwrap(), &id]);
    assert!(fs::read(back).unwrap() == fs::read(place.release().join("it.qcow2")).unwrap());
    assert_eq!(done(&mut place.publish(&cloud, target, &[])).0, id);
    place.forget();
    assert_eq!((done(&mut place.publish(&cloud, target, &[])).0, images()), (id.clone(), 1));
    assert_eq!(place.catalog(), [(id.clone(), "candidate".to_string())]);
    refused(&mut place.publish(&cloud, "openstack:nowhere", &["--retries", "0"]), 66, "nowhere");
    let mut wrong = place.publish(&cloud, target, &["--retries", "0"]);
    let clouds = fs::read_to_string(cloud.value("OS_CLIENT_CONFIG_FILE")).unwrap();
    let file = place.join("clouds.yaml");
    fs::write(&file, clouds.replace("emulated-password", "wrong-password")).unwrap();
    place.parameters("[openstack]\nname = \"another\"\n");
    place.forget();
    let said = refused(wrong.env("OS_CLIENT_CONFIG_FILE", &file), 77, "HTTP 401");
    assert!(!said.contains("wrong-password") && said.contains("nothing was made there"), "{said}");

    // Killed while the image was being made, or just after: it is found, and removed.
    cloud.ask("openstack", &["--os-cloud", "lab", "image", "delete", &id]);
    let mut command = place.publish(&cloud, target, &[]);
    killed(&mut command, || {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while images() == 0 {
            assert!(std::time::Instant::now() < until, "no image appears");
        }
    });
    let (_, said) = done(&mut place.ingot(&cloud, &["publish", "--abort"]));
    assert!(said.contains("removed") || said.contains("nothing is unfinished"), "{said}");
    assert_eq!((images(), place.unfinished().len()), (0, 0), "{said}");
}
