//! Where the containers below come from, and what is wrong with some of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::image::{Bench, Description, Ingot, assert_cache_is_looked_after, result, unpack};
use crate::support::layout::{self, Member, digest, layer};
use crate::support::program::{run, text};
use crate::support::registry::{PASSWORD, Registry, TOKEN};
use crate::support::{alone, need, together};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What is built on other containers, and adds one file.
fn on(bench: &Bench, from: &str) -> Description {
    let folder = bench.path("derived");
    let _ = fs::remove_dir_all(&folder);
    let description = Description::container(&bench.world, &folder);
    let xml = description.xml();
    let (before, until) = (xml.find("  <repository").unwrap(), xml.find("</image>").unwrap());
    let (kind, end) = (xml.find("<type").unwrap(), xml.find("</type>").unwrap() + "</type>".len());
    let (packages, kind) = (xml[before..until].to_string(), xml[kind..end].to_string());
    let derived = format!(
        "<type image=\"oci\" derived_from=\"{from}\"><containerconfig name=\"on-top\" tag=\"2\">\
         <subcommand execute=\"/usr/bin/tiny-app\"/></containerconfig></type>"
    );
    description.edit(&packages, "").edit(&kind, &derived).file("root/etc/on-top", "new\n")
}

fn tiny(bench: &Bench) -> PathBuf {
    bench.build_into(&bench.container(), "tiny").run().expect(0);
    result(&bench.path("tiny"), ".docker.tar")
}

