//! File names are bytes: spaces, newlines and bytes that are no UTF-8 arrive in the disk and in the archive.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

use crate::support::image::{Bench, Description, result, root_filesystem, unpack, unpack_docker};
use crate::support::{need, together};

const NAMES: &[&[u8]] = &[
    b"with a space",
    b" leading and trailing ",
    b"a\nnewline",
    b"\n",
    b"a\ttab",
    b"-rf",
    b"--",
    b"*",
    b"$(touch canary)",
    b"`id`",
    b"quote'\"",
    b"back\\slash",
    b"\\012",
    b"latin-1-\xe9",
    b"no-utf-8-\xff\xfe\x80",
    "\u{e9}\u{301}\u{1f9f1}".as_bytes(),
    b"control-\x01\x7f",
    b"a-name-that-is-longer-than-a-hundred-characters-so-that-it-needs-more-than-one-field-in-a-tar-header-to-be-kept",
];

/// An overlay and a script that make files with all the names, each holding its own name.
fn named(description: Description) -> Description {
    let mut script = String::from("mkdir -p /srv/script\n");
    let mut description = description;
    for name in NAMES {
        let path = Path::new("root/srv/overlay").join(OsStr::from_bytes(name));
        description = description.file(path, name);
        let octal: String = name.iter().map(|byte| format!("\\{byte:03o}")).collect();
        // $(...) would lose newlines at the end: the x keeps them.
        script.push_str(&format!(
            "name=$(printf '{octal}x')\nname=${{name%x}}\nprintf '%s' \"$name\" > \"/srv/script/$name\"\n"
        ));
    }
    description.script("config.sh", &script)
}

fn listing(folder: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten();
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

#[track_caller]
fn assert_names(root: &Path) {
    let expected: BTreeMap<OsString, Vec<u8>> =
        NAMES.iter().map(|name| (OsString::from_vec(name.to_vec()), name.to_vec())).collect();
    for made_by in ["overlay", "script"] {
        assert_eq!(listing(&root.join("srv").join(made_by)), expected, "{made_by}");
    }
}

#[test]
fn names_of_any_bytes_arrive_in_a_disk() {
    need!(root);
    need!("debugfs", "sfdisk");
    let _turn = together();
    let bench = Bench::new();
    let description = named(bench.disk().edit(" format=\"qcow2\"", ""));
    bench.build(&description).run().expect(0);
    let filesystem = bench.path("root.ext4");
    root_filesystem(&result(&bench.path("out"), ".raw"), &filesystem);
    let folder = bench.path("tree");
    fs::create_dir(&folder).unwrap();
    let dump = format!("rdump /srv {}", folder.display());
    let output = Command::new("debugfs").args(["-R", &dump]).arg(&filesystem).output().unwrap();
    assert!(output.status.success());
    assert_names(&folder);
}

#[test]
fn names_of_any_bytes_arrive_in_a_container() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let description = named(bench.container());
    bench.build(&description).run().expect(0);
    let folder = bench.path("tree");
    unpack_docker(&result(&bench.path("out"), ".docker.tar"), &folder);
    assert_names(&folder);
}

#[test]
fn names_of_any_bytes_arrive_in_a_root_tarball() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let xml = bench.container().xml();
    let kind = &xml[xml.find("<type ").unwrap()..xml.find("</type>").unwrap() + "</type>".len()];
    let description = named(bench.container().edit(kind, "<type image=\"tbz\"/>"));
    bench.build(&description).run().expect(0);
    let folder = bench.path("tree");
    unpack(&result(&bench.path("out"), ".tar.xz"), &folder);
    assert_names(&folder);
}
