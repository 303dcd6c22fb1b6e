//! Disks in containers, as KubeVirt starts them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::image::{Bench, digests, result, unpack, unpack_docker};
use crate::support::{need, together};

#[test]
fn a_disk_in_a_container_is_its_only_file_and_the_same_disk() {
    need!(root);
    need!("skopeo", "umoci", "qemu-img");
    let _turn = together();
    let bench = Bench::new();
    for (format, end) in [("oci:qcow2", ".oci.tar"), ("docker:raw", ".docker.tar")] {
        let kind = "</oemconfig><containerconfig name=\"disks/tiny\" tag=\"7\"/></type>";
        let description =
            bench.disk().edit("format=\"qcow2\"", &format!("format=\"{format}\"")).edit("</oemconfig></type>", kind);
        bench.build(&description).run().expect(0);
        let archive = result(&bench.path("out"), end);
        let tree = bench.path("tree");
        if end == ".docker.tar" {
            unpack_docker(&archive, &tree);
        } else {
            // skopeo checks every digest on the way.
            let (source, layout) = (format!("oci-archive:{}:7", archive.display()), bench.path("layout"));
            let target = format!("oci:{}:7", layout.display());
            let copied = Command::new("skopeo").args(["copy", "--quiet", &source, &target]).status().unwrap();
            assert!(copied.success());
            let image = format!("{}:7", layout.display());
            let bundle = bench.path("bundle");
            let unpacked = Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).status().unwrap();
            assert!(unpacked.success());
            fs::rename(bundle.join("rootfs"), &tree).unwrap();
        }
        let names: Vec<_> = fs::read_dir(&tree).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["disk"]);
        let disk = result(&tree.join("disk"), if end == ".docker.tar" { ".raw" } else { ".qcow2" });
        let metadata = fs::metadata(&disk).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o440, 107, 107));
        assert_eq!(fs::metadata(tree.join("disk")).unwrap().uid(), 107);
        let raw = result(&bench.path("out"), ".raw");
        let same = Command::new("qemu-img").arg("compare").arg(&raw).arg(&disk).status().unwrap();
        assert!(same.success());
        // Nothing is started in it.
        let outer = bench.path("outer");
        unpack(&archive, &outer);
        let whole = Command::new("grep").args(["--recursive", "--quiet", "--text", "\"Cmd\""]).arg(&outer).status();
        assert!(!whole.unwrap().success());
        let first = digests(&bench.path("out"));
        fs::remove_dir_all(bench.path("out")).unwrap();
        bench.build(&description).arg("--no-stage-cache").run().expect(0);
        assert_eq!(digests(&bench.path("out")), first);
        for folder in ["out", "tree", "outer"] {
            fs::remove_dir_all(bench.path(folder)).unwrap();
        }
    }
    let description = bench.disk().edit("format=\"qcow2\"", "format=\"oci:vmdk\"");
    bench.build(&description).run().expect(65).says(&["disk format oci:vmdk is not supported"]);
}
