//! Container archives and root tarballs against the programs that people open them with.

mod index;
mod publish;
mod unpack;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ingot::container::{self, Form};
use ingot::host::rooted::{Kind, RootPath, Rooted};
use ingot::host::untar::Owners;
use ingot::pieces::Pieces;
use ingot::plan::{ContainerArchive, ContainerPlan, History, Image, LayerCompression, LayerSplit};
use ingot::release::Artifact;
use ingot::report::Reporter;
use ingot::root::RootTree;
use ingot::scrub::ScrubbedTree;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::program::{run, text};
use crate::support::{is_root, need};

/// The image's date in every test.
const EPOCH: i64 = 1_700_000_000;

/// A tree with one of everything that a filesystem can hold. Without root: no devices, owners and capabilities.
fn tree(folder: &Path) -> Rooted {
    fs::create_dir_all(folder).unwrap();
    let root = Rooted::open(folder).unwrap();
    let write = |path: &str, content: &[u8], mode| root.write(&RootPath::new(path), content, mode).unwrap();
    write("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n", 0o644);
    write("/etc/shadow", b"root:!::::::::\n", 0o640);
    write("/usr/bin/su", b"setuid", 0o4755);
    write("/usr/lib/big", &b"0123456789abcdef".repeat(150_000), 0o644);
    write("/usr/lib/block", &[7; 1024], 0o444);
    write("/var/empty-file", b"", 0o600);
    for name in ["dev", "proc", "sys", "run", "tmp"] {
        write(&format!("/{name}/left-behind"), b"of a running system", 0o644);
    }
    root.set_mode(&"/tmp".into(), 0o1777).unwrap();
    for name in ["lib", "bin"] {
        root.symlink(format!("usr/{name}"), &RootPath::root().join(name)).unwrap();
    }
    let odd = RootPath::new(b"/srv/new\nline \xff\xfe and = signs");
    root.write(&odd, "odd", 0o644).unwrap();
    root.symlink(b"\xff dangling \n", &"/srv/odd-link".into()).unwrap();
    let deep = format!("/srv/{}/{}/{}", "d".repeat(90), "e".repeat(200), "f".repeat(120));
    write(&deep, b"deep", 0o644);
    let deep_odd = RootPath::new([format!("/srv/{}/", "g".repeat(150)).as_bytes(), &[0xe9; 120]].concat());
    root.write(&deep_odd, "deep and odd", 0o644).unwrap();
    root.symlink("t".repeat(300), &"/srv/far".into()).unwrap();
    root.hard_link(&"/usr/lib/block".into(), &"/usr/lib/block-again".into()).unwrap();
    root.hard_link(&deep.as_str().into(), &"/srv/hard-link-to-the-deep".into()).unwrap();
    root.make_node(&"/srv/pipe".into(), &Kind::Fifo, 0o620).unwrap();
    root.make_node(&"/srv/socket".into(), &Kind::Socket, 0o777).unwrap();
    if is_root() {
        root.make_node(&"/srv/null".into(), &Kind::CharDevice { major: 1, minor: 3 }, 0o666).unwrap();
        root.make_node(&"/srv/disk".into(), &Kind::BlockDevice { major: 259, minor: 70_000 }, 0o660).unwrap();
        root.set_owner(&"/etc/shadow".into(), 0, 42).unwrap();
        root.set_owner(&"/srv/far".into(), 1000, 1000).unwrap();
        root.set_owner(&deep.as_str().into(), 3_000_000, 4_000_000_000).unwrap();
        write("/usr/bin/ping", b"capable", 0o755);
        // CAP_NET_RAW, and a version byte followed by a newline byte.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        root.set_xattr(&"/usr/bin/ping".into(), b"security.capability", &capability).unwrap();
        // user::rw-, user:1000:r--, group::r--, mask::r--, other::---
        let entries: [(u16, u16, u32); 5] = [(1, 6, !0), (2, 4, 1000), (4, 4, !0), (0x10, 4, !0), (0x20, 0, !0)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
            acl.extend(id.to_le_bytes());
        }
        root.set_xattr(&"/var/empty-file".into(), b"system.posix_acl_access", &acl).unwrap();
        root.set_xattr(&"/usr/lib".into(), b"user.note", b"a\0b\n").unwrap();
        root.set_xattr(&"/usr/lib".into(), b"trusted.overlay.opaque", b"y").unwrap();
    }
    for entry in root.walk(&RootPath::root()).unwrap() {
        root.set_mtime(&entry.path, EPOCH - 1000).unwrap();
    }
    for (path, mtime) in [("/etc/passwd", EPOCH + 5000), ("/usr/bin/su", -1_000_000), ("/usr", 12)] {
        root.set_mtime(&path.into(), mtime).unwrap();
    }
    root
}