/// The layers of an OCI archive, unpacked into `folder`: where each is, and its media type.
fn layers(archive: &Path, folder: &Path) -> Vec<(PathBuf, String)> {
    unpack(archive, folder);
    let blob = |digest: &Value| folder.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = read(&blob(&read(&folder.join("index.json"))["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| (blob(&layer["digest"]), layer["mediaType"].as_str().unwrap().to_string())).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").args(["-n", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(content).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

#[test]
fn a_registry_and_a_container_storage_are_bases_and_zstd_is_kept() {
    need!(root);
    need!("podman", "runc", "skopeo", "docker-registry", "zstd");
    let _turn = together();
    let bench = Bench::new();
    let tiny = format!("docker-archive:{}", text(&tiny(&bench)));
    let registry = Registry::start(&bench.path("registry"));
    let remote = format!("docker://{}/team/tiny:1", registry.address);
    registry.skopeo(&["copy", "-q", "--format", "oci", "--dest-compress-format", "zstd", &tiny, &remote]);
    let digest = registry.skopeo(&["inspect", "--format", "{{.Digest}}", &remote]);

    let build = |from: &str, target: &str| {
        let build = bench.build_into(&on(&bench, from), target);
        build.env("REGISTRY_AUTH_FILE", text(&registry.credentials)).args(["--layer-compression", "zstd"])
    };
    let unreachable = build(&remote, "denied").env("REGISTRY_AUTH_FILE", "/dev/null/none");
    unreachable.run().expect(66).says(&["/dev/null/none"]);
    let configuration = text(&registry.configuration);
    build(&remote, "out").args(["--registries-conf", configuration, "--verbose"]).run().expect(0);
    let missing = build(&remote.replace("tiny:1", "tiny:9"), "missing").args(["--registries-conf", configuration]);
    missing.run().expect(66).says(&["tiny:9"]);
    build(&remote.replace("docker://", "docker://me:word@"), "secret").run().expect(65);

    let release = read(&bench.path("out").join("manifest.json"));
    assert_eq!(release["bases"][0]["digest"], digest.trim());
    for secret in [PASSWORD, TOKEN] {
        let found = Command::new("grep").args(["-r", "-q", "-a", "-F", secret]).arg(bench.path("out")).status();
        assert!(!found.unwrap().success(), "{secret}");
    }
    let archive = result(&bench.path("out"), ".oci.tar");
    let found = layers(&archive, &bench.path("layout"));
    assert_eq!(found.len(), 2);
    for (blob, kind) in &found {
        assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+zstd");
        run("zstd", &["--test", "-q", text(blob)]);
    }
    // Foreign readers of Zstandard.
    let copied = bench.path("copied");
    run("skopeo", &["copy", "-q", &format!("oci-archive:{}", text(&archive)), &format!("dir:{}", text(&copied))]);
    assert!(copied.join("manifest.json").is_file());
    let (storage, state) = (bench.path("storage"), bench.path("state"));
    let podman = |arguments: &[&str]| {
        let store =
            ["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs", "--runtime", "runc"];
        run("podman", &[&store, arguments].concat())
    };
    podman(&["load", "-q", "-i", text(&archive)]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--rm"];
    let said = podman(&[&["run"], &limits[..], &["--entrypoint=", "on-top:2", "/usr/bin/tiny-app", "x"]].concat());
    assert_eq!(said, "tiny-app x\n");

    // What podman has is a base, too.
    let stored = format!("containers-storage:[vfs@{}+{}]localhost/on-top:2", text(&storage), text(&state));
    build(&stored, "on-stored").run().expect(0);
    let found = layers(&result(&bench.path("on-stored"), ".oci.tar"), &bench.path("layout-of-stored"));
    assert_eq!(found.len(), 3);
    podman(&["rmi", "--force", "--all"]);

    // `ingot cache` looks after what was fetched.
    let cache =
        |words: &[&str]| Ingot::new(["cache"]).args(words).args(["--cache-dir", text(&bench.path("cache"))]).run();
    let kept = result(&bench.path("cache/bases"), &format!("{}-amd64.oci.tar", digest.trim().replace("sha256:", "")));
    let mut bytes = fs::read(&kept).unwrap();
    assert!(cache(&["list"]).expect(0).stdout.contains("2 containers, "));
    cache(&["verify"]).expect(0);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let said = cache(&["verify"]).expect(1).stdout;
    assert!(said.contains("damaged of the containers: ") && said.contains(": 1 damaged"), "{said}");
    assert!(!kept.exists());
    assert_cache_is_looked_after(&bench.path("cache"), &["bases", "apt", "results"]);
}

#[test]
fn an_index_goes_to_a_registry_and_podman_takes_what_is_for_its_machine() {
    need!(root);
    need!("podman", "skopeo", "docker-registry");
    let bench = Bench::new();
    let registry = Registry::start(&bench.path("registry"));
    for machine in ["amd64", "s390x"] {
        let content = layer(&[Member::File("machine", machine, 0o644)]);
        layout::write_for(machine, &bench.path(machine), &[(gzip(&content), digest(&content))], json!({}));
    }
    let index = bench.path("app.oci.tar");
    let call = Ingot::new(["index"]).arg(&index).args(["--name", "example.org/app:1", "--from"]);
    call.arg(bench.path("amd64")).arg(bench.path("s390x")).run().expect(0);
    let remote = format!("{}/app:1", registry.address);
    registry.skopeo(&[
        "copy",
        "-q",
        "--all",
        &format!("oci-archive:{}:1", text(&index)),
        &format!("docker://{remote}"),
    ]);
    let raw: Value =
        serde_json::from_str(&registry.skopeo(&["inspect", "--raw", &format!("docker://{remote}")])).unwrap();
    assert_eq!(raw["manifests"].as_array().unwrap().len(), 2);
    let (storage, state) = (bench.path("storage"), bench.path("state"));
    let podman = |arguments: &[&str]| {
        run(
            "podman",
            &[&["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs"], arguments].concat(),
        )
    };
    for machine in ["amd64", "s390x"] {
        let (platform, credentials) = (format!("linux/{machine}"), text(&registry.credentials));
        podman(&["pull", "-q", "--tls-verify=false", "--authfile", credentials, "--platform", &platform, &remote]);
        let found = podman(&["image", "inspect", "--format", "{{.Architecture}}", &remote]);
        assert_eq!(found.trim(), machine);
    }
    podman(&["rmi", "--force", "--all"]);
}

#[test]
fn several_bases_are_piled_up_in_their_order() {
    need!(root);
    need!("skopeo", "umoci");
    let _turn = together();
    let bench = Bench::new();
    let tiny = tiny(&bench);
    bench.build_into(&on(&bench, &format!("file://{}", text(&tiny))), "second").run().expect(0);
    let second = result(&bench.path("second"), ".oci.tar");
    let content = layer(&[
        Member::Folder("etc/"),
        Member::File("etc/on-top", "third\n", 0o644),
        Member::File("etc/.wh.tiny", "", 0o644),
    ]);
    let third = bench.path("third");
    layout::write(&third, &[(gzip(&content), digest(&content))], json!({"Env": ["THIRD=yes"]}));
    let from = format!("file://{}, file://{}, oci:{}", text(&tiny), text(&second), text(&third));
    let description = on(&bench, &from);
    fs::remove_file(description.folder().join("root/etc/on-top")).unwrap();
    let description = description.file("root/etc/fourth", "4\n");
    bench.build(&description).run().expect(0);
    let layout = bench.path("layout");
    // tiny, what the second has on it, the third, and the new one.
    assert_eq!(layers(&result(&bench.path("out"), ".oci.tar"), &layout).len(), 4);
    let bundle = bench.path("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:2", text(&layout)), text(&bundle)]);
    let root = bundle.join("rootfs");
    assert_eq!(fs::read_to_string(root.join("etc/on-top")).unwrap(), "third\n");
    assert!(
        !root.join("etc/tiny").exists() && root.join("etc/fourth").is_file() && root.join("usr/bin/tiny-app").is_file()
    );
    let config = run("skopeo", &["inspect", "--config", &format!("oci:{}:2", text(&layout))]);
    assert!(config.contains("THIRD=yes"), "{config}");
    let release = read(&bench.path("out").join("manifest.json"));
    let bases: Vec<&str> =
        release["bases"].as_array().unwrap().iter().map(|base| base["source"].as_str().unwrap()).collect();
    assert_eq!(bases.join(", "), from);
}

#[test]
fn a_hostile_base_touches_nothing_but_its_own_image() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let tiny = tiny(&bench);
    let victim = bench.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("kept"), "kept").unwrap();
    let outside = text(&victim)[1..].to_string();
    let climbing = format!("../../../../../../../../{outside}/climbed");
    let (absolute, through) = (format!("/{outside}"), "way/through");
    let content = layer(&[
        Member::File(&climbing, "x", 0o644),
        Member::Link("way", &absolute),
        Member::File(through, "x", 0o644),
        Member::Link("up", "../../../../../../.."),
        Member::File(&format!("up/{outside}/up"), "x", 0o644),
        Member::Link("etc/hostname", "/etc/hostname"),
        Member::Device("disk", 8, 0),
        Member::File("usr/bin/root-shell", "#!/bin/sh\n", 0o4755),
        Member::File("way/.wh.kept", "", 0o644),
        Member::File(".wh.nothing-there", "", 0o644),
        Member::File("usr/share/.wh..wh.plnk", "", 0o644),
        Member::HardLink("second-name", "usr/bin/root-shell"),
    ]);
    let base = bench.path("hostile");
    layout::write(&base, &[(gzip(&content), digest(&content))], json!({}));
    let before = bench.look();
    let from = format!("file://{}, oci:{}", text(&tiny), text(&base));
    bench.build(&on(&bench, &from)).run().expect(0);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(victim.join("kept")).unwrap(), "kept");
    fs::remove_dir_all(bench.path("out")).unwrap();
    fs::remove_dir_all(bench.path("derived")).unwrap();
    bench.assert_nothing_left(&before);
}

#[test]
fn a_spoilt_base_is_refused_with_its_reason() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let fine = layer(&[Member::Folder("etc/"), Member::File("etc/x", "x", 0o644)]);
    let spoilt = |name: &str, content: &[u8], diff_id: &str| {
        let folder = bench.path(name);
        layout::write(&folder, &[(gzip(content), diff_id.to_string())], json!({}));
        folder
    };
    let whiteout = layer(&[Member::File("etc/.wh...", "", 0o644)]);
    let beneath = layer(&[Member::File("etc", "x", 0o644), Member::File("etc/x", "x", 0o644)]);
    let dangling = layer(&[Member::HardLink("a", "b")]);
    let bomb = bench.path("bomb");
    // The header says 2^40 bytes; what follows is as short as an attacker likes.
    let mut header = tar::Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_size(1 << 40);
    header.set_cksum();
    layout::write(&bomb, &[(gzip(header.as_bytes()), digest(&fine))], json!({}));
    let endless = bench.path("endless");
    layout::write(&endless, &[(layout::zeros(2 << 30), digest(&fine))], json!({}));
    let hole = layout::hole(1 << 50);
    let missing = spoilt("missing", &fine, &digest(&fine));
    fs::remove_file(missing.join("blobs/sha256").join(&digest(&gzip(&fine))[7..])).unwrap();
    let changed = spoilt("changed", &fine, &digest(&fine));
    fs::write(changed.join("blobs/sha256").join(&digest(&gzip(&fine))[7..]), gzip(&whiteout)).unwrap();
    let elsewhere = spoilt("elsewhere", &fine, &digest(&fine));
    let blob = elsewhere.join("blobs/sha256").join(&digest(&gzip(&fine))[7..]);
    fs::rename(&blob, bench.path("blob")).unwrap();
    std::os::unix::fs::symlink(bench.path("blob"), &blob).unwrap();
    let after = [fine.clone(), vec![0; 80 << 20]].concat();
    for (folder, code, said) in [
        (spoilt("diff-id", &fine, &digest(b"x")), 76, "does not match"),
        (changed, 76, "does not match"),
        (missing, 65, "it has no `/blobs/sha256/"),
        (elsewhere, 65, "it has no `/blobs/sha256/"),
        (spoilt("whiteout", &whiteout, &digest(&whiteout)), 65, "names no file"),
        (spoilt("beneath", &beneath, &digest(&beneath)), 65, "is no folder"),
        (spoilt("dangling", &dangling, &digest(&dangling)), 65, "which is no file"),
        (spoilt("after", &after, &digest(&after)), 65, "follow the end"),
        (bomb, 74, "are free"),
        (endless, 65, "made to fill disks"),
        (spoilt("hole", &hole, &digest(&hole)), 65, "with their holes"),
    ] {
        let before = bench.look();
        bench.build(&on(&bench, &format!("oci:{}", text(&folder)))).run().expect(code).says(&["cannot", said]);
        let _ = fs::remove_dir_all(bench.path("out"));
        fs::remove_dir_all(bench.path("derived")).unwrap();
        bench.assert_nothing_left(&before);
    }
}
