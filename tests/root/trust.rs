//! Certificates that an image trusts, and the downloads of its build.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ingot::error::Exit;
use ingot::plan::trust::{Certificate, Family};
use ingot::plan::{Plan, TrustPlan};
use ingot::report::Reporter;
use ingot::root;

use crate::support::image::{Bench, Description, Ingot, result, unpack_docker};
use crate::support::{need, scratch, together};
use crate::tree::plan;

/// An authority of its own, whose certificate a server on loopback has, too.
pub(crate) fn authority(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("our ca.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
        .args(["-subj", "/CN=Tiny Authority", "-addext", "subjectAltName=IP:127.0.0.1", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

fn trusting(folder: &Path, family: Family, files: &[&Path]) -> Plan {
    let mut plan = plan(folder, "");
    let place = ingot::error::Place { file: "config.xml".into(), line: 3, column: 5 };
    let files = files.iter().map(|path| Certificate { path: path.into(), place: place.clone() }).collect();
    plan.root.trust = Some(TrustPlan { family, files });
    plan
}

#[test]
fn debians_program_puts_a_certificate_into_the_store() {
    need!(root);
    need!("openssl", "update-ca-certificates");
    let folder = scratch();
    let (certificate, _) = authority(folder.path());
    let programs = [
        "sh",
        "mktemp",
        "sed",
        "openssl",
        "find",
        "sort",
        "cat",
        "rm",
        "mv",
        "ln",
        "chmod",
        "basename",
        "readlink",
        "wc",
        "run-parts",
    ];
    let tree = crate::script::tree_of_its_own(&programs);
    for name in ["usr/sbin", "etc/ssl/certs", "usr/share/ca-certificates"] {
        fs::create_dir_all(tree.path().join(name)).unwrap();
    }
    fs::copy("/usr/sbin/update-ca-certificates", tree.path().join("usr/sbin/update-ca-certificates")).unwrap();
    fs::write(tree.path().join("etc/ca-certificates.conf"), "").unwrap();
    let plan = trusting(folder.path(), Family::Debian, &[&certificate]);
    let opened = root::RootTree::open(tree.path()).unwrap();
    let sandbox = ingot::host::sandbox::Sandbox::new(tree.path());
    let described = root::trust(&plan, &opened, &sandbox, &Reporter::silent()).unwrap();
    let path = "/usr/local/share/ca-certificates/our ca.crt";
    assert_eq!(described.into_iter().collect::<Vec<_>>(), [root::RootPath::from(path)]);
    let pem = fs::read_to_string(&certificate).unwrap();
    assert_eq!(fs::read_to_string(tree.path().join("etc/ssl/certs/ca-certificates.crt")).unwrap(), pem);
}

/// A tree with a shell, and a program of this name that notes what is in a folder.
fn tree_with(program: &str, folder: &str) -> tempfile::TempDir {
    let tree = crate::script::tree_of_its_own(&["bash", "ls"]);
    let path = tree.path().join("usr/bin").join(program);
    fs::write(&path, format!("#!/bin/bash\nls {folder} > /made\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    tree
}

#[test]
fn each_family_has_a_folder_and_a_program() {
    need!(root);
    need!("openssl");
    let folder = scratch();
    let (certificate, _) = authority(folder.path());
    let table = [
        (Family::Debian, "/usr/local/share/ca-certificates", "update-ca-certificates", "our ca.crt\n"),
        (Family::Suse, "/etc/pki/trust/anchors", "update-ca-certificates", "our ca.pem\n"),
        (Family::RedHat, "/etc/pki/ca-trust/source/anchors", "update-ca-trust", "our ca.pem\n"),
        (Family::Arch, "/etc/ca-certificates/trust-source/anchors", "update-ca-trust", "our ca.pem\n"),
    ];
    for (family, anchors, program, made) in table {
        let tree = tree_with(program, anchors);
        let plan = trusting(folder.path(), family, &[&certificate]);
        let opened = root::RootTree::open(tree.path()).unwrap();
        let sandbox = ingot::host::sandbox::Sandbox::new(tree.path());
        root::trust(&plan, &opened, &sandbox, &Reporter::silent()).unwrap();
        assert_eq!(fs::read_to_string(tree.path().join("made")).unwrap(), made, "{family:?}");
    }
}

#[test]
fn what_cannot_be_trusted_is_65_with_its_place() {
    need!(root);
    need!("openssl");
    let folder = scratch();
    let (certificate, key) = authority(folder.path());
    let der = folder.path().join("ca.der");
    let command = Command::new("openssl").args(["x509", "-outform", "der", "-in"]).arg(&certificate).output().unwrap();
    fs::write(&der, command.stdout).unwrap();
    let tree = tree_with("other-program", "/");
    let opened = root::RootTree::open(tree.path()).unwrap();
    let sandbox = ingot::host::sandbox::Sandbox::new(tree.path());
    for (file, why) in [(&der, "in PEM"), (&key, "a private key"), (&certificate, "the image has no update-ca-trust")] {
        let plan = trusting(folder.path(), Family::RedHat, &[file]);
        let error = root::trust(&plan, &opened, &sandbox, &Reporter::silent()).unwrap_err();
        assert_eq!(error.exit(), Exit::Description);
        assert!(error.text().contains(why), "{}", error.text());
        assert!(file == &certificate || error.text().contains("config.xml:3:5"), "{}", error.text());
    }
}

/// Serves a folder by TLS on loopback; stops when dropped.
pub(crate) struct Secure {
    child: Child,
    pub(crate) url: String,
}

impl Secure {
    pub(crate) fn start(folder: &Path, certificate: &Path, key: &Path) -> Secure {
        let program = "import http.server as h, os, ssl, sys\n\
            os.chdir(sys.argv[1])\n\
            server = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n\
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
            context.load_cert_chain(sys.argv[2], sys.argv[3])\n\
            server.socket = context.wrap_socket(server.socket, server_side=True)\n\
            print(server.server_address[1], flush=True)\n\
            server.serve_forever()\n";
        let mut command = Command::new("python3");
        command.args(["-c", program]).args([folder, certificate, key]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Secure { child, url: format!("https://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tiny container, with a program that makes a store in its bootstrap phase.
fn with_program(bench: &Bench) -> Description {
    let folder = bench.path("program/usr/sbin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("update-ca-certificates");
    fs::write(&path, "#!/bin/sh\ncat /usr/local/share/ca-certificates/* > /etc/store.pem\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let archive = bench.path("program.tar");
    let made = Command::new("tar").arg("-C").arg(bench.path("program")).arg("-cf").arg(&archive).arg("usr").output();
    assert!(made.unwrap().status.success());
    let name = "<package name=\"passwd\"/>";
    let description = bench.container().file("program.tar", fs::read(archive).unwrap());
    description.edit(name, &format!("{name}<archive name=\"program.tar\"/>"))
}

#[test]
fn a_mirror_with_a_certificate_of_ones_own_is_used_where_the_description_trusts_it() {
    need!(root);
    need!("openssl", "python3", "apt-get");
    let _turn = together();
    let bench = Bench::new();
    let (certificate, key) = authority(&bench.path(""));
    let server = Secure::start(&bench.world.repository(), &certificate, &key);
    let description = with_program(&bench);
    let build =
        |target: &str| bench.build_into(&description, target).arg("--mirror").arg(format!("tiny={}", server.url));
    build("out").run().expect(76).says(&["certificate", "--ca-cert"]);

    let description = description.file("ca.pem", fs::read(&certificate).unwrap());
    let section = "<certificates target_distribution=\"debian\"><certificate name=\"ca.pem\"/></certificates>";
    let description = description.edit("</image>", &format!("{section}</image>"));
    let build =
        |target: &str| bench.build_into(&description, target).arg("--mirror").arg(format!("tiny={}", server.url));
    build("out").run().expect(0);
    let unpacked = bench.path("unpacked");
    unpack_docker(&result(&bench.path("out"), ".docker.tar"), &unpacked);
    let pem = fs::read_to_string(&certificate).unwrap();
    assert_eq!(fs::read_to_string(unpacked.join("usr/local/share/ca-certificates/ca.crt")).unwrap(), pem);
    assert_eq!(fs::read_to_string(unpacked.join("etc/store.pem")).unwrap(), pem);
}

#[test]
fn a_certificate_of_kiwis_command_line_counts_like_one_of_the_description() {
    need!(root);
    need!("openssl", "python3", "apt-get");
    let _turn = together();
    let bench = Bench::new();
    let (certificate, key) = authority(&bench.path(""));
    let server = Secure::start(&bench.world.repository(), &certificate, &key);
    let description = with_program(&bench).edit("mirror://tiny", &server.url);
    let kiwi = |root: &str, words: &[&str]| {
        Ingot::new(["kiwi", "system", "prepare", "--root"])
            .arg(bench.path(root))
            .arg("--description")
            .arg(description.folder())
            .args(words)
            .env("INGOT_CACHE_DIR", bench.path("cache").to_str().unwrap())
            .env("INGOT_WORK_DIR", bench.path("work").to_str().unwrap())
            .in_folder(&bench.path(""))
            .run()
    };
    kiwi("none", &[]).expect(76);
    // Who says how it is installed must be said.
    kiwi("none", &["--ca-cert", "our ca.pem"]).expect(65).says(&["--ca-target-distribution"]);
    kiwi("none", &["--ca-cert", "gone.pem", "--ca-target-distribution", "debian"]).expect(66).says(&["gone.pem"]);
    kiwi("none", &["--ca-cert", "our ca.pem", "--ca-target-distribution", "hurd"]).expect(65).says(&["`hurd`"]);
    let words = ["--ca-cert", "our ca.pem", "--ca-target-distribution", "debian"];
    kiwi("tree", &words).expect(0);
    let pem = fs::read_to_string(&certificate).unwrap();
    assert_eq!(fs::read_to_string(bench.path("tree/etc/store.pem")).unwrap(), pem);
    // It alone chooses nothing, and says so.
    let alone = kiwi("none", &["--ca-target-distribution", "debian"]).expect(76);
    assert!((alone.stdout + &alone.stderr).contains("--ca-target-distribution debian is ignored"));
}