/// Everything that an archive keeps, a line per entry.
fn listing(root: &Rooted) -> Vec<String> {
    let mut first_names = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in root.walk(&RootPath::root()).unwrap() {
        let content = match &entry.kind {
            Kind::File => format!("{:x?}", &Sha256::digest(root.read(&entry.path).unwrap())[..4]),
            Kind::Folder | Kind::Fifo | Kind::Socket => String::new(),
            other => format!("{other:?}"),
        };
        let first = first_names.entry(entry.inode).or_insert_with(|| entry.path.clone());
        let link = if *first == entry.path { String::new() } else { format!(" = {first}") };
        let xattrs = root.xattrs(&entry.path).unwrap();
        let xattrs = xattrs.iter().map(|(name, value)| format!(" {}={:x?}", String::from_utf8_lossy(name), value));
        let kind = format!("{:?}", entry.kind);
        let kind = kind.split(['(', ' ']).next().unwrap();
        let (path, mode, uid, gid, mtime) = (&entry.path, entry.mode, entry.uid, entry.gid, entry.mtime);
        lines.push(format!("{path}{link} {kind} {mode:o} {uid}:{gid} {mtime} {content}{}", xattrs.collect::<String>()));
    }
    lines
}

/// What the listing of an unpacked tree must be.
fn expected(root: &Rooted) -> Vec<String> {
    let dropped = |line: &String| line.contains("/left-behind") || line.starts_with("/srv/socket");
    let lines = listing(root).into_iter().filter(|line| !dropped(line));
    let lines = lines.map(|line| line.replace(" trusted.overlay.opaque=[79]", ""));
    lines.map(|line| line.replace(&(EPOCH + 5000).to_string(), &EPOCH.to_string())).collect()
}

fn assert_same(found: &[String], expected: &[String], what: &str) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}\nmissing: {missing:#?}\nextra: {extra:#?}");
}

fn scrubbed(folder: &Path) -> ScrubbedTree {
    ScrubbedTree::unaudited(RootTree::open(folder).unwrap(), EPOCH)
}

fn image() -> Image {
    Image {
        name: "example".into(),
        display_name: "Example".into(),
        version: "1.0.0".into(),
        arch: "x86_64".into(),
        id: None,
        author: "A".into(),
        contact: "a@example.org".into(),
        specification: "S".into(),
    }
}

fn plan(archive: ContainerArchive) -> ContainerPlan {
    let words = |words: &[&str]| Some(words.iter().map(|word| word.to_string()).collect());
    ContainerPlan {
        archive,
        name: "example/image".into(),
        tag: "1.0".into(),
        additional_names: vec!["example/image:latest".into(), "registry.example.org/other:2".into()],
        author: "A <a@example.org>".into(),
        user: Some("1000:1000".into()),
        working_dir: Some("/srv".into()),
        entrypoint: words(&["/bin/app", "an argument"]),
        command: words(&["--flag", "käse"]),
        ports: vec!["80/tcp".into(), "53/udp".into(), "8080".into()],
        volumes: vec!["/data".into()],
        environment: vec![("LANG".into(), "C.UTF-8".into()), ("EMPTY".into(), String::new())],
        labels: [("org.example.a".to_string(), "b \"c\"".to_string())].into(),
        stop_signal: Some("SIGINT".into()),
        history: History { author: Some("H".into()), created_by: Some("by hand".into()), comment: Some("why".into()) },
        bases: Vec::new(),
        layers: LayerSplit::One,
        compression: LayerCompression::Gzip,
        annotations: [("org.example.b".to_string(), "c".to_string())].into(),
    }
}

