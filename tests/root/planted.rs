//! What a build leaves behind does not reach the image: neither as a file nor in the free space between files.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::image::{Bench, Description, Ingot, result};
use crate::support::{need, together};

/// Where each secret is planted. The directories are made first.
const PLANTED: &[&str] = &[
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/udev/rules.d/75-persistent-net-generator.rules",
    "/root/.bash_history",
    "/root/.python_history",
    "/root/.viminfo",
    "/home/joe/.bash_history",
    "/home/joe/.zsh_history",
    "/home/joe/.cache/thumbnails/one",
    "/etc/skel/.lesshst",
    "/root/.aws/credentials",
    "/home/joe/.config/gcloud/credentials.db",
    "/home/joe/.kube/config",
    "/root/.docker/config.json",
    "/root/.netrc",
    "/root/.git-credentials",
    "/root/.vault-token",
    "/root/.ssh/id_ed25519",
    "/root/.ssh/known_hosts",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/var/lib/dhcp/dhclient.eth0.leases",
    "/var/log/application.log",
    "/var/log/private/deep/one.log",
    "/var/log/journal/5c0f/system.journal",
    "/tmp/temporary file",
    "/tmp/deep/er/file",
    "/var/tmp/.hidden",
    "/var/cache/apt/archives/partial/left.deb",
    "/var/lib/systemd/random-seed",
    "/var/lib/cloud/instances/i-1/user-data.txt",
    "/var/crash/core.1",
    "/var/lib/NetworkManager/secret_key",
    "/var/spool/cron/crontabs/joe",
    "/etc/passwd-",
];

fn canary(index: usize) -> String {
    format!("canary-{index:02}-7b1d44f0a9")
}

fn planted(description: Description) -> Description {
    let mut script = String::new();
    for (index, path) in PLANTED.iter().enumerate() {
        let canary = canary(index);
        script.push_str(&format!("mkdir -p \"$(dirname '{path}')\"\n"));
        // Long enough for an inode of its own and for blocks of its own.
        script.push_str(&format!("yes {canary} | head -n 2000 > '{path}'\n"));
    }
    // A secret that the build itself deleted is still on the filesystem that it was written to.
    let deleted = canary(PLANTED.len());
    script.push_str(&format!("yes {deleted} | head -n 20000 > /srv/secret\nsync\nrm /srv/secret\n"));
    script.push_str("yes 0123456789abcdef0123456789abcdef | head -n 1 > /etc/machine-id\nchown -R joe /home/joe\n");
    description
        .edit("  <packages type=\"bootstrap\">", "  <users><user name=\"joe\" password=\"*\" groups=\"joe\" home=\"/home/joe\"/></users>\n  <packages type=\"bootstrap\">")
        .script("config.sh", &script)
}

/// Which canaries are in `bytes`, with what they stood for.
fn found_in(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for index in 0..=PLANTED.len() {
        let canary = canary(index);
        if bytes.windows(canary.len()).any(|window| window == canary.as_bytes()) {
            found.push(PLANTED.get(index).unwrap_or(&"a deleted file").to_string());
        }
    }
    found
}

/// Every file in a tar archive, compressed ones also decompressed, archives in it also unpacked.
fn all_bytes(archive: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(archive);
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut bytes = Vec::new();
        entry.unwrap().read_to_end(&mut bytes).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut plain).unwrap();
            into.extend_from_slice(&plain);
        }
    }
}

fn assert_audit_agrees(artifact: &Path, work: PathBuf) {
    Ingot::new(["audit"]).arg(artifact).env("INGOT_WORK_DIR", work.to_str().unwrap()).run().expect(0);
}

#[test]
fn nothing_that_config_sh_planted_is_in_the_raw_bytes_of_a_disk() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = planted(bench.disk().edit(" format=\"qcow2\"", ""));
    bench.build(&description).run().expect(0);
    let raw = result(&bench.path("out"), ".raw");
    assert_eq!(found_in(&fs::read(&raw).unwrap()), [""; 0]);
    assert_audit_agrees(&raw, bench.path("work"));
}

#[test]
fn nothing_that_config_sh_planted_is_in_a_container() {
    need!(root);
    let _turn = together();
    for (kind, end) in [("docker", ".docker.tar"), ("oci", ".oci.tar")] {
        let bench = Bench::new();
        let description = planted(bench.container().edit("image=\"docker\"", &format!("image=\"{kind}\"")));
        bench.build(&description).run().expect(0);
        let archive = result(&bench.path("out"), end);
        let mut bytes = Vec::new();
        all_bytes(&fs::read(&archive).unwrap(), &mut bytes);
        assert_eq!(found_in(&bytes), [""; 0], "{kind}");
        assert_audit_agrees(&archive, bench.path("work"));
    }
}

#[test]
fn the_search_finds_what_an_image_keeps_on_purpose() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let line = format!("echo {} > /usr/share/tiny/kept\necho {} > /root/.bash_history", canary(0), canary(2));
    let description = bench.container().script("config.sh", &line);
    bench.build(&description).run().expect(0);
    let mut bytes = Vec::new();
    all_bytes(&fs::read(result(&bench.path("out"), ".docker.tar")).unwrap(), &mut bytes);
    assert_eq!(found_in(&bytes), [PLANTED[0]]);
}
