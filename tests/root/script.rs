//! The scripts of a description, run in a tree.

use std::os::unix::fs::PermissionsExt;

use ingot::error::{Exit, Result};
use ingot::plan::{Plan, ScriptPhase};
use ingot::report::Reporter;
use ingot::root;

use crate::support::{need, scratch};
use crate::tree::{Tree, plan};

fn with_script(name: &str, mode: u32, content: &str) -> (tempfile::TempDir, Plan) {
    let folder = scratch();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    let plan = plan(folder.path(), "");
    (folder, plan)
}

fn run(phase: ScriptPhase, plan: &Plan, tree: &Tree) -> Result<()> {
    root::run_script(phase, plan, &tree.tree(), &tree.sandbox(), &Reporter::silent())
}

fn said(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.tree().read(&path.into()).unwrap()).unwrap()
}

#[test]
fn a_script_finds_its_surroundings_and_leaves_none() {
    need!(root);
    let script = "test -f /.kconfig && . /.kconfig\ntest -f /.profile && . /.profile\nset -eu\n\
        echo \"$PWD $0 $kiwi_iname $kiwi_iversion ${BASH_VERSION:+bash} $(id -u)\" > /said\n\
        ls /image >> /said\nenv | grep ^kiwi_iname= >> /said\necho from config > /image/note\n";
    let (_folder, mut plan) = with_script("config.sh", 0o644, script);
    plan.root.variables.insert("kiwi_displayname".into(), "it's $HOME `x`".into());
    let tree = Tree::new();
    run(ScriptPhase::Images, &plan, &tree).unwrap();
    assert!(!tree.path().join("image").exists(), "no script of that phase");
    run(ScriptPhase::Config, &plan, &tree).unwrap();
    let wanted = "/ /image/config.sh grown 1.2.3 bash 0\nconfig.sh\nconfig.xml\nkiwi_iname=grown\n";
    assert_eq!(said(&tree, "/said"), wanted);
    assert_eq!(tree.says(". /.profile; echo \"$kiwi_displayname\""), "it's $HOME `x`");
    assert_eq!(said(&tree, "/image/note"), "from config\n");
    root::remove_surroundings(&tree.tree()).unwrap();
    for name in ["image", ".profile", ".kconfig"] {
        assert!(!tree.path().join(name).exists(), "{name}");
    }
}

#[test]
fn an_executable_script_is_started_by_its_own_interpreter() {
    need!(root);
    let (_folder, plan) = with_script("images.sh", 0o755, "#!/bin/sh\necho \"${BASH_VERSION:-sh}\" > /said\n");
    let tree = Tree::new();
    run(ScriptPhase::Images, &plan, &tree).unwrap();
    assert_eq!(said(&tree, "/said"), "sh\n");
}

#[test]
fn a_failing_script_is_65_with_its_name_status_and_last_words() {
    need!(root);
    let (_folder, plan) = with_script("config.sh", 0o755, "#!/bin/sh\necho before\necho why >&2\nexit 3\n");
    let error = run(ScriptPhase::Config, &plan, &Tree::new()).unwrap_err();
    assert_eq!(error.exit(), Exit::Description);
    assert_eq!(
        error.text(),
        "error: config.sh exited with status 3\n  cause: | why\n  hint:  `set -x` at the script's top shows in the log \
         which command failed"
    );
    let (_folder, plan) = with_script("config.sh", 0o755, "#!/no/such/shell\n");
    let error = run(ScriptPhase::Config, &plan, &Tree::new()).unwrap_err();
    assert_eq!(error.exit(), Exit::Description);
    assert!(error.text().contains("the interpreter that its first line names"), "{}", error.text());
    let (_folder, plan) = with_script("config.sh", 0o755, "#!/bin/sh\nno-such-program\n");
    let error = run(ScriptPhase::Config, &plan, &Tree::new()).unwrap_err();
    assert!(error.text().contains("is not in the image: add its package"), "{}", error.text());
}