fn write(tree: &ScrubbedTree, plan: &ContainerPlan, folder: &Path) -> Artifact {
    let image = image();
    let order = container::Order { tree, plan, image: &image, base: None, disk: None };
    let step = Reporter::silent().step("container");
    container::write(&order, folder, "example", &mut Pieces::ignored(), None, &step).unwrap().artifact
}

fn sha256(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("container-").tempdir_in(crate::support::scratch_root()).unwrap();
        Place { path: folder.path().to_path_buf(), _folder: folder }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.join(name)).unwrap();
        self.join(name)
    }
}

fn owners() -> Owners {
    if is_root() { Owners::FromArchive } else { Owners::Caller }
}

#[test]
fn a_root_tarball_is_read_by_gnu_tar_with_everything_in_it() {
    need!("tar", "xz");
    let place = Place::new();
    let root = tree(&place.join("tree"));
    let step = Reporter::silent().step("container");
    let artifact =
        container::write_root_tarball(&scrubbed(&place.join("tree")), &place.path, "example", &step).unwrap();
    let path = place.join("example.tar.xz");
    assert_eq!((artifact.name.as_str(), artifact.sha256.as_str()), ("example.tar.xz", sha256(&path).as_str()));
    let unpacked = place.folder("unpacked");
    let mut arguments = vec!["--xattrs", "--xattrs-include=*", "-xpf", text(&path), "-C", text(&unpacked)];
    if is_root() {
        arguments.push("--same-owner");
    }
    run("tar", &arguments);
    assert_same(&listing(&Rooted::open(&unpacked).unwrap()), &expected(&root), "GNU tar");
}

#[test]
fn the_tar_crate_reads_every_name() {
    let place = Place::new();
    let root = tree(&place.join("tree"));
    write(&scrubbed(&place.join("tree")), &plan(ContainerArchive::Docker), &place.path);
    let mut outer = tar::Archive::new(fs::File::open(place.join("example.docker.tar")).unwrap());
    let layer = outer.entries().unwrap().next().unwrap().unwrap();
    let mut layer = tar::Archive::new(flate2::read::MultiGzDecoder::new(layer));
    let mut names: Vec<Vec<u8>> =
        layer.entries().unwrap().map(|entry| RootPath::new(entry.unwrap().path_bytes()).as_bytes().to_vec()).collect();
    names.sort();
    let mut walked: Vec<Vec<u8>> =
        root.walk(&RootPath::root()).unwrap().iter().map(|e| e.path.as_bytes().to_vec()).collect();
    walked.retain(|path| !path.ends_with(b"/left-behind") && path != b"/srv/socket");
    walked.sort();
    assert_eq!(names, walked);
}

#[test]
fn every_archive_comes_back_as_the_tree_it_was_made_from() {
    let place = Place::new();
    let root = tree(&place.join("tree"));
    let scrubbed = scrubbed(&place.join("tree"));
    let step = Reporter::silent().step("container");
    let artifacts = [
        (write(&scrubbed, &plan(ContainerArchive::Docker), &place.path), Form::Docker),
        (write(&scrubbed, &plan(ContainerArchive::Oci), &place.path), Form::Oci),
        (container::write_root_tarball(&scrubbed, &place.path, "example", &step).unwrap(), Form::Tarball),
    ];
    for (artifact, form) in artifacts {
        let path = place.join(&artifact.name);
        assert_eq!((&artifact.sha256, artifact.size.0), (&sha256(&path), path.metadata().unwrap().len()));
        let into = Rooted::open(&place.folder(&format!("into-{form:?}"))).unwrap();
        let unpacked = container::unpack(&path, &into, owners()).unwrap();
        assert_eq!(unpacked.form, form);
        assert_same(&listing(&into), &expected(&root), &artifact.name);
        if form != Form::Tarball {
            assert_eq!(unpacked.configuration["config"]["User"], "1000:1000");
        }
    }
}

