//! A build for a cloud, and what `ingot preflight` says and repairs of what was really built.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::image::{Answer, Bench, Ingot, result};
use crate::support::program::{run, text};
use crate::support::{need, together};

/// The names of the rules by which each target refuses, from `--json`.
fn refusals(answer: &Answer) -> Vec<Vec<String>> {
    let reports: Value = serde_json::from_str(&answer.stdout).unwrap();
    let of = |report: &Value| {
        let findings = report["findings"].as_array().unwrap().iter();
        let refused = findings.filter(|finding| finding["severity"] == "refuse");
        refused.map(|finding| finding["rule"].as_str().unwrap().to_string()).collect()
    };
    reports.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_build_for_a_cloud_ends_with_the_rules_that_refuse_it_and_a_disk_is_repaired_for_it() {
    need!(root);
    need!("sfdisk", "sgdisk", "qemu-img", "sha256sum");
    let _turn = together();
    let bench = Bench::new();
    // The tiny world has neither drivers nor an agent: no cloud could use it, and the build says so.
    let description = bench.disk().edit(" format=\"qcow2\"", "");
    let answer = bench.build_into(&description, "for").args(["--for", "aws"]).run().expect(65);
    for rule in ["disk-drivers", "network-drivers", "network"] {
        assert!(answer.stderr.contains(rule), "{rule}: {}", answer.stderr);
    }
    let there = fs::read_dir(bench.path("for")).into_iter().flatten().flatten();
    let there: Vec<String> = there.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(there.iter().all(|name| name.ends_with(".log")), "what is refused does not appear: {there:?}");

    bench.build(&description).run().expect(0);
    let raw = result(&bench.path("out"), ".raw");
    let before = fs::metadata(&raw).unwrap().len();
    assert_ne!(before % (1 << 30), 0, "a disk of whole GiB needs no repair");
    let work = bench.path("work");
    let preflight = |more: &[&str]| {
        let targets = ["--for", "aws", "--for", "gce", "--json", "--work-dir", text(&work)];
        Ingot::new(["preflight"]).arg(&raw).args(targets).args(more).run()
    };
    let found = refusals(&preflight(&[]).expect(1));
    let size = |list: &Vec<String>| list.iter().any(|rule| rule == "size");
    assert!(found.iter().all(size), "{found:?}");
    assert!(
        !found[0].iter().any(|rule| ["partition-table", "backup-gpt", "boot-loader", "kernel"].contains(&&rule[..])),
        "{found:?}"
    );

    let fixed = preflight(&["--fix"]).expect(1);
    assert!(fixed.stderr.contains("updated: "), "{}", fixed.stderr);
    let after = refusals(&fixed);
    // The same findings, without the one that could be repaired.
    let without: Vec<Vec<String>> =
        found.iter().map(|list| list.iter().filter(|rule| *rule != "size").cloned().collect()).collect();
    assert_eq!(after, without);
    assert_eq!(fs::metadata(&raw).unwrap().len(), 1 << 30);
    assert!(run("sfdisk", &["--verify", text(&raw)]).contains("No errors detected"));
    let verified = run("sgdisk", &["-v", text(&raw)]);
    assert!(verified.contains("No problems found") && !verified.to_lowercase().contains("warning"), "{verified}");
    // The digests beside it are those of the new file, and `ingot publish` takes it for what the release has.
    let name = raw.file_name().unwrap().to_str().unwrap();
    let status = Command::new("sha256sum")
        .args(["--check", "--quiet", &format!("{name}.sha256")])
        .current_dir(bench.path("out"))
        .status();
    assert!(status.unwrap().success());
    let publish = ["publish", text(&bench.path("out")), "--to", "aws:eu-central-1", "--dry-run"].map(String::from);
    let lines = Ingot::new(publish).env("XDG_STATE_HOME", text(&bench.path("state"))).run().expect(0);
    for part in ["--volume-size 1 ", "--boot-mode uefi-preferred", "\"VolumeSize\":1,"] {
        assert!(lines.stdout.contains(part), "{part}: {}", lines.stdout);
    }

    // A converted disk is repaired in its own form: Azure's takes whole MiB and a footer.
    let vhd = bench.path("tiny.vhd");
    let odd = bench.path("odd.raw");
    fs::copy(&raw, &odd).unwrap();
    fs::OpenOptions::new().write(true).open(&odd).unwrap().set_len((1 << 30) + 512).unwrap();
    Ingot::new(["convert"]).arg(&odd).arg(&vhd).args(["--format", "vhd-fixed"]).run().expect_one_of(&[0]);
    let azure = |more: &[&str]| Ingot::new(["preflight"]).arg(&vhd).args(["--for", "azure", "--json"]).args(more).run();
    let found = refusals(&azure(&[]).expect(1));
    assert!(found[0].iter().any(|rule| rule == "backup-gpt" || rule == "size"), "{found:?}");
    let after = refusals(&azure(&["--fix"]).expect(1));
    assert!(!after[0].iter().any(|rule| rule == "backup-gpt" || rule == "size"), "{after:?}");
    let length = fs::metadata(&vhd).unwrap().len();
    assert_eq!((length - 512) % (1 << 20), 0);
    let back = bench.path("back.raw");
    let convert = ["convert", "-f", "vpc", "-O", "raw", text(&vhd), text(&back)];
    run("qemu-img", &convert);
    assert!(run("sgdisk", &["-v", text(&back)]).contains("No problems found"));
}
