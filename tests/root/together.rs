//! Several outputs of one description, made at the same time from one installed tree.

use crate::support::image::{Bench, Description, digests};
use crate::support::{alone, need, together};

const CONTAINER: &str = "<type image=\"docker\"><containerconfig name=\"tiny\"/></type>";
const OCI: &str = "<type image=\"oci\"><containerconfig name=\"tiny\"/></type>";

fn description(bench: &Bench) -> Description {
    let disk = bench.disk().edit("</oemconfig></type>", &format!("</oemconfig></type>{CONTAINER}{OCI}"));
    disk.file("root/etc/motd", "both\n").script("config.sh", ". /.profile; echo \"$kiwi_type\" >/etc/kind")
}

#[test]
fn outputs_that_are_made_together_are_the_same_as_alone() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = description(&bench);
    for workspace in ["loop", "folder"] {
        let build = |target: &str, types: &[&str]| {
            let ingot = bench.build_into(&description, target).args(["--no-stage-cache", "--workspace", workspace]);
            types.iter().fold(ingot, |ingot, kind| ingot.args(["--type", kind])).run().expect(0)
        };
        let before = bench.look();
        let said = build("all", &["oem", "docker", "oci"]);
        assert_eq!(said.stderr.matches("unpack  ").count(), 2, "once for each phase: {}", said.stderr);
        assert_eq!(said.stdout.lines().count(), 4, "{}", said.stdout);
        let all = digests(&bench.path("all"));
        for (kind, ends) in
            [("oem", [".raw", ".qcow2"].as_slice()), ("docker", &[".docker.tar"]), ("oci", &[".oci.tar"])]
        {
            build(kind, &[kind]);
            let alone = digests(&bench.path(kind));
            for end in ends {
                let name = format!("tiny.x86_64-1.2.3{end}");
                assert_eq!(all[&name], alone[&name], "{workspace}: {name}");
                let name = format!("{name}.sha256");
                assert_eq!(all[&name], alone[&name], "{workspace}: {name}");
            }
            std::fs::remove_dir_all(bench.path(kind)).unwrap();
        }
        std::fs::remove_dir_all(bench.path("all")).unwrap();
        bench.assert_nothing_left(&before);
    }
}

#[test]
fn outputs_that_need_other_trees_are_refused_by_name() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = description(&bench);
    let build = |types: &[&str]| {
        let ingot = bench.build_into(&description, "out");
        types.iter().fold(ingot, |ingot, kind| ingot.args(["--type", kind])).run()
    };
    build(&["oem", "oem"]).expect(65).says(&["two outputs would have the same name: a disk"]);
    build(&["oem", "docker", "iso"]).expect(65);
    let xml = "<packages type=\"docker\"><package name=\"tiny-recommended\"/></packages></image>";
    let description = description.edit("</image>", xml);
    let answer = bench.build_into(&description, "out").args(["--type", "oem", "--type", "docker"]).run().expect(65);
    answer
        .says(&["a disk and a docker archive cannot be made together", "tiny-recommended is asked for in one of them"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn a_script_that_fails_for_one_output_fails_the_build_and_leaves_nothing() {
    need!(root);
    let _turn = alone();
    let bench = Bench::new();
    let description = description(&bench).script("config.sh", ". /.profile; test \"$kiwi_type\" != docker");
    let before = bench.look();
    let ingot = bench.build_into(&description, "out").args(["--type", "oem", "--type", "docker"]);
    ingot.run().expect(65).says(&["config.sh"]);
    let left: Vec<_> = std::fs::read_dir(bench.path("out")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["tiny.x86_64-1.2.3.failed.log"]);
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    bench.assert_nothing_left(&before);
}