#[test]
fn the_same_tree_gives_the_same_archives_whatever_the_number_of_threads() {
    let place = Place::new();
    let digests: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let folder = place.folder(&threads.to_string());
            tree(&folder.join("tree"));
            let scrubbed = scrubbed(&folder.join("tree"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let step = Reporter::silent().step("container");
                [
                    write(&scrubbed, &plan(ContainerArchive::Docker), &folder).sha256,
                    write(&scrubbed, &plan(ContainerArchive::Oci), &folder).sha256,
                    container::write_root_tarball(&scrubbed, &folder, "example", &step).unwrap().sha256,
                ]
            })
        })
        .collect();
    assert!(digests.iter().all(|found| *found == digests[0]), "{digests:#?}");
}

#[test]
fn sockets_and_names_that_find_no_place_are_warned_about() {
    let place = Place::new();
    tree(&place.join("tree"));
    let reporter = Reporter::silent();
    let scrubbed = scrubbed(&place.join("tree"));
    let step = reporter.step("container");
    let (image, plan) = (image(), plan(ContainerArchive::Docker));
    let order = container::Order { tree: &scrubbed, plan: &plan, image: &image, base: None, disk: None };
    container::write(&order, &place.path, "example", &mut Pieces::ignored(), None, &step).unwrap();
    let warnings: Vec<_> = reporter.warnings().into_iter().map(|warning| warning.text).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("annotations") && warnings[1].contains("/srv/socket"));
}

/// Every setting of the plan, as it stands in a configuration.
fn settings() -> Value {
    json!({
        "User": "1000:1000",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8080/tcp": {}},
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "EMPTY="
        ],
        "Entrypoint": ["/bin/app", "an argument"],
        "Cmd": ["--flag", "käse"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"org.example.a": "b \"c\""},
        "StopSignal": "SIGINT",
    })
}

#[test]
fn skopeo_and_umoci_read_both_archives_and_every_setting() {
    need!("skopeo");
    let place = Place::new();
    let root = tree(&place.join("tree"));
    let scrubbed = scrubbed(&place.join("tree"));
    write(&scrubbed, &plan(ContainerArchive::Docker), &place.path);
    write(&scrubbed, &plan(ContainerArchive::Oci), &place.path);
    let oci = format!("oci-archive:{}:1.0", place.join("example.oci.tar").display());
    let docker = format!("docker-archive:{}", place.join("example.docker.tar").display());
    for reference in [
        oci.clone(),
        format!("oci-archive:{}:latest", place.join("example.oci.tar").display()),
        docker.clone(),
        format!("{docker}:example/image:latest"),
    ] {
        let configuration: Value = serde_json::from_str(&run("skopeo", &["inspect", "--config", &reference])).unwrap();
        let top = ["created", "author", "architecture", "os"].map(|key| configuration[key].as_str().unwrap());
        assert_eq!(top, ["2023-11-14T22:13:20Z", "A <a@example.org>", "amd64", "linux"]);
        assert_eq!(configuration["config"], settings(), "{reference}");
        let event = json!([{
            "created": "2023-11-14T22:13:20Z", "created_by": "by hand", "author": "H", "comment": "why"
        }]);
        assert_eq!(configuration["history"], event);
    }
    let names = run("skopeo", &["list-tags", &docker]);
    for name in ["example/image:1.0", "example/image:latest", "registry.example.org/other:2"] {
        assert!(names.contains(name), "{names}");
    }
    need!("umoci");
    need!(root);
    for (number, reference) in [oci, docker].iter().enumerate() {
        let layout = place.join(&format!("layout{number}"));
        run("skopeo", &["copy", "-q", reference, &format!("oci:{}:1.0", layout.display())]);
        let bundle = place.join(&format!("bundle{number}"));
        run("umoci", &["unpack", "--image", &format!("{}:1.0", layout.display()), text(&bundle)]);
        assert_same(&listing(&Rooted::open(&bundle.join("rootfs")).unwrap()), &expected(&root), reference);
    }
    // umoci opens the layout itself, too, once the tar is unpacked.
    let layout = place.folder("plain");
    run("tar", &["-xf", text(&place.join("example.oci.tar")), "-C", text(&layout)]);
    assert_eq!(
        run("umoci", &["list", "--layout", text(&layout)]).lines().collect::<std::collections::BTreeSet<_>>(),
        ["1.0", "2", "latest"].into()
    );
}

