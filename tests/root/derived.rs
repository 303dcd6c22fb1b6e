//! Containers that are built on others: the layers below stay byte for byte, and the new one holds what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::image::{Bench, Description, result, unpack};
use crate::support::program::{run, text};
use crate::support::{need, together};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const KIND: &str = "<type image=\"docker\"><containerconfig name=\"tiny\" tag=\"1\"><entrypoint \
                    execute=\"/usr/bin/tiny-app\"/></containerconfig></type>";

/// The container of the tiny world, and what is built on it.
fn built_on(bench: &Bench, image: &str, from: &str, extension: &str) -> Description {
    let description = Description::container(&bench.world, &bench.path("derived"));
    let kind = format!(
        "<type image=\"{image}\" derived_from=\"{from}\"><containerconfig name=\"on-top\" tag=\"2\" \
         additionalnames=\":latest\"><environment><env name=\"COLOUR\" value=\"red\"/></environment>\
         <labels><label name=\"org.example.top\" value=\"yes\"/></labels></containerconfig></type>"
    );
    let description = description
        .edit(KIND, &kind)
        .edit("<packages type=\"bootstrap\">\n    <package name=\"passwd\"/>\n  </packages>", extension)
        .edit("<package name=\"tiny-app\"/>", "<package name=\"tiny-recommended\"/>")
        .file("root/etc/on-top", "new\n");
    description.script(
        "config.sh",
        "rm /usr/share/tiny/data-hard-link\nrm -r /var/lib/tiny\nchmod 750 /etc/tiny\necho colour=blue > /etc/tiny/tiny.conf",
    )
}

fn base(bench: &Bench) -> PathBuf {
    bench.build_into(&bench.container(), "base").run().expect(0);
    result(&bench.path("base"), ".docker.tar")
}

fn listing(layer: &Path) -> Vec<String> {
    run("tar", &["--list", "--file", text(layer)]).lines().map(str::to_string).collect()
}

#[test]
fn a_container_on_another_keeps_its_layers_and_adds_only_what_changed() {
    need!(root);
    need!("podman", "runc", "skopeo", "umoci");
    let _turn = together();
    let bench = Bench::new();
    let base = base(&bench);
    let description = built_on(&bench, "oci", &format!("file://{}", text(&base)), "");
    bench.build(&description).run().expect(0);
    let archive = result(&bench.path("out"), ".oci.tar");
    let (layout, below) = (bench.path("layout"), bench.path("below"));
    unpack(&archive, &layout);
    unpack(&base, &below);

    // The layer below is the same file, and the manifest names the image.
    let docker = read(&below.join("manifest.json"));
    let old = fs::read(below.join(docker[0]["Layers"][0].as_str().unwrap())).unwrap();
    let index = read(&layout.join("index.json"));
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert!(fs::read(blob(&layers[0]["digest"])).unwrap() == old);
    let configuration = fs::read(below.join(docker[0]["Config"].as_str().unwrap())).unwrap();
    let digest: String = Sha256::digest(&configuration).iter().map(|byte| format!("{byte:02x}")).collect();
    let release = read(&bench.path("out").join("manifest.json"));
    assert_eq!(release["bases"][0]["digest"], format!("sha256:{digest}"));
    let tags: Vec<&Value> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[0]["digest"], tags[1]["digest"]);

    // The new one holds what changed, what is gone, and the folders around it.
    let names = listing(&blob(&layers[1]["digest"]));
    for name in [
        "etc/on-top",
        "etc/tiny/",
        "etc/tiny/tiny.conf",
        "usr/share/tiny-recommended",
        "usr/share/tiny/data",
        "usr/share/tiny/.wh.data-hard-link",
        "var/lib/.wh.tiny",
        "var/lib/dpkg/status",
    ] {
        // A file that lost one of its names below is the same file only if it is in this layer.
        let stays = name == "usr/share/tiny/data";
        assert_eq!(names.iter().any(|found| found == name), !stays, "{name} in {names:#?}");
    }
    for name in ["usr/bin/dash", "usr/bin/tiny-app", "etc/passwd", "var/lib/dpkg/info/dash.list"] {
        assert!(!names.iter().any(|found| found == name), "{name} in {names:#?}");
    }

    // Its settings go on where those of the base end.
    let configuration = read(&blob(&manifest["config"]["digest"]));
    let config = &configuration["config"];
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/tiny-app"]));
    assert!(config["Env"].as_array().unwrap().contains(&json!("COLOUR=red")));
    assert_eq!(config["Labels"], json!({"org.example.top": "yes"}));
    assert_eq!(configuration["history"].as_array().unwrap().len(), 2);

    // Foreign readers see the same files, and it runs.
    let inspected = run("skopeo", &["inspect", &format!("oci-archive:{}:2", text(&archive))]);
    assert!(inspected.contains("org.example.top"), "{inspected}");
    let bundle = bench.path("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:2", text(&layout)), text(&bundle)]);
    let rootfs = bundle.join("rootfs");
    assert_eq!(fs::read_to_string(rootfs.join("etc/tiny/tiny.conf")).unwrap(), "colour=blue\n");
    assert!(rootfs.join("usr/share/tiny/data").is_file() && !rootfs.join("usr/share/tiny/data-hard-link").exists());
    assert!(!rootfs.join("var/lib/tiny").exists());
    let status = fs::read_to_string(rootfs.join("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Package: tiny-app\n") && status.contains("Package: tiny-recommended\n"));
    let (storage, state) = (bench.path("storage"), bench.path("state"));
    let podman = |arguments: &[&str]| {
        let store =
            ["--root", text(&storage), "--runroot", text(&state), "--storage-driver", "vfs", "--runtime", "runc"];
        run("podman", &[&store, arguments].concat())
    };
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            &format!("oci-archive:{}:2", text(&archive)),
            &format!("docker-archive:{}:localhost/on-top:2", text(&bench.path("loaded.tar"))),
        ],
    );
    podman(&["load", "--quiet", "--input", text(&bench.path("loaded.tar"))]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--rm"];
    assert_eq!(podman(&[&["run"], &limits[..], &["localhost/on-top:2", "word"]].concat()), "tiny-app word\n");
    podman(&["rmi", "--force", "--all"]);
}