#[test]
fn the_functions_do_what_descriptions_expect_in_every_shell() {
    need!(root);
    let body = ". /.kconfig\nset -eu\n\
        baseSetRunlevel 3 2>/dev/null\nbaseSetRunlevel nothing\nbaseInsertService none\nbaseService none off\n\
        baseUpdateSysConfig /etc/sysconfig/app NAME 'a|b&c\\d'\nbaseUpdateSysConfig /etc/none NAME x\n\
        baseCleanMount\nsuseConfig\nmountCgroups\nbaseSyncKernelTree\nsuseSetupProduct\nbaseStripInitrd\nmountProc\n\
        baseQuoteFile /etc/quoted\nEcho -b indented\nEcho -e 'a\\tb'\nEcho -n x\nEcho y\nDebug hidden\nbaseSetupBuildDay\n\
        if baseService none maybe; then exit 9; fi\n\
        baseSystemdServiceInstalled sshd\nrm -rf /etc/locales; mkdir /etc/locales; echo end\n";
    let target = "/usr/lib/systemd/system/multi-user.target";
    let has_target = std::path::Path::new(target).exists();
    for interpreter in ["#!/bin/sh\n", "#!/bin/bash\n", "#!/bin/dash\n"] {
        let (_folder, plan) = with_script("config.sh", 0o755, &format!("{interpreter}exec > /said 2>&1\n{body}"));
        let tree = Tree::new();
        tree.write("/etc/systemd/system/sshd.service", "");
        tree.write("/etc/sysconfig/app", "# NAME=no\nNAME=old\nOTHER=x\n");
        tree.write("/etc/quoted", "# comment\n\nA=x y\nB=\"z\"\nC='w'\n");
        run(ScriptPhase::Config, &plan, &tree)
            .unwrap_or_else(|error| panic!("{}: {}", error.text(), said(&tree, "/said")));
        assert_eq!(
            said(&tree, "/said"),
            "warning: baseSetRunlevel nothing: the image has no nothing.target\n\
             warning: baseUpdateSysConfig: the image has no /etc/none\n\
             warning: baseCleanMount: obsolete, nothing was done; remove the call from the script\n\
             warning: suseConfig: obsolete, nothing was done; remove the call from the script\n\
             warning: mountCgroups: a script with the control groups of the host would be out of its sandbox; \
             nothing was done\n\
             warning: baseSyncKernelTree: there is no /kernel-tree; baseCreateKernelTree makes it\n\
             warning: suseSetupProduct: the image has no /etc/products.d\n    \
             indented\na\tb\nxy\n\
             warning: baseService none maybe: the second word must be on or off\n\
             /etc/systemd/system/sshd.service\nend\n",
            "{interpreter}"
        );
        assert_eq!(said(&tree, "/etc/sysconfig/app"), "# NAME=no\nNAME=\"a|b&c\\d\"\nOTHER=x\n");
        assert_eq!(said(&tree, "/etc/quoted"), "A='x y'\nB='z'\nC='w'\n");
        if has_target {
            let link = std::fs::read_link(tree.path().join("etc/systemd/system/default.target")).unwrap();
            assert_eq!(link.to_str(), Some(target));
        }
    }
}

#[test]
fn every_script_of_a_disk_runs_once_in_kiwis_order() {
    need!(root);
    let _turn = crate::support::together();
    let bench = crate::support::image::Bench::new();
    let names = ["post_bootstrap.sh", "config.sh", "images.sh", "boot/edit.sh", "pre_disk_sync.sh", "disk.sh"];
    let mut description = bench.disk().edit("firmware=\"efi\"", "firmware=\"efi\" editbootconfig=\"boot/edit.sh\"");
    for name in names {
        // The last one sees a bootable system, as in KIWI's mounted disk.
        let body = match name {
            "disk.sh" => "echo disk.sh >> /order; ls /boot/grub/grub.cfg >> /order",
            // KIWI calls it in the tree's folder.
            "boot/edit.sh" => {
                "echo \"boot/edit.sh\" >> order; echo \"$*\" > arguments; cat boot/grub/grub.cfg > written"
            }
            _ => "echo \"${0##*/}\" >> /order",
        };
        description = description.script(name, body);
    }
    bench.build(&description).arg("--keep-root").run().expect(0);
    let order = std::fs::read_to_string(bench.path("out/tiny.root/order")).unwrap();
    assert_eq!(order.lines().collect::<Vec<_>>(), [&names[..], &["/boot/grub/grub.cfg"]].concat());
    let read = |name: &str| std::fs::read_to_string(bench.path("out/tiny.root").join(name)).unwrap();
    assert_eq!(read("arguments"), "ext4 3\n");
    assert_eq!(read("written"), read("boot/grub/grub.cfg"));
    // A container has no disk.
    let description = bench.container().script("disk.sh", "exit 1").script("pre_disk_sync.sh", "exit 1");
    bench.build_into(&description, "container").run().expect(0);
}

