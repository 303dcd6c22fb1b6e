//! The tiny pacman world itself, read by the real pacman.

use std::path::Path;
use std::process::Command;

use crate::support::pacman::{PacmanWorld, REPOSITORY, need_pacman_world};
use crate::support::server::Server;
use crate::support::{need, scratch, together};

fn run(command: &mut Command) -> (bool, String) {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// pacman in a root of its own, with one repository and one key that it trusts.
fn pacman(folder: &Path, url: &str, key: &Path, words: &[&str]) -> (bool, String) {
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("var/lib/pacman")).unwrap();
    let ring = folder.join("gnupg");
    std::fs::create_dir_all(&ring).unwrap();
    let gpg = |words: &[&str], last: &Path| {
        run(Command::new("gpg").args(["--batch", "--quiet", "--homedir"]).arg(&ring).args(words).arg(last))
    };
    std::fs::set_permissions(&ring, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (good, said) = gpg(&["--import"], key);
    assert!(good, "{said}");
    let (_, said) = gpg(&["--with-colons", "--show-keys"], key);
    let print = said.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_string();
    let trust = folder.join("trust");
    std::fs::write(&trust, format!("{print}:6:\n")).unwrap();
    let (good, said) = gpg(&["--import-ownertrust"], &trust);
    assert!(good, "{said}");
    let text = format!(
        "[options]\nArchitecture = x86_64\nSigLevel = Required DatabaseRequired\n[{REPOSITORY}]\nServer = {url}\n"
    );
    let configuration = folder.join("pacman.conf");
    std::fs::write(&configuration, text).unwrap();
    let mut command = Command::new("pacman");
    command.arg("--config").arg(&configuration).arg("--root").arg(&root).arg("--gpgdir").arg(&ring);
    command.arg("--cachedir").arg(folder.join("cache")).arg("--logfile").arg(folder.join("log"));
    let said = run(command.arg("--noconfirm").args(words));
    let _ = Command::new("gpgconf").arg("--homedir").arg(&ring).args(["--kill", "all"]).status();
    said
}

#[test]
fn pacman_lists_the_tiny_pacman_world_and_installs_from_it() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let world = PacmanWorld::open();
    let server = Server::start(world.repository());
    let scratch = scratch();
    let ask = |words: &[&str]| pacman(scratch.path(), &server.url(), &world.key(), words);
    let (good, said) = ask(&["-Sy", "busybox", "tiny-hooks", "tiny-app"]);
    assert!(good, "{said}");
    let root = scratch.path().join("root");
    let scripts = std::fs::read_to_string(root.join("var/lib/tiny/scripts")).unwrap();
    assert_eq!(scripts, "tiny-app pre_install 1:2.0-3\ntiny-app post_install 1:2.0-3\n");
    let hook = std::fs::read_to_string(root.join("var/lib/tiny/hook")).unwrap();
    assert_eq!(hook, "usr/share/tiny/\nusr/share/tiny/data\n");
    let (good, said) = ask(&["-Qkk"]);
    assert!(good, "{said}");
    let (good, said) = ask(&["-Sg", "tiny-group"]);
    let members = said.lines().filter(|line| line.starts_with("tiny-group ")).count();
    assert!(good && members == 3, "{said}");
}

#[test]
fn pacman_refuses_what_is_not_signed_by_the_key() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let world = PacmanWorld::open();
    let scratch = scratch();
    for name in ["unsigned", "other", "tampered"] {
        let repository = scratch.path().join(format!("{name}.repository"));
        match name {
            "unsigned" => world.unsigned_database(&repository),
            "other" => world.copy(&repository),
            _ => world.tampered("tiny-provider", &repository),
        }
        let key = if name == "other" { world.other_key() } else { world.key() };
        let server = Server::start(&repository);
        let folder = scratch.path().join(name);
        let (good, said) = pacman(&folder, &server.url(), &key, &["-Sy", "tiny-provider"]);
        assert!(!good && !folder.join("root/var/lib/pacman/local/tiny-provider-1.0-1").exists(), "{name}: {said}");
    }
}
