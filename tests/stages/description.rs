//! Reading descriptions: what is refused, in whole messages; what converts; what survives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ingot::cli::check::{self, Builder};
use ingot::description::{self, Colour, Description, Kind, Language, Problems};
use ingot::plan::{self, Choices, selection};
use proptest::prelude::*;

use super::support::growth::{assert_linear, effort};
use super::support::skipped;

/// Relative to the package's folder, where tests run: messages name files as they were named.
const DESCRIPTIONS: &str = "tests/data/descriptions";

fn choices() -> Choices {
    Choices { arch: "x86_64".to_string(), ..Choices::default() }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// A small description with `old` replaced by `new`, loaded from a folder of its own.
fn load(text: &str) -> Result<Description, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.xml");
    fs::write(&file, text).unwrap();
    description::load(&file)
}

fn small(version: &str, kind: &str, rest: &str) -> String {
    format!(
        r#"<image schemaversion="{version}" name="small">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <preferences><version>1.0.0</version><packagemanager>apt</packagemanager>{kind}</preferences>
    <repository type="apt-deb" distribution="bookworm"><source path="mirror://debian"/></repository>
    {rest}
</image>"#
    )
}

#[test]
fn every_invalid_description_is_refused_with_its_whole_message() {
    let files = files(&format!("{DESCRIPTIONS}/invalid"), "xml");
    assert!(files.len() >= 100, "{}", files.len());
    for file in files {
        let verdict = check::check(&file, &[choices()], Builder::Here, Colour::Never);
        assert!(matches!(verdict.exit, 65 | 66), "{}: {}", file.display(), verdict.exit);
        // SNAPSHOTS=overwrite writes what is new; read it before it is committed.
        let expected = snapbox::Data::read_from(&file.with_extension("txt"), Some(snapbox::data::DataFormat::Text));
        snapbox::assert_data_eq!(verdict.text, expected.raw());
    }
}

#[test]
fn a_missing_folder_is_66_and_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let yaml = tempfile::tempdir().unwrap();
    fs::write(yaml.path().join("config.yaml"), "image:\n").unwrap();
    let table = [
        (
            empty.path().join("none"),
            "there is no ",
            Some("name a folder that holds a config.xml or a *.kiwi, or such a file"),
        ),
        (
            empty.path().to_path_buf(),
            "holds no description",
            Some("a description is called config.xml, image/config.xml or *.kiwi"),
        ),
        (
            yaml.path().to_path_buf(),
            "holds no config.xml and no *.kiwi",
            Some("KIWI looks for no other names: name the file itself, "),
        ),
        (PathBuf::from("/dev/null"), "is neither a file nor a folder", None),
    ];
    for (path, title, hint) in table {
        let problems = description::load(&path).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert!(problem.title.contains(title), "{}", problem.title);
        assert_eq!((problem.kind, problems.exit().code()), (Kind::Missing, 66));
        assert_eq!(problem.hint.is_some(), hint.is_some());
        assert!(problem.hint.as_deref().unwrap_or_default().starts_with(hint.unwrap_or_default()), "{problem:?}");
    }
}

#[test]
fn the_file_is_found_in_kiwis_order() {
    let folder = tempfile::tempdir().unwrap();
    let text = small("8.5", r#"<type image="tbz"/>"#, "");
    for name in ["b.kiwi", "a.kiwi", "image/config.xml", "config.xml"] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text.replace("small", &name.replace(['/', '.'], "-"))).unwrap();
        let found = description::load(folder.path()).unwrap();
        assert_eq!(*found.name, name.replace(['/', '.'], "-"));
        assert_eq!(found.source.path(), file);
    }
}

#[test]
fn a_file_larger_than_8_mb_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.xml");
    fs::File::create(&file).unwrap().set_len((8 << 20) + 1).unwrap();
    let problems = description::load(&file).unwrap_err();
    assert!(problems.render(Colour::Never).contains("is larger than 8 MB"), "{}", problems.render(Colour::Never));
}