#[test]
fn a_base_is_pinned_and_the_same_base_gives_the_same_bytes() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let base = base(&bench);
    let from = format!("file://{}", text(&base));
    let pinned =
        |digest: &str| format!("<extension><i:base xmlns:i=\"urn:ingot:1\" digest=\"sha256:{digest}\"/></extension>");
    let wrong = built_on(&bench, "docker", &from, &pinned(&"0".repeat(64)));
    bench.build(&wrong).run().expect(76).says(&["digest", "found:"]);
    let sums = |target: &str, arguments: &[&str]| {
        let description = built_on(&bench, "docker", &from, "");
        bench.build_into(&description, target).args(arguments).run().expect(0);
        fs::read(result(&bench.path(target), ".docker.tar")).unwrap()
    };
    let first = sums("first", &[]);
    assert!(first == sums("resumed", &[]), "a stage of an earlier build gives other bytes");
    assert!(first == sums("by-dpkg", &["--unpacker", "dpkg", "--no-stage-cache"]), "dpkg gives other bytes");
    let digests =
        read(&bench.path("first").join("manifest.json"))["bases"][0]["digest"].as_str().unwrap()[7..].to_string();
    let right = built_on(&bench, "docker", &from, &pinned(&digests));
    bench.build_into(&right, "pinned").run().expect(0);
}

#[test]
fn bases_that_are_missing_spoilt_or_for_another_machine_are_refused() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let base = base(&bench);
    let below = bench.path("below");
    unpack(&base, &below);
    let repack = |name: &str| {
        let archive = bench.path(name);
        let members: Vec<String> =
            fs::read_dir(&below).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut arguments = vec!["--create", "--file", text(&archive), "--directory", text(&below)];
        arguments.extend(members.iter().map(String::as_str));
        run("tar", &arguments);
        archive
    };
    let manifest = read(&below.join("manifest.json"));
    let configuration = below.join(manifest[0]["Config"].as_str().unwrap());
    let original = read(&configuration);
    let mut spoilt: BTreeMap<&str, (PathBuf, i32, &str)> = BTreeMap::new();
    spoilt.insert("missing", (bench.path("nowhere.tar"), 66, "nowhere.tar"));
    let mut changed = original.clone();
    changed["architecture"] = json!("s390x");
    fs::write(&configuration, changed.to_string()).unwrap();
    spoilt.insert("another machine", (repack("s390x.tar"), 65, "linux/s390x"));
    let mut changed = original.clone();
    changed["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "0".repeat(64)));
    fs::write(&configuration, changed.to_string()).unwrap();
    spoilt.insert("digest", (repack("digest.tar"), 76, "does not match"));
    fs::write(bench.path("text.tar"), "no archive").unwrap();
    spoilt.insert("no archive", (bench.path("text.tar"), 65, "text.tar"));
    for (name, (archive, code, said)) in spoilt {
        let description = built_on(&bench, "docker", &format!("file://{}", text(&archive)), "");
        bench.build_into(&description, name).run().expect(code).says(&["cannot", said]);
    }
}

#[test]
fn nothing_is_installed_where_nothing_is_asked_for() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let base = base(&bench);
    let description = Description::container(&bench.world, &bench.path("derived"));
    let xml = description.xml();
    let (before, from) = (xml.find("  <repository").unwrap(), xml.find("</image>").unwrap());
    let kind = format!("<type image=\"oci\" derived_from=\"file://{}\"/>", text(&base));
    let description = description.edit(&xml[before..from], "").edit(KIND, &kind).file("root/etc/on-top", "new\n");
    bench.build(&description).run().expect(0);
    let layout = bench.path("layout");
    unpack(&result(&bench.path("out"), ".oci.tar"), &layout);
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = read(&blob(&read(&layout.join("index.json"))["manifests"][0]["digest"]));
    let names = listing(&blob(&manifest["layers"][1]["digest"]));
    assert_eq!(names, ["./", "etc/", "etc/on-top"]);
}

#[test]
fn what_a_slim_base_leaves_out_of_packages_is_left_out_on_it_too() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let slim = bench.container().file("root/etc/dpkg/dpkg.cfg.d/slim", "path-exclude=/usr/share/tiny-rec*\n");
    bench.build_into(&slim, "base").run().expect(0);
    let from = format!("file://{}", text(&result(&bench.path("base"), ".docker.tar")));
    bench.build(&built_on(&bench, "oci", &from, "")).run().expect(0);
    let layout = bench.path("layout");
    unpack(&result(&bench.path("out"), ".oci.tar"), &layout);
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let manifest = read(&blob(&read(&layout.join("index.json"))["manifests"][0]["digest"]));
    let names = listing(&blob(&manifest["layers"][1]["digest"]));
    let has = |name: &str| names.iter().any(|found| found == name);
    assert!(has("var/lib/dpkg/info/tiny-recommended.list"), "{names:#?}");
    assert!(!has("usr/share/tiny-recommended"), "{names:#?}");
}