/// A tree with a shell that runs: the host's, with its libraries.
fn tree_with_shell(folder: &Path) {
    tree(folder);
    let libraries = run("ldd", &["/bin/sh"]);
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/bin/sh"]) {
        let target = folder.join(&file[1..]);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

#[test]
fn podman_loads_and_runs_both_archives() {
    need!("podman", "runc", "ldd");
    need!(root);
    let place = Place::new();
    tree_with_shell(&place.join("tree"));
    let scrubbed = scrubbed(&place.join("tree"));
    // podman wants a short path for its sockets.
    let storage = tempfile::Builder::new().prefix("ingot-podman-").tempdir().unwrap();
    let at = |name: &str| storage.path().join(name).to_str().unwrap().to_string();
    let podman = |arguments: &[&str]| {
        let (root, runroot) = (at("root"), at("run"));
        let storage = ["--root", &root, "--runroot", &runroot, "--storage-driver", "vfs", "--runtime", "runc"];
        let storage = [&storage[..], &["--cgroup-manager", "cgroupfs", "--events-backend", "file"]].concat();
        run("podman", &[&storage[..], arguments].concat())
    };
    for (archive, file) in [(ContainerArchive::Docker, "docker"), (ContainerArchive::Oci, "oci")] {
        let mut plan = plan(archive);
        let script = "id -u 2>/dev/null; pwd; echo $LANG; read line </etc/passwd; echo $line; echo $0; test -p pipe && echo pipe";
        plan.entrypoint = Some(vec!["/bin/sh".into(), "-c".into()]);
        plan.command = Some(vec![script.into()]);
        plan.volumes = Vec::new();
        write(&scrubbed, &plan, &place.path);
        let loaded = podman(&["load", "-i", text(&place.join(&format!("example.{file}.tar")))]);
        for name in plan.names() {
            assert!(loaded.contains(&name), "{name} in {loaded}");
        }
        let inspected: Value = serde_json::from_str(&podman(&["inspect", "example/image:1.0"])).unwrap();
        let mut wanted = settings();
        wanted["Entrypoint"] = json!(["/bin/sh", "-c"]);
        wanted["Cmd"] = json!([script]);
        wanted.as_object_mut().unwrap().remove("Volumes");
        assert_eq!(inspected[0]["Config"], wanted);
        assert_eq!(inspected[0]["Architecture"], "amd64");
        assert!(inspected[0]["Created"].as_str().unwrap().starts_with("2023-11-14T22:13:20"));
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let said = podman(&[&["run", "--rm", "--network=none"], &limits[..], &["example/image:1.0"]].concat());
        assert_eq!(said, "/srv\nC.UTF-8\nroot:x:0:0::/root:/bin/sh\n/bin/sh\npipe\n");
        podman(&["rmi", "-a", "-f"]);
    }
}