/// A tree of its own with a shell and a few programs, and what they are linked with.
pub fn tree_of_its_own(programs: &[&str]) -> tempfile::TempDir {
    let folder = scratch();
    for name in ["usr/bin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run", "tmp", "root", "etc"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
    }
    for program in programs {
        let path = format!("/usr/bin/{program}");
        let linked = std::process::Command::new("ldd").arg(&path).output().unwrap();
        let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
        for file in linked.split_whitespace().filter(|word| word.starts_with('/')).chain([path.as_str()]) {
            let copy = folder.path().join(file.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(file, copy).unwrap();
        }
    }
    std::fs::write(folder.path().join(".kconfig"), include_str!("../../src/root/kconfig.sh")).unwrap();
    folder
}

#[test]
fn libraries_that_nothing_is_linked_with_are_stripped() {
    need!(root);
    need!("ldd");
    let programs = ["bash", "dash", "find", "grep", "sed", "sort", "readlink", "mktemp", "rm", "cat", "ldd"];
    for shell in ["/bin/bash", "/bin/dash"] {
        let folder = tree_of_its_own(&programs);
        let libraries = folder.path().join("usr/lib");
        let listing = || {
            let mut names: Vec<_> = walk(&libraries).into_iter().filter(|name| name.contains(".so")).collect();
            names.sort();
            names
        };
        let needed = listing();
        assert!(needed.iter().any(|name| name.starts_with("libselinux.so")), "{needed:?}");
        let of_libraries = ["libunused.so.1.2", "libasked.so.3", "libnss_some.so.2", "plugins/libplugin.so"];
        std::fs::create_dir(libraries.join("plugins")).unwrap();
        for name in of_libraries {
            std::fs::write(libraries.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("libunused.so.1.2", libraries.join("libunused.so.1")).unwrap();
        let script = "set -eu; . /.kconfig; baseStripUnusedLibs libasked; echo end";
        let sandbox = ingot::host::sandbox::Sandbox::new(folder.path());
        let ended = sandbox.run_to_end(&Reporter::silent(), &[shell, "-c", script], |_| {}).unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.output.stdout), "end\n", "{:?}", ended.output);
        let mut wanted = needed.clone();
        wanted.extend(["libasked.so.3", "libnss_some.so.2", "libplugin.so"].map(String::from));
        wanted.sort();
        assert_eq!(listing(), wanted, "{shell}");
        assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}

/// The names of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path().is_dir() {
            true => names.extend(walk(&entry.path())),
            false => names.push(entry.file_name().into_string().unwrap()),
        }
    }
    names
}

#[test]
fn a_module_that_an_update_brings_again_is_stripped() {
    need!(root);
    let folder = tree_of_its_own(&["dash", "find", "rm"]);
    let modules = folder.path().join("usr/lib/modules");
    for name in ["6.1/kernel/net/a.ko.xz", "6.1/kernel/net/ab.ko", "6.1/updates/dkms/a.ko", "6.2/kernel/a.ko"] {
        let path = modules.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let script = "set -eu; . /.kconfig; baseStripModules; echo end";
    let sandbox = ingot::host::sandbox::Sandbox::new(folder.path());
    let ended = sandbox.run_to_end(&Reporter::silent(), &["/bin/dash", "-c", script], |_| {}).unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.output.stdout), "end\n", "{:?}", ended.output);
    let mut left = walk(&modules);
    left.sort();
    assert_eq!(left, ["a.ko", "a.ko", "ab.ko"]);
}

/// Runs it in such a tree, and returns both outputs.
fn shell_in(folder: &std::path::Path, shell: &str, script: &str) -> String {
    let sandbox = ingot::host::sandbox::Sandbox::new(folder);
    let ended = sandbox.run_to_end(&Reporter::silent(), &[shell, "-c", script], |_| {}).unwrap();
    let said = [ended.output.stdout, ended.output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.status.success(), "{shell}: {said}");
    said
}

