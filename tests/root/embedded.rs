//! Containers that a system holds: archives in the image, pinned by digest, that its first start loads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::image::{Bench, Description, result, root_filesystem, unpack};
use crate::support::layout;
use crate::support::program::{run, text};
use crate::support::registry::{PASSWORD, Registry, TOKEN};
use crate::support::{need, together};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An image whose system seems to be able to load containers.
fn able(description: Description) -> Description {
    description.file("root/usr/bin/podman", "#!/bin/sh\n").file("root/usr/lib/systemd/systemd", "#!/bin/sh\n")
}

fn holding(description: Description, sections: &str) -> Description {
    description.edit("  <repository", &format!("{sections}\n  <repository"))
}

/// A tree as `.tar.xz`, in place of a container.
fn tarball(bench: &Bench, sections: &str) -> Description {
    let kind = "<type image=\"docker\"><containerconfig name=\"tiny\" tag=\"1\"><entrypoint \
                execute=\"/usr/bin/tiny-app\"/></containerconfig></type>";
    holding(Description::container(&bench.world, &bench.path("holder")).edit(kind, "<type image=\"tbz\"/>"), sections)
}

/// The tiny container as an archive.
fn tiny(bench: &Bench) -> PathBuf {
    bench.build_into(&bench.container(), "tiny").run().expect(0);
    result(&bench.path("tiny"), ".docker.tar")
}

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &str) -> bool {
    let found = Command::new("grep")
        .args(["--recursive", "--quiet", "--text", "--fixed-strings", "--", bytes])
        .arg(folder)
        .status();
    found.unwrap().success()
}

