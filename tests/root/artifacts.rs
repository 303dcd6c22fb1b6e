//! Foreign readers accept what is written, and find in it what the description asked for.

use std::fs;

use crate::support::image::{Bench, Description, partitions, result, root_filesystem};
use crate::support::program::{run, text};
use crate::support::{need, together};

#[test]
fn sfdisk_e2fsck_and_qemu_img_accept_a_disk() {
    need!(root);
    need!("sfdisk", "e2fsck", "fsck.vfat", "qemu-img");
    let _turn = together();
    let bench = Bench::new();
    let qcow2 = bench.disk();
    bench.build_into(&qcow2, "qcow2").run().expect(0);
    let raw = qcow2.edit(" format=\"qcow2\"", "");
    bench.build_into(&raw, "raw").run().expect(0);
    let (qcow2, raw) = (result(&bench.path("qcow2"), ".qcow2"), result(&bench.path("raw"), ".raw"));
    run("qemu-img", &["check", "-f", "qcow2", text(&qcow2)]);
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", text(&qcow2), text(&raw)]);
    let verified = run("sfdisk", &["--verify", text(&raw)]);
    assert!(verified.contains("No errors detected"), "{verified}");
    let names: Vec<String> = partitions(&raw).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["p.legacy", "p.UEFI", "p.lxroot"]);
    let filesystem = bench.path("root.ext4");
    root_filesystem(&raw, &filesystem);
    run("e2fsck", &["-f", "-n", text(&filesystem)]);
    let (_, start, length) = partitions(&raw)[1];
    let esp = bench.path("esp.fat");
    let bytes = fs::read(&raw).unwrap();
    fs::write(&esp, &bytes[start as usize..(start + length) as usize]).unwrap();
    run("fsck.vfat", &["-n", text(&esp)]);
}

/// A container with every setting that `<containerconfig>` knows.
fn settled(description: Description) -> Description {
    let old = "<containerconfig name=\"tiny\" tag=\"1\"><entrypoint execute=\"/usr/bin/tiny-app\"/></containerconfig>";
    let new = r#"<containerconfig name="tiny" tag="1" additionalnames=":latest,:stable" maintainer="Somebody" user="daemon" workingdir="/srv">
        <entrypoint execute="/usr/bin/tiny-app"><argument name="--first"/></entrypoint>
        <subcommand execute="a word"><argument name="other"/></subcommand>
        <expose><port number="80"/><port number="53/udp"/></expose>
        <volumes><volume name="/var/lib/tiny"/></volumes>
        <environment><env name="COLOUR" value="green and blue"/></environment>
        <labels><label name="org.example.label" value="a value"/></labels>
        <stopsignal>SIGUSR1</stopsignal>
      </containerconfig>"#;
    description.edit(old, new)
}

#[test]
fn podman_runs_a_container_and_shows_every_setting() {
    need!(root);
    need!("podman", "runc");
    let _turn = together();
    let bench = Bench::new();
    bench.build(&settled(bench.container())).run().expect(0);
    let archive = result(&bench.path("out"), ".docker.tar");
    let (storage, state) = (bench.path("storage"), bench.path("state"));
    let podman = |arguments: &[&str]| {
        let store =
            ["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs", "--runtime", "runc"];
        run("podman", &[&store, arguments].concat())
    };
    podman(&["load", "--quiet", "--input", text(&archive)]);
    for tag in ["1", "latest", "stable"] {
        podman(&["image", "exists", &format!("localhost/tiny:{tag}")]);
    }
    let inspected: serde_json::Value = serde_json::from_str(&podman(&["inspect", "localhost/tiny:1"])).unwrap();
    let config = &inspected[0]["Config"];
    let expected = serde_json::json!({
        "User": "daemon",
        "WorkingDir": "/srv",
        "Entrypoint": ["/usr/bin/tiny-app", "--first"],
        "Cmd": ["a word", "other"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/var/lib/tiny": {}},
        "Labels": {"org.example.label": "a value"},
        "StopSignal": "SIGUSR1",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&config[name], value, "{name} in {config}");
    }
    assert!(config["Env"].as_array().unwrap().contains(&"COLOUR=green and blue".into()), "{config}");
    assert_eq!(inspected[0]["Author"], "Somebody");
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--rm"];
    let said = podman(&[&["run"], &limits[..], &["localhost/tiny:1"]].concat());
    assert_eq!(said, "tiny-app --first a word other\n");
    podman(&["rmi", "--force", "--all"]);
}

#[test]
fn skopeo_and_umoci_read_an_oci_layout() {
    need!(root);
    need!("skopeo", "umoci");
    let _turn = together();
    let bench = Bench::new();
    let description = settled(bench.container().edit("image=\"docker\"", "image=\"oci\""));
    bench.build(&description).run().expect(0);
    let archive = result(&bench.path("out"), ".oci.tar");
    let inspected = run("skopeo", &["inspect", "--config", &format!("oci-archive:{}:1", text(&archive))]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["config"]["Entrypoint"], serde_json::json!(["/usr/bin/tiny-app", "--first"]));
    assert_eq!(inspected["author"], "Somebody");
    let layout = bench.path("layout");
    crate::support::image::unpack(&archive, &layout);
    let tags = run("umoci", &["list", "--layout", text(&layout)]);
    let tag = tags.lines().next().unwrap_or_else(|| panic!("no tag in {tags:?}"));
    let bundle = bench.path("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:{tag}", text(&layout)), text(&bundle)]);
    assert!(bundle.join("rootfs/usr/bin/tiny-app").is_file());
}

#[test]
fn the_result_names_every_package_and_every_digest() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    bench.build(&bench.container()).run().expect(0);
    let out = bench.path("out");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let packages = manifest["packages"].as_array().unwrap();
    let app = packages.iter().find(|package| package["name"] == "tiny-app").unwrap();
    assert_eq!(
        (&app["version"], &app["arch"], &app["source"]),
        (&"1:2.0-3".into(), &"amd64".into(), &"tiny 1.0-1".into())
    );
    let archive = fs::read(bench.world.repository().join(bench.world.package("tiny-app"))).unwrap();
    assert_eq!(app["sha256"], crate::support::world::sha256(&archive));
    for artifact in manifest["artifacts"].as_array().unwrap() {
        let bytes = fs::read(out.join(artifact["name"].as_str().unwrap())).unwrap();
        assert_eq!(artifact["sha256"], crate::support::world::sha256(&bytes));
        assert_eq!(artifact["size"], bytes.len());
    }
    run("sh", &["-c", &format!("cd '{}' && sha256sum --check --strict *.sha256", text(&out))]);
    let listed = fs::read_to_string(result(&out, ".packages")).unwrap();
    assert!(listed.contains("tiny-app|None|1:2.0-3|None|amd64|None|"), "{listed}");
    assert!(listed.lines().is_sorted());
}