#[test]
fn modules_that_no_pattern_matches_go_but_not_what_others_need() {
    need!(root);
    for shell in ["/bin/dash", "/bin/bash"] {
        let folder = tree_of_its_own(&["bash", "dash", "find", "rm", "cp", "mkdir", "sort", "grep"]);
        let modules = folder.path().join("usr/lib/modules");
        let kernel = |path: &str| modules.join("6.1-a/kernel").join(path);
        for name in ["net/e100.ko.xz", "net/mii.ko", "fs/ext4.ko.zst", "lib/crc16.ko", "lib/unused.ko", "sound/snd.ko"]
        {
            std::fs::create_dir_all(kernel(name).parent().unwrap()).unwrap();
            std::fs::write(kernel(name), name).unwrap();
        }
        let needs = "kernel/net/e100.ko.xz: kernel/net/mii.ko\nkernel/net/mii.ko:\n\
            kernel/fs/ext4.ko.zst: kernel/lib/crc16.ko\nkernel/sound/snd.ko: kernel/lib/unused.ko\n";
        std::fs::write(modules.join("6.1-a/modules.dep"), needs).unwrap();
        let script = "set -eu; . /.kconfig; kiwi_drivers='/e[0-9]+\\.ko,fs/ext4'; baseCreateKernelTree; \
            baseStripKernelModules; baseFixupKernelModuleDependencies; baseSyncKernelTree";
        let said = shell_in(folder.path(), shell, script);
        assert!(said.contains("kernel/fs/ext4.ko.zst needs kernel/lib/crc16.ko\n"), "{said}");
        let mut left = walk(&modules);
        left.sort();
        assert_eq!(left, ["crc16.ko", "e100.ko.xz", "ext4.ko.zst", "mii.ko", "modules.dep"], "{shell}");
        assert_eq!(std::fs::read_to_string(kernel("lib/crc16.ko")).unwrap(), "lib/crc16.ko");
        assert!(!folder.path().join("kernel-tree").exists());
    }
}

#[test]
fn a_box_lets_vagrant_in_and_says_who_else_may() {
    need!(root);
    for sshd in ["sshd_config.d", "sshd_config"] {
        let folder =
            tree_of_its_own(&["bash", "dash", "id", "grep", "mkdir", "chmod", "chown", "sed", "systemctl", "rm"]);
        let etc = folder.path().join("etc");
        for name in ["ssh", "sudoers.d", "systemd/system"] {
            std::fs::create_dir_all(etc.join(name)).unwrap();
        }
        std::fs::create_dir(folder.path().join("image")).unwrap();
        std::fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\nvagrant:x:1000:1000::/srv/box:/bin/sh\n")
            .unwrap();
        std::fs::write(etc.join("group"), "root:x:0:\nvagrant:x:1000:\n").unwrap();
        match sshd {
            "sshd_config" => std::fs::write(etc.join("ssh/sshd_config"), "UseDNS yes\n").unwrap(),
            _ => std::fs::create_dir(etc.join("ssh/sshd_config.d")).unwrap(),
        }
        let said =
            shell_in(folder.path(), "/bin/dash", "set -eu; . /.kconfig; baseVagrantSetup; setupContainerRuntime");
        assert!(said.contains("everybody has the key in /srv/box/.ssh/authorized_keys"), "{said}");
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
        let keys = folder.path().join("srv/box/.ssh/authorized_keys");
        let about = std::fs::metadata(&keys).unwrap();
        assert_eq!((about.permissions().mode() & 0o777, std::os::unix::fs::MetadataExt::uid(&about)), (0o600, 1000));
        let checked = std::process::Command::new("ssh-keygen").arg("-lf").arg(&keys).output();
        if let Ok(checked) = checked {
            assert!(String::from_utf8_lossy(&checked.stdout).starts_with("2048 "), "{checked:?}");
        }
        assert_eq!(read("image/.asked-for"), "/srv/box/.ssh/authorized_keys\n");
        assert_eq!(read("etc/sudoers.d/vagrant"), "vagrant ALL=(ALL) NOPASSWD: ALL\n");
        let wanted = "UseDNS no\nGSSAPIAuthentication no\n";
        match sshd {
            "sshd_config" => assert_eq!(read("etc/ssh/sshd_config"), format!("{wanted}UseDNS yes\n")),
            _ => assert_eq!(read("etc/ssh/sshd_config.d/00-vagrant.conf"), wanted),
        }
        assert!(read("etc/containers/storage.conf").starts_with("[storage]\ndriver = \"vfs\"\n"));
        assert!(read("etc/containers/containers.conf").ends_with("cgroup_manager = \"cgroupfs\"\n"));
    }
}

#[test]
fn a_key_that_a_script_asked_for_is_kept_and_no_other_one() {
    need!(root);
    let tree = Tree::new();
    tree.write("/image/.asked-for", "/home/v/.ssh/authorized_keys\n/root/.bash_history\nx/.ssh/authorized_keys\n\n");
    let asked = root::asked_for(&tree.tree()).unwrap();
    assert_eq!(asked, [ingot::root::RootPath::new("/home/v/.ssh/authorized_keys")]);
    tree.tree().remove(&"/image/.asked-for".into()).unwrap();
    assert!(root::asked_for(&tree.tree()).unwrap().is_empty());
}