#[test]
fn hostile_documents_end_quickly_with_one_problem() {
    let table: [Growing<'_>; 6] = [
        ("attributes without end", 300_000, &|size| format!("<image {}/>", many(size, &|n| format!("a{n}='' ")))),
        ("elements without end", 2_000_000, &|size| format!("<image>{}</image>", "<a/>".repeat(size))),
        ("depth without end", 2_000_000, &|size| "<a>".repeat(size)),
        ("one value of 7 MB", 7 << 20, &|size| format!("<image name='{}", "x".repeat(size))),
        ("one text of 7 MB", 7 << 20, &|size| format!("<image>{}", "x".repeat(size))),
        ("numbers without end", 1 << 20, &|size| format!("<image name='{}'/>", "&#x41;".repeat(size))),
    ];
    for (name, size, text) in table {
        assert_one_problem(name, &text(size / 4), &text(size));
    }
}

/// A name, a size, and the document of any size.
type Growing<'a> = (&'static str, usize, &'a dyn Fn(usize) -> String);

/// So many parts, each with its number.
fn many(number: usize, part: &dyn Fn(usize) -> String) -> String {
    (0..number).map(part).collect()
}

/// Panics unless a document, and one of four times its size, end with one short problem, as quickly as they are long.
#[track_caller]
fn assert_one_problem(name: &str, small: &str, large: &str) {
    assert_linear(name, &small, &large, |text| {
        let problems = load(text).unwrap_err();
        let rendered = problems.render(Colour::Never);
        assert!(rendered.len() < 20_000, "{name}: {} bytes", rendered.len());
        assert_eq!(problems.exit().code(), 65, "{name}");
    });
}

