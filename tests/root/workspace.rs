//! Where trees grow, and what is left of it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ingot::error::{Error, Exit};
use ingot::host::sandbox::Sandbox;
use ingot::report::Reporter;
use ingot::root::{Workspace, WorkspaceKind};

use crate::support::leaks::Host;
use crate::support::{alone, need, scratch, together};

/// A workspace with an empty tree.
fn workspace(parent: &Path, kind: WorkspaceKind) -> Result<Workspace, Error> {
    let mut workspace = Workspace::create(parent, kind)?;
    workspace.lay_out(&Reporter::silent())?;
    Ok(workspace)
}

#[test]
fn a_workspace_gives_an_empty_tree_and_leaves_nothing() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    for kind in [WorkspaceKind::Loop, WorkspaceKind::Folder] {
        let (parent, before) = (scratch(), Host::look(&[]));
        let workspace = workspace(parent.path(), kind).unwrap();
        let tree = workspace.tree().unwrap();
        let entries = tree.walk(&"/".into()).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| format!("{} {:o}", entry.path, entry.mode)).collect();
        assert_eq!(seen, ["/ 755", "/dev 755", "/proc 755", "/run 755", "/sys 755", "/tmp 1777"]);
        let own = std::fs::metadata(tree.host_path()).unwrap().dev() != std::fs::metadata(parent.path()).unwrap().dev();
        assert_eq!(own, kind == WorkspaceKind::Loop);
        tree.write(&"/etc/big".into(), vec![1; 3 << 20], 0o644).unwrap();
        let _ = Sandbox::new(tree.host_path()).run(&Reporter::silent(), &["none"]).unwrap_err();
        drop(tree);
        workspace.close().unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        before.assert_nothing_left(&[parent.path()]);
    }
}

#[test]
fn a_workspace_that_is_only_dropped_leaves_nothing_either() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    let (parent, before) = (scratch(), Host::look(&[]));
    drop(workspace(parent.path(), WorkspaceKind::Loop).unwrap());
    before.assert_nothing_left(&[parent.path()]);
}

#[test]
fn the_next_build_sweeps_what_a_killed_one_left_and_not_what_is_in_use() {
    need!(root);
    let _turn = together();
    let parent = scratch();
    let used = workspace(parent.path(), WorkspaceKind::Folder).unwrap();
    std::fs::create_dir_all(parent.path().join("ingot-work-dead/tree/dev")).unwrap();
    std::fs::create_dir(parent.path().join("else")).unwrap();
    let other = workspace(parent.path(), WorkspaceKind::Folder).unwrap();
    assert!(used.folder().exists() && other.folder().exists());
    assert!(!parent.path().join("ingot-work-dead").exists());
    assert!(parent.path().join("else").exists());
}

#[test]
fn a_full_workspace_is_74_and_says_which_filesystem() {
    need!(root);
    let _turn = together();
    let parent = scratch();
    let script = "mount -t tmpfs -o size=2m none $1";
    let run = |script: &str| {
        let status = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(parent.path()).status().unwrap();
        assert!(status.success());
    };
    run(script);
    let _unmount = Unmount(parent.path());
    let refused = workspace(parent.path(), WorkspaceKind::Loop).unwrap_err();
    assert_eq!(refused.exit(), Exit::Io);
    assert!(refused.text().contains("has only"), "{}", refused.text());
    let workspace = workspace(parent.path(), WorkspaceKind::Folder).unwrap();
    let error = workspace.explain(Error::cannot(Exit::Description, "run config.sh"));
    assert_eq!(error.exit(), Exit::Io);
    assert!(
        error.text().contains(&format!("the filesystem that holds {}", parent.path().display())),
        "{}",
        error.text()
    );
}

#[test]
fn a_tree_that_the_disk_did_not_take_is_74_and_not_only_when_it_is_read_again() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    let (parent, before) = (scratch(), Host::look(&[]));
    let run = |program: &str, arguments: &[&str]| {
        let path = parent.path().to_str().unwrap();
        let arguments = arguments.iter().map(|argument| argument.replace("HERE", path));
        std::process::Command::new(program).args(arguments).status().unwrap().success()
    };
    assert!(run("mount", &["-t", "tmpfs", "-o", "size=200m", "none", "HERE"]));
    let unmount = Unmount(parent.path());
    let workspace = workspace(parent.path(), WorkspaceKind::Loop).unwrap();
    let tree = workspace.tree().unwrap();
    tree.write(&"/first".into(), vec![1; 1 << 20], 0o644).unwrap();
    workspace.nothing_is_lost().unwrap();
    assert!(run("sync", &["--file-system", tree.host_path().to_str().unwrap()]));
    workspace.nothing_is_lost().unwrap();
    // There was room for it when the workspace was made.
    assert!(!run("dd", &["if=/dev/zero", "of=HERE/other", "bs=1M", "status=none"]));
    tree.write(&"/second".into(), vec![2; 8 << 20], 0o644).unwrap();
    workspace.nothing_is_lost().unwrap_err();
    for _ in 0..2 {
        let error = workspace.nothing_is_lost().unwrap_err();
        assert_eq!(error.exit(), Exit::Io);
        assert!(error.text().contains("scratch") && error.text().contains("--work-dir"), "{}", error.text());
    }
    drop(tree);
    workspace.close().unwrap();
    drop(unmount);
    before.assert_nothing_left(&[parent.path()]);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}