#[test]
fn a_disk_holds_containers_of_a_registry_and_of_an_archive_and_loads_them() {
    need!(root);
    need!("podman", "runc", "skopeo", "docker-registry", "debugfs", "dumpe2fs", "systemd-analyze");
    let _turn = together();
    let bench = Bench::new();
    let tiny = tiny(&bench);
    let registry = Registry::start(&bench.path("registry"));
    let remote = format!("{}/team/app:2", registry.address);
    registry.skopeo(&[
        "copy",
        "-q",
        "--format",
        "oci",
        &format!("docker-archive:{}", text(&tiny)),
        &format!("docker://{remote}"),
    ]);
    let digest = registry.skopeo(&["inspect", "--format", "{{.Digest}}", &format!("docker://{remote}")]);
    let digest = digest.trim();

    let sections = format!(
        "<containers source=\"{}\" backend=\"podman\"><container name=\"app\" tag=\"2\" path=\"team\"/></containers>\n\
         <containers source=\"this://images\" backend=\"podman\">\
         <container name=\"tiny\" path=\"tiny.tar\" fetch_only=\"true\"/>\
         <container name=\"other\" arch=\"s390x\"/></containers>\n\
         <extension><i:container xmlns:i=\"urn:ingot:1\" name=\"app\" digest=\"{digest}\"/></extension>",
        registry.address
    );
    let description = able(holding(bench.disk(), &sections)).file("images/tiny.tar", fs::read(&tiny).unwrap());
    let description = description.script("config.sh", "test -s /var/tmp/kiwi_containers/app_2");
    let configuration = registry.configuration.clone();
    let build = |target: &str| {
        let build = bench.build_into(&description, target);
        build.env("CONTAINERS_REGISTRIES_CONF", text(&configuration))
    };
    // Whoever has no password does not get in.
    build("denied").run().expect(77).says(&["app:2"]);
    build("out").args(["--authfile", text(&registry.credentials), "--verbose"]).run().expect(0);
    for secret in [PASSWORD, TOKEN] {
        assert!(!holds(&bench.path("out"), secret), "{secret}");
    }

    // What the image holds, as debugfs sees it.
    let raw = bench.path("disk.raw");
    run("qemu-img", &["convert", "-O", "raw", text(&result(&bench.path("out"), ".qcow2")), text(&raw)]);
    let (filesystem, tree) = (bench.path("root.ext4"), bench.path("tree"));
    root_filesystem(&raw, &filesystem);
    fs::create_dir(&tree).unwrap();
    for folder in ["/etc", "/usr", "/var"] {
        run("debugfs", &["-R", &format!("rdump {folder} {}", text(&tree)), text(&filesystem)]);
    }
    assert!(!holds(&tree, TOKEN) && !holds(&tree, PASSWORD));
    let folder = tree.join("var/lib/ingot/containers");
    let unit = tree.join("etc/systemd/system/kiwi_containers.service");
    let wanted = tree.join("etc/systemd/system/multi-user.target.wants/kiwi_containers.service");
    assert_eq!(fs::read_link(wanted).unwrap(), Path::new("/etc/systemd/system/kiwi_containers.service"));
    let lines = fs::read_to_string(&unit).unwrap();
    let archive = "/var/lib/ingot/containers/app_2";
    let command = format!("test ! -e {archive} || {{ /usr/bin/podman load -i {archive} && sync && rm {archive}; }}");
    assert!(lines.contains(&format!("\nExecStart=-/bin/sh -c '{command}'\n")), "{lines}");
    assert!(
        lines.contains(&format!("\nConditionPathExists=|{archive}\n")) && !lines.contains("tiny_latest"),
        "{lines}"
    );
    let lines = fs::read_to_string(tree.join("usr/lib/tmpfiles.d/kiwi_containers.conf")).unwrap();
    assert_eq!(lines, "L /var/tmp/kiwi_containers - - - - /var/lib/ingot/containers\n");
    assert!(fs::symlink_metadata(tree.join("var/tmp/kiwi_containers")).is_err());
    run("systemd-analyze", &["verify", "--man=no", text(&unit)]);

    // The digests are those that the manifest names.
    let release = read(&bench.path("out").join("manifest.json"));
    let held = release["containers"].as_array().unwrap();
    assert_eq!(held.len(), 2);
    assert_eq!((&held[0]["digest"], &held[0]["name"]), (&Value::from(digest), &Value::from(remote.as_str())));
    assert_eq!(held[0]["path"], archive);
    assert_eq!(held[1]["name"], "localhost/tiny:latest");
    let app = folder.join("app_2");
    let inspected = run("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{}", text(&app))]);
    assert_eq!(inspected.trim(), digest);

    // podman loads both under their names, and runs one.
    let (storage, state) = (bench.path("storage"), bench.path("state"));
    let podman = |arguments: &[&str]| {
        let store =
            ["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs", "--runtime", "runc"];
        run("podman", &[&store, arguments].concat())
    };
    podman(&["load", "-i", text(&app)]);
    podman(&["load", "-i", text(&folder.join("tiny_latest"))]);
    let mut names: Vec<String> =
        podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).lines().map(str::to_string).collect();
    names.sort();
    assert_eq!(names, [remote.as_str(), "localhost/tiny:latest"]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--rm"];
    assert_eq!(podman(&[&["run"], &limits[..], &[&remote, "word"]].concat()), "tiny-app word\n");
    podman(&["rmi", "--force", "--all"]);

    // What Docker reads is there, too: the same image under the same name.
    let layout = bench.path("layout");
    unpack(&app, &layout);
    let docker = read(&layout.join("manifest.json"));
    assert_eq!(docker[0]["RepoTags"], serde_json::json!([remote]));
    let docker = run("skopeo", &["inspect", "--config", &format!("docker-archive:{}", text(&app))]);
    assert_eq!(docker, run("skopeo", &["inspect", "--config", &format!("oci-archive:{}", text(&app))]));

    // The disk is as large as its content, and what is loaded has room on it.
    let layer = layout.join(read(&layout.join("manifest.json"))[0]["Layers"][0].as_str().unwrap());
    let unpacked = run("sh", &["-c", &format!("zcat -f {} | wc -c", text(&layer))]);
    let superblock = run("dumpe2fs", &["-h", text(&filesystem)]);
    let number = |name: &str| -> u64 {
        let line = superblock.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (free, unpacked) = (number("Free blocks:") * number("Block size:"), unpacked.trim().parse::<u64>().unwrap());
    assert!(free > unpacked + (64 << 20), "{free} bytes are free for {unpacked}");

    // What is pinned and in the cache needs no registry, and gives the same bytes.
    drop(registry);
    build("again").arg("--no-stage-cache").run().expect(0);
    let bytes = |target: &str| fs::read(result(&bench.path(target), ".qcow2")).unwrap();
    assert!(bytes("out") == bytes("again"));
}

/// Starts a oneshot unit of a tree as systemd does (systemd.service(5)): one command after the other, up to the first that
/// fails and has no `-`. Whether the unit has not failed.
fn start(unit: &str, tree: &Path) -> bool {
    let mut commands = unit.lines().filter_map(|line| line.strip_prefix("ExecStart="));
    commands.all(|line| {
        let command = line.trim_start_matches('-');
        let done = Command::new("sh").args(["-c", &format!("chroot \"$0\" {command}"), text(tree)]).status().unwrap();
        done.success() || line.starts_with('-')
    })
}

#[test]
fn a_container_that_cannot_be_loaded_keeps_no_other_one_from_it_and_is_tried_again() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let tiny = tiny(&bench);
    let names = ["first", "second", "third"];
    let containers = names.map(|name| format!("<container name=\"{name}\" path=\"{name}.tar\"/>")).concat();
    let sections = format!("<containers source=\"this://images\" backend=\"podman\">{containers}</containers>");
    let description = names.into_iter().fold(able(tarball(&bench, &sections)), |description, name| {
        description.file(format!("images/{name}.tar"), fs::read(&tiny).unwrap())
    });
    // Loads what it is told to, unless somebody spoilt it.
    let podman = "#!/bin/sh\n[ ! -e /spoilt-${3##*/} ] || { echo 'podman: this is no archive' >&2; exit 125; }\n\
                  echo \"$*\" >>/loaded\n";
    bench.build(&description.file("root/usr/bin/podman", podman)).run().expect(0);
    let tree = bench.path("tree");
    unpack(&result(&bench.path("out"), ".tar.xz"), &tree);
    fs::set_permissions(tree.join("usr/bin/podman"), fs::Permissions::from_mode(0o755)).unwrap();
    let unit = fs::read_to_string(tree.join("etc/systemd/system/kiwi_containers.service")).unwrap();
    let kept = || {
        let folder = fs::read_dir(tree.join("var/lib/ingot/containers")).unwrap();
        let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let loaded = || fs::read_to_string(tree.join("loaded")).unwrap().replace("load -i /var/lib/ingot/containers/", "");
    for name in ["first_latest", "third_latest"] {
        fs::write(tree.join(format!("spoilt-{name}")), "").unwrap();
    }
    assert_eq!(kept(), names.map(|name| format!("{name}_latest")));
    assert!(!start(&unit, &tree), "what is not loaded is a failure");
    assert_eq!((loaded(), kept()), ("second_latest\n".into(), vec!["first_latest".into(), "third_latest".into()]));
    // The next start finds the reason gone.
    fs::remove_file(tree.join("spoilt-first_latest")).unwrap();
    assert!(!start(&unit, &tree));
    assert_eq!(kept(), ["third_latest"]);
    fs::remove_file(tree.join("spoilt-third_latest")).unwrap();
    assert!(start(&unit, &tree));
    assert_eq!((loaded(), kept()), ("second_latest\nfirst_latest\nthird_latest\n".into(), Vec::new()));
}

#[test]
fn containers_that_cannot_be_embedded_or_loaded_are_refused() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let tiny = tiny(&bench);
    let one = |attributes: &str| {
        format!(
            "<containers source=\"file://{}\" backend=\"docker\"><container name=\"tiny\" {attributes}/></containers>",
            text(&tiny)
        )
    };
    let pin = format!(
        "<extension><i:container xmlns:i=\"urn:ingot:1\" name=\"tiny\" digest=\"sha256:{}\"/></extension>",
        "0".repeat(64)
    );
    let endless = bench.path("endless");
    layout::write(&endless, &[(layout::zeros(2 << 30), layout::digest(b""))], serde_json::json!({}));
    let endless =
        one("fetch_only=\"true\"").replace(&format!("file://{}", text(&tiny)), &format!("dir://{}", text(&endless)));
    let nowhere = one("").replace(text(&tiny), text(&bench.path("nowhere.tar")));
    for (sections, code, said) in [
        (one(""), 65, &["no /usr/bin/docker", "fetch_only"][..]),
        (endless, 65, &["embed dir:///", "made to fill disks", "hint:"]),
        (nowhere, 66, &["nowhere.tar"]),
        (one("fetch_only=\"true\"") + &pin, 76, &["digest", "wanted:"]),
        (one("") + &one("tag=\"latest\" fetch_only=\"true\""), 65, &["two containers", "tiny_latest"]),
        (one("").replace("name=\"tiny\"", "name=\"a/tiny\""), 65, &["`a/tiny`", "`path`"]),
        (one("path=\"../x\""), 65, &["climbs"]),
        (one("").replace("file://", "obs://a/"), 65, &["not supported", "build service"]),
        (pin.clone(), 65, &["does not hold"]),
    ] {
        let answer = bench.build_into(&tarball(&bench, &sections), "refused").run();
        answer.expect(code).says(said);
    }
    // What the image has there is the description's fault, not that of a device.
    let in_the_way = tarball(&bench, &one("fetch_only=\"true\""));
    let link = in_the_way.folder().join("root/var/lib/ingot");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    bench.build_into(&in_the_way, "refused").run().expect(65).says(&["/var/lib/ingot", "a symlink that leads to no"]);
    fs::remove_file(&link).unwrap();
    fs::write(&link, "").unwrap();
    bench.build_into(&in_the_way, "refused").run().expect(65).says(&["something that is no folder", "where:"]);
    fs::remove_file(&link).unwrap();
    bench.build_into(&tarball(&bench, &one("fetch_only=\"true\"")), "kept").run().expect(0);
    let listing = run("tar", &["--list", "--file", text(&result(&bench.path("kept"), ".tar.xz"))]);
    assert!(listing.contains("var/lib/ingot/containers/tiny_latest\n"), "{listing}");
    assert!(!listing.contains("kiwi_containers.service"), "{listing}");
}