#[test]
fn descriptions_on_one_line_are_planned_with_work_that_grows_as_they_do() {
    let table: [Growing<'_>; 6] = [
        ("packages", 15_000, &|size| {
            format!(r#"<packages type="image">{}</packages>"#, many(size, &|n| format!(r#"<package name="ä{n}"/>"#)))
        }),
        ("users", 15_000, &|size| {
            format!("<users>{}</users>", many(size, &|n| format!(r#"<user name="u{n}" password="!" id="{n}"/>"#)))
        }),
        ("repositories", 7_000, &|size| {
            many(size, &|_| r#"<repository type="apt-deb"><source path="mirror://debian"/></repository>"#.into())
        }),
        ("profiles", 256, &|size| {
            let profiles = many(size, &|n| format!(r#"<profile name="p{n}" description="p"/>"#));
            let one = |n| format!(r#"<packages type="image" profiles="p{n}"><package name="a"/></packages>"#);
            format!("<profiles>{profiles}</profiles>{}", many(size, &one))
        }),
        ("problems", 15_000, &|size| many(size, &|_| "<unknown/>".to_string())),
        ("warnings", 4_000, &|size| many(size, &|_| r#"<strip type="libs"><file name="x"/></strip>"#.to_string())),
    ];
    for (name, size, sections) in table {
        let written = [size / 4, size].map(|size| {
            let folder = tempfile::tempdir().unwrap();
            let text = small("8.5", r#"<type image="tbz"/>"#, &sections(size)).replace('\n', "");
            fs::write(folder.path().join("config.xml"), text).unwrap();
            folder
        });
        assert_linear(name, &written[0], &written[1], |folder| {
            check::check(folder.path(), &[choices()], Builder::Here, Colour::Never);
        });
    }
}

#[test]
fn older_schemas_are_read_in_the_words_of_the_newest() {
    let loader = |attributes: &str| format!(r#"<type image="oem" filesystem="btrfs" {attributes}"#);
    let get = |text: &str, element: &str, attribute: &str| -> Option<String> {
        let description = load(text).unwrap_or_else(|problems| panic!("{}", problems.render(Colour::Never)));
        let kind = &description.preferences[0].types[0];
        match element {
            "type" => kind.get(attribute).map(|value| value.to_string()),
            _ => kind.child(element)?.attribute(attribute).map(|found| found.value.to_string()),
        }
    };
    let some = |text: &str| Some(text.to_string());
    let console = |value: &str| loader(&format!(r#"><bootloader name="grub2" console="{value}"/></type>"#));
    let two = small("8.3", &console("gfxterm serial"), "");
    assert_eq!(get(&two, "bootloader", "output_console"), some("gfxterm"));
    assert_eq!(get(&two, "bootloader", "input_console"), some("serial"));
    let one = small("7.5", &console("serial"), "");
    assert_eq!(get(&one, "bootloader", "output_console"), some("serial"));
    assert_eq!(get(&one, "bootloader", "input_console"), None);
    let snapshot = small("8.2", &loader(r#"btrfs_root_is_snapshot="true"/>"#), "");
    assert_eq!(get(&snapshot, "type", "btrfs_root_is_snapper_snapshot"), some("true"));
    let vga = small("8.4", &loader(r#"vga="0x317"/>"#), "");
    assert_eq!(get(&vga, "type", "vga"), None);
    let tags = r#"<type image="docker"><containerconfig name="c" additionaltags="a, b"/></type>"#;
    assert_eq!(get(&small("7.4", tags, ""), "containerconfig", "additionalnames"), some(":a,:b"));
    let dnf = small("7.5", r#"<type image="tbz"/>"#, "").replace(">apt<", ">dnf<");
    assert_eq!(load(&dnf).unwrap().preferences[0].manager.as_ref().unwrap().value, "dnf4");
    let old = r#"<repository type="rpm-dir" use_for_bootstrap="true"><source path="dir:///x"/></repository>"#;
    assert!(load(&small("8.0", r#"<type image="tbz"/>"#, old)).unwrap().repositories[1].kind.is_none());

    for (version, text) in [("8.4", console("serial")), ("8.3", loader(r#"btrfs_root_is_snapshot="true"/>"#))] {
        assert!(load(&small(version, &text, "")).is_err(), "{version} has no such name any more");
    }
}

/// Elements with their attributes, without places: what a rewrite made.
fn outline(node: &description::xml::Node) -> String {
    let mut attributes: Vec<String> =
        node.attributes.iter().map(|found| format!(" {}={}", found.name.value, found.value.value)).collect();
    attributes.sort();
    let children: Vec<String> = node.children.iter().map(outline).collect();
    format!("{}{}({}{})", node.name.value, attributes.concat(), node.text.trim(), children.join(" "))
}

#[test]
fn each_step_of_the_schemas_history_rewrites_what_it_says_and_nothing_that_is_newer() {
    use description::convert::{HISTORY, VERSIONS, convert};
    // The element, written for the version before the step; what it becomes in 8.5; whether something is left out.
    let table: &[(&str, &str, &str, &str, bool)] = &[
        (
            "opensuseProduct",
            "",
            r#"<packages><opensuseProduct name="p"/></packages>"#,
            "packages(product name=p())",
            false,
        ),
        ("type", "bootloader", r#"<type image="oem"/>"#, "type image=oem(bootloader name=grub2())", false),
        ("type", "fsreadonly", r#"<type image="iso" fsreadonly="x"/>"#, "type image=iso()", true),
        ("type", "fsreadwrite", r#"<type image="iso" fsreadwrite="x"/>"#, "type image=iso()", true),
        ("type", "zfsoptions", r#"<type image="iso" zfsoptions="x"/>"#, "type image=iso()", true),
        ("split", "", r#"<type image="iso"><split><x/></split></type>"#, "type image=iso()", true),
        (
            "users",
            "group",
            r#"<users group="g"><user name="a" groups="old"/><user name="b"/></users>"#,
            "users(user groups=g name=a() user groups=g name=b())",
            false,
        ),
        ("users", "id", r#"<users id="5"/>"#, "users()", true),
        (
            "type",
            "container",
            r#"<type image="docker" container="c"/>"#,
            "type image=docker(containerconfig name=c())",
            false,
        ),
        (
            "machine",
            "domain",
            r#"<type image="iso"><machine domain="dom0"/><machine domain="domU"/></type>"#,
            "type image=iso xen_server=true(machine() machine())",
            false,
        ),
        ("image", "kiwirevision", r#"<image kiwirevision="1"/>"#, "image()", true),
        ("type", "checkprebuilt", r#"<type image="iso" checkprebuilt="true"/>"#, "type image=iso()", true),
        ("type", "fsnocheck", r#"<type image="iso" fsnocheck="true"/>"#, "type image=iso()", true),
        ("repository", "status", r#"<repository status="fixed"/>"#, "repository()", true),
        ("repository", "prefer-license", r#"<repository prefer-license="true"/>"#, "repository()", true),
        ("package", "replaces", r#"<package name="a" replaces="b"/>"#, "package name=a()", true),
        (
            "defaultprebuilt",
            "",
            "<preferences><defaultprebuilt>x</defaultprebuilt></preferences>",
            "preferences()",
            true,
        ),
        ("defaultdestination", "", "<preferences><defaultdestination/></preferences>", "preferences()", true),
        ("defaultroot", "", "<preferences><defaultroot>x</defaultroot></preferences>", "preferences()", true),
        ("partitioner", "", "<preferences><partitioner>x</partitioner></preferences>", "preferences()", true),
        ("rpm-force", "", "<preferences><rpm-force>true</rpm-force></preferences>", "preferences()", true),
        ("hwclock", "", "<preferences><hwclock>utc</hwclock></preferences>", "preferences()", true),
        ("type", "hybrid", r#"<type image="iso" hybrid="true"/>"#, "type image=iso()", true),
        (
            "oem-ataraid-scan",
            "",
            "<oemconfig><oem-ataraid-scan>true</oem-ataraid-scan></oemconfig>",
            "oemconfig()",
            true,
        ),
        ("pxedeploy", "", r#"<type image="pxe"><pxedeploy server="s"/></type>"#, "type image=pxe()", true),
        ("repository", "type", r#"<repository type="yast2"/>"#, "repository()", true),
        (
            "type",
            "bootloader",
            r#"<type image="oem" bootloader="grub2"><size>1</size></type>"#,
            "type image=oem(bootloader name=grub2() size(1))",
            false,
        ),
        (
            "type",
            "bootloader_console",
            r#"<type image="oem" bootloader="grub2" bootloader_console="serial gfxterm"/>"#,
            "type image=oem(bootloader input_console=gfxterm name=grub2 output_console=serial())",
            false,
        ),
        ("type", "boottimeout", r#"<type image="iso" boottimeout="1"/>"#, "type image=iso()", true),
        (
            "type",
            "zipl_targettype",
            r#"<type image="oem" bootloader="zipl" zipl_targettype="CDL"/>"#,
            "type image=oem(bootloader name=zipl targettype=CDL())",
            false,
        ),
        (
            "type",
            "image",
            r#"<type image="vmx"><oemconfig><oem-resize>true</oem-resize><oem-swap>true</oem-swap></oemconfig></type>"#,
            "type image=oem(oemconfig(oem-swap(true) oem-resize(false)))",
            false,
        ),
        ("packagemanager", "apt-get", "<packagemanager>apt-get</packagemanager>", "packagemanager(apt)", false),
        ("packagemanager", "yum", "<packagemanager> yum </packagemanager>", "packagemanager(dnf4)", false),
        (
            "containerconfig",
            "additionaltags",
            r#"<containerconfig additionaltags="a, b"/>"#,
            "containerconfig additionalnames=:a,:b()",
            false,
        ),
        ("packagemanager", "dnf", "<packagemanager>dnf</packagemanager>", "packagemanager(dnf4)", false),
        ("repository", "type", r#"<repository type="rpm-dir"/>"#, "repository()", true),
        ("repository", "use_for_bootstrap", r#"<repository use_for_bootstrap="true"/>"#, "repository()", true),
        (
            "type",
            "btrfs_root_is_snapshot",
            r#"<type image="oem" btrfs_root_is_snapshot="true"/>"#,
            "type btrfs_root_is_snapper_snapshot=true image=oem()",
            false,
        ),
        ("bootloader", "console", r#"<bootloader console="serial"/>"#, "bootloader output_console=serial()", false),
        ("type", "vga", r#"<type image="oem" vga="0x317"/>"#, "type image=oem()", true),
    ];
    assert_eq!(table.len(), HISTORY.len());
    for (step, (element, attribute, text, expected, left_out)) in HISTORY.iter().zip(table) {
        let word = match step.change {
            description::convert::Change::Word(old, _) => old,
            _ => step.attribute,
        };
        assert_eq!((step.element, word), (*element, *attribute), "the table follows the history");
        let source = description::Source::new(Path::new("x.xml"), text.to_string());
        let index = VERSIONS.iter().position(|version| *version == step.since).unwrap();
        let tree = description::xml::parse(&source).unwrap();
        // Where the step follows from the text alone, the version before it is changed and its own version is not.
        let mut before = tree.clone();
        let dropped = convert(&mut before, VERSIONS[index - 1]);
        assert_eq!(outline(&before), *expected, "{text} in {:?}", VERSIONS[index - 1]);
        assert_eq!(!dropped.is_empty(), *left_out, "{text}: {dropped:?}");
        let mut newest = tree.clone();
        convert(&mut newest, VERSIONS[VERSIONS.len() - 1]);
        assert_eq!(outline(&newest), outline(&tree), "nothing is older than itself");
    }
    assert!(HISTORY.is_sorted_by_key(|step| step.since), "the steps are applied in their order");
    assert!(HISTORY.iter().all(|step| VERSIONS.contains(&step.since)));
}

#[test]
fn a_description_of_2015_becomes_one_of_today() {
    let text = r#"<image schemaversion="6.0" name="old" kiwirevision="3">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <preferences><version>1.0.0</version><packagemanager>apt-get</packagemanager><hwclock>utc</hwclock>
        <type image="vmx" filesystem="ext4" bootloader_console="serial" boottimeout="3" vga="0x317"/></preferences>
    <users group="wheel"><user name="root" password="!"/></users>
    <repository type="apt-deb" status="fixed"><source path="mirror://debian"/></repository>
</image>"#;
    let description = load(text).unwrap_or_else(|problems| panic!("{}", problems.render(Colour::Never)));
    assert_eq!(
        outline(&description.preferences[0].types[0].node),
        "type filesystem=ext4 image=oem(bootloader name=grub2 output_console=serial timeout=3() oemconfig(oem-resize(false)))"
    );
    assert_eq!(description.users[0].users[0].groups, [("wheel".to_string(), None)]);
    let dropped: Vec<(&str, u32)> =
        description.dropped.iter().map(|text| (text.value.as_str(), text.span.place().line)).collect();
    assert_eq!(
        dropped,
        [
            ("kiwirevision=\"3\" on <image> is ignored: schema 6.7 dropped it", 1),
            ("status=\"fixed\" on <repository> is ignored: schema 6.7 dropped it", 6),
            ("<hwclock> is ignored: schema 6.8 dropped it", 3),
            ("vga=\"0x317\" on <type> is ignored: schema 8.5 dropped it", 4),
        ]
    );
    let plan = plan::make(&description, &choices()).unwrap();
    let named = |text: &&str| plan.warnings.iter().any(|warning| warning.text == **text);
    assert!(dropped.iter().all(|(text, _)| named(text)), "{:?}", plan.warnings);
}

#[test]
fn an_include_is_replaced_by_the_children_of_the_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let part = |version: &str, name: &str| {
        format!(r#"<image {version} name="part"><packages type="image"><package name="{name}"/></packages></image>"#)
    };
    fs::create_dir(folder.path().join("parts")).unwrap();
    fs::write(folder.path().join("parts/one.xml"), part("", "one")).unwrap();
    fs::write(folder.path().join("parts/two.xml"), part(r#"schemaversion="7.5""#, "two")).unwrap();
    let absolute = folder.path().join("parts/two.xml");
    let includes = format!(
        r#"<include from="this://parts/one.xml"/><include from="parts/two.xml"/><include from="file://{}"/>"#,
        absolute.display()
    );
    let file = folder.path().join("config.xml");
    fs::write(&file, small("8.5", r#"<type image="tbz"/>"#, &includes)).unwrap();
    let description = description::load(&file).unwrap();
    let names: Vec<String> =
        description.packages.iter().map(|packages| packages.packages[0].name.to_string()).collect();
    assert_eq!(names, ["one", "two", "two"]);
    let place = description.packages[0].packages[0].name.span.place();
    assert_eq!((place.file.file_name().unwrap().to_str().unwrap(), place.line), ("one.xml", 1));
}

#[test]
fn places_count_characters_and_lines_as_an_editor_does() {
    let text = small(
        "8.5",
        r#"<type image="tbz"/>"#,
        "\r\n\t<packages type=\"image\"><!-- äöü --><package name=\"bash\"/></packages>",
    );
    let description = load(&text).unwrap();
    let place = description.packages[0].packages[0].name.span.place();
    assert_eq!((place.line, place.column), (6, 52));
}

#[test]
fn passwords_are_in_no_debug_output() {
    let users = r#"<users><user name="root" password="geheim" pwdformat="plain"/></users>"#;
    let repository = r#"<repository username="u" password="geheim"><source path="https://h/x"/></repository>"#;
    let description = load(&small("8.5", r#"<type image="tbz"/>"#, &format!("{users}{repository}"))).unwrap();
    let plan = plan::make(&description, &choices()).unwrap();
    for text in [format!("{:?}", description.users), format!("{:?}", description.repositories), format!("{plan:?}")] {
        assert!(!text.contains("geheim"), "{text}");
    }
    assert!(!serde_json::to_string(&plan).unwrap().contains("geheim"));
}

#[test]
fn yaml_json_and_toml_are_the_same_description_as_xml() {
    let xml = r#"<image schemaversion="7.5" name="small">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <preferences><version>1.10</version><packagemanager>apt</packagemanager><keytable>no</keytable>
        <rpm-check-signatures>true</rpm-check-signatures>
        <type image="oem" filesystem="ext4" primary="true"><bootloader name="grub2" console="serial"/><size unit="G">2</size></type>
    </preferences>
    <users><user name="root" password="!" id="5"/><user name="me" password="!"/></users>
    <repository type="apt-deb" distribution="bookworm"><source path="mirror://debian"/></repository>
    <packages type="image"><package name="bash" arch="x86_64"/><package name="dash"/></packages>
</image>"#;
    let yaml = r#"# A comment.
---
image:
  '@schemaversion': 7.5
  '@name': small
  description: &about {'@type': system, author: A, contact: c, specification: S}
  preferences:
    version: 1.10
    packagemanager: apt
    keytable: no
    rpm-check-signatures: Yes
    type:
      '@image': oem
      '@filesystem': "ext4"
      '@primary': on
      bootloader: {'@name': grub2, '@console': serial}
      size:
        '@unit': G
        '#text': 2
  users:
    user:
    - {'@name': root, '@password': '!', '@id': 5}
    - {'@name': me, '@password': &secret '!'}
  repository:
    '@type': apt-deb
    '@distribution': bookworm
    source:
      '@path': mirror://debian
  packages:
    '@type': image
    package:
    - '@name': bash
      '@arch': x86_64
    - '@name': dash
"#;
    let json = r##"{ "image": { "@schemaversion": "7.5", "@name": "small",
  "description": {"@type": "system", "author": "A", "contact": "c", "specification": "S"},
  "preferences": {"version": "1.10", "packagemanager": "apt", "keytable": "no", "rpm-check-signatures": true,
    "type": {"@image": "oem", "@filesystem": "ext4", "@primary": true,
      "bootloader": {"@name": "grub2", "@console": "serial"}, "size": {"@unit": "G", "#text": 2}}},
  "users": {"user": [{"@name": "root", "@password": "!", "@id": 5}, {"@name": "me", "@password": "!"}]},
  "repository": {"@type": "apt-deb", "@distribution": "bookworm", "source": {"@path": "mirror://debian"}},
  "packages": {"@type": "image", "package": [{"@name": "bash", "@arch": "x86_64"}, {"@name": "dash"}]}}}"##;
    let toml = r##"[image]
"@schemaversion" = "7.5"
"@name" = "small"
description = {"@type" = "system", author = "A", contact = "c", specification = "S"}
[image.preferences]
version = 1.10
packagemanager = "apt"
keytable = "no"
rpm-check-signatures = true
type = {"@image" = "oem", "@filesystem" = "ext4", "@primary" = true, bootloader = {"@name" = "grub2", "@console" = "serial"}, size = {"@unit" = "G", "#text" = 2}}
[[image.users.user]]
"@name" = "root"
"@password" = "!"
"@id" = 5
[[image.users.user]]
"@name" = "me"
"@password" = "!"
[image.repository]
"@type" = "apt-deb"
"@distribution" = "bookworm"
source."@path" = "mirror://debian"
[image.packages]
"@type" = "image"
package = [{"@name" = "bash", "@arch" = "x86_64"}, {"@name" = "dash"}]
"##;
    let resolve = |text: &str| {
        let description = load(text).unwrap_or_else(|problems| panic!("{}", problems.render(Colour::Never)));
        let plan =
            plan::make(&description, &choices()).unwrap_or_else(|found| panic!("{}", found.render(Colour::Never)));
        let resolved = plan::resolved::resolve(&description, &choices()).unwrap();
        let plan = serde_json::to_value(&plan).unwrap();
        (plan["output"].clone(), serde_json::to_value(&resolved).unwrap())
    };
    let expected = resolve(xml);
    assert_eq!(expected.1["variables"]["kiwi_keytable"], "no");
    for text in [yaml, json, toml] {
        assert_eq!(resolve(text), expected, "{text}");
    }
    let description = load(yaml).unwrap();
    let place = description.packages[0].packages[1].name.span.place();
    assert_eq!((place.line, place.column), (34, 16), "places are those of the YAML");
}

/// What `text`, in any language, is in another one.
fn converted(text: &str, language: Language) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.xml"), text).unwrap();
    description::converted(&folder.path().join("config.xml"), language)
        .unwrap_or_else(|problems| panic!("{}\n{text}", problems.render(Colour::Never)))
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_description_is_written_in_each_language_and_read_as_the_same() {
    let text = "<image schemaversion=\"8.5\" name=\"n\" xmlns:ingot=\"https://example.org/\">\n\
        <description type=\"system\"><author>no</author><contact>a: b # \u{7f} \"c\" \\ 'd'</contact>\
        <specification>one\n    two\u{e9}</specification></description>\n\
        <preferences><version>1.10</version><packagemanager>apt</packagemanager>\
        <type image=\"oem\" filesystem=\"ext4\"><size unit=\"G\">2</size><bootloader name=\"grub2\"/></type>\
        <type image=\"docker\"/></preferences>\
        <packages type=\"image\"><package name=\"a\"/><package name=\"b\" arch=\"x86_64\"/></packages></image>\n";
    let xml = converted(text, Language::Xml);
    for language in [Language::Yaml, Language::Json, Language::Toml] {
        let written = converted(text, language);
        let again = converted(&written, Language::Xml);
        assert_eq!(sorted_lines(&again), sorted_lines(&xml), "{written}");
        assert_eq!(converted(&written, language), written);
    }
    assert!(converted(text, Language::Yaml).starts_with("image:\n  \"@schemaversion\": \"8.5\"\n"));
    assert!(converted(text, Language::Toml).starts_with("[image]\n\"@schemaversion\" = \"8.5\"\n"));
    for file in published().unwrap_or_default() {
        // What is refused without the files beside it is another test's.
        let Ok(xml) = description::converted(&file, Language::Xml) else { continue };
        for language in [Language::Yaml, Language::Toml] {
            let written = converted(&xml, language);
            let again = converted(&written, Language::Xml);
            assert_eq!(sorted_lines(&again), sorted_lines(&xml), "{}", file.display());
        }
    }
}

#[test]
fn hostile_documents_in_yaml_and_toml_end_quickly_with_one_problem() {
    let bomb =
        |n: usize| format!("  a{n}: &a{n} [{}]\n", format!("*a{},", n.max(1) - 1).repeat(if n == 0 { 0 } else { 9 }));
    let table: [Growing<'_>; 8] = [
        ("aliases of aliases", 40, &|size| format!("image:\n{}", many(size, &bomb))),
        ("an alias of itself", 4, &|_| "image: &a\n  b: *a\n".to_string()),
        ("depth without end", 1 << 20, &|size| format!("image: {}", "[".repeat(size))),
        ("depth without end in JSON", 1 << 18, &|size| format!("{{\"image\": {}", "{\"a\":".repeat(size))),
        ("depth without end in TOML", 1 << 16, &|size| format!("[image]\na = {}", "[".repeat(size))),
        ("values without end", 1 << 20, &|size| format!("image:\n  a:\n{}", "  - 1\n".repeat(size))),
        ("keys without end", 200_000, &|size| {
            format!("{{\"image\": {{{}}}}}", many(size, &|n| format!("\"k{n}\": 1,")))
        }),
        ("one text of 7 MB", 7 << 20, &|size| format!("image: {}", "x".repeat(size))),
    ];
    for (name, size, text) in table {
        assert_one_problem(name, &text(size / 4), &text(size));
    }
}

/// Published descriptions, where this machine has them.
pub(super) fn published() -> Option<Vec<PathBuf>> {
    fn find(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.extension().and_then(|extension| extension.to_str()) {
                _ if entry.is_dir() => find(&entry, found),
                Some("kiwi" | "xml") => found.push(entry),
                _ => {}
            }
        }
    }
    let folder = std::env::var_os("INGOT_CONFORMANCE").unwrap_or_else(|| "../shared/conformance".into());
    let folder = Path::new(&folder);
    if !folder.is_dir() {
        skipped("conformance data: no published descriptions beside this clone");
        return None;
    }
    let mut found = Vec::new();
    find(folder, &mut found);
    found.sort();
    Some(found)
}

#[test]
fn every_published_description_is_planned_or_refused_by_name_for_each_profile_and_type() {
    let Some(files) = published() else { return };
    let mut refused = BTreeSet::new();
    let mut planned = 0;
    for file in &files {
        let description = match description::load(file) {
            Ok(description) => description,
            Err(problems) => {
                panic!("{}", problems.render(Colour::Never));
            }
        };
        for choices in selection::combinations(&description, &choices()) {
            match plan::make(&description, &choices) {
                Ok(_) => planned += 1,
                Err(problems) => {
                    for problem in problems.iter() {
                        // Only the descriptions themselves were published here, not what lies beside them.
                        let named = problem.kind == Kind::Refused || problem.kind == Kind::Missing;
                        assert!(named && problem.span.is_some(), "{}: {problem}", file.display());
                        refused.insert(problem.title.clone());
                    }
                }
            }
        }
    }
    println!("{} descriptions, {planned} plans, {} different refusals", files.len(), refused.len());
    assert!(files.len() >= 50 && refused.len() >= 20 && planned >= 15, "{planned}");
}

#[test]
fn a_check_for_farms_takes_the_repositories_that_a_worker_brings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.xml");
    let repository = r#"<repository><source path="obsrepositories:/"/></repository>"#;
    for manager in ["apt", "zypper", "dnf5", "pacman"] {
        let text = small("8.5", "<type image=\"docker\"/>", repository).replace(">apt<", &format!(">{manager}<"));
        // Only the farm's: the other one of this description is Debian's.
        let text = text.replace("<source path=\"mirror://debian\"/>", "<source path=\"obs://A:B/c\"/>");
        fs::write(&file, text).unwrap();
        let here = check::check(&file, &[choices()], Builder::Here, Colour::Never);
        assert!(here.exit == 65 && here.text.contains("only the Open Build Service knows"), "{}", here.text);
        let farm = check::check(&file, &[choices()], Builder::Farm, Colour::Never);
        assert!(farm.exit == 0 && farm.text.contains("\n  ok  "), "{manager}: {}", farm.text);
    }
}

#[test]
fn checking_is_a_matter_of_milliseconds() {
    let Some(files) = published() else { return };
    let all = effort(|| {
        for file in &files {
            check::check(file, &[choices()], Builder::Here, Colour::Never);
        }
    });
    let each = all / files.len() as u32;
    println!("{each:?} for each of {} descriptions", files.len());
    assert!(each.as_millis() < 100, "{each:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s)[<>&;#x=/\"' \\n\\t!?\\[\\]a-cä\u{7f}-]{0,200}") {
        let source = description::Source::new(Path::new("x.xml"), text);
        if let Err(problem) = description::xml::parse(&source) {
            Problems::from(problem).render(Colour::Always);
        }
    }

    #[test]
    fn no_change_to_a_description_makes_anything_panic(at in 0usize..2000, length in 0usize..40, new in "(?s).{0,12}") {
        let text = fs::read_to_string(format!("{DESCRIPTIONS}/everything/config.xml")).unwrap();
        let mut chars: Vec<char> = text.chars().collect();
        let at = at * chars.len() / 2000;
        let end = (at + length).min(chars.len());
        chars.splice(at..end, new.chars());
        match load(&chars.into_iter().collect::<String>()) {
            Ok(description) => {
                for choices in selection::combinations(&description, &choices()) {
                    if let Err(problems) = plan::make(&description, &choices) {
                        problems.render(Colour::Never);
                    }
                }
            }
            Err(problems) => drop(problems.render(Colour::Never)),
        }
    }
}
