//! Planning: whole plans of small descriptions, and KIWI's rules one by one.

use std::fs;
use std::path::Path;

use ingot::cli::plan::{json, text};
use ingot::description::{self, Colour, Description};
use ingot::plan::{self, Choices, Output, Plan, UpdateStack};

const DESCRIPTIONS: &str = "tests/data/descriptions";

fn choices(profiles: &[&str], image_type: Option<&str>) -> Choices {
    Choices {
        profiles: profiles.iter().map(|profile| profile.to_string()).collect(),
        image_type: image_type.map(str::to_string),
        arch: "x86_64".to_string(),
        ..Choices::default()
    }
}

fn load(folder: &Path) -> Description {
    description::load(folder).unwrap_or_else(|problems| panic!("{}", problems.render(Colour::Never)))
}

fn make(description: &Description, choices: &Choices) -> Plan {
    plan::make(description, choices).unwrap_or_else(|problems| panic!("{}", problems.render(Colour::Never)))
}

/// A description of these sections; the rest is as small as can be.
fn described(sections: &str) -> Description {
    let folder = tempfile::tempdir().unwrap();
    let image = format!(
        r#"<image schemaversion="8.5" name="small">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <preferences><version>1.0.0</version><packagemanager>apt</packagemanager></preferences>
    <repository type="apt-deb" distribution="bookworm"><source path="mirror://debian"/></repository>
    {sections}
</image>"#
    );
    fs::write(folder.path().join("config.xml"), image).unwrap();
    load(folder.path())
}

/// `<preferences>` with a type.
fn typed(kind: &str) -> String {
    format!("<preferences>{kind}</preferences>")
}

fn refusal(description: &Description, choices: &Choices) -> Vec<String> {
    let problems = plan::make(description, choices).expect_err("this must not be planned");
    problems.iter().map(|problem| problem.title.clone()).collect()
}

#[test]
fn whole_plans_are_what_they_were() {
    let cases: &[(&str, &[&str], Option<&str>, &str)] = &[
        ("plain", &["Disk"], None, "plain-disk"),
        ("plain", &["Container"], None, "plain-container"),
        ("plain", &["Tree"], None, "plain-tree"),
        ("everything", &["Disk"], None, "everything-disk"),
        ("everything", &["Disk"], Some("tbz"), "everything-tree"),
        ("everything", &[], None, "everything-docker"),
        ("everything", &[], Some("oci"), "everything-oci"),
    ];
    let here = fs::canonicalize(DESCRIPTIONS).unwrap().display().to_string();
    for (folder, profiles, image_type, name) in cases {
        let description = load(&Path::new(DESCRIPTIONS).join(folder));
        let plan = make(&description, &choices(profiles, *image_type));
        for (text, extension) in [(json(&plan).unwrap(), "json"), (text(&plan), "txt")] {
            let file = Path::new("tests/data/plans").join(name).with_extension(extension);
            // Whole texts are compared; SNAPSHOTS=overwrite writes what is new.
            let expected = snapbox::Data::read_from(&file, Some(snapbox::data::DataFormat::Text));
            snapbox::assert_data_eq!(text.replace(&here, "HERE"), expected.raw());
        }
    }
}

#[test]
fn the_same_description_and_choices_give_the_same_plan() {
    let folder = Path::new(DESCRIPTIONS).join("everything");
    let once = json(&make(&load(&folder), &choices(&["Disk"], None))).unwrap();
    assert_eq!(once, json(&make(&load(&folder), &choices(&["Disk"], None))).unwrap());
    let dated = Choices { source_date_epoch: Some(1), ..choices(&["Disk"], None) };
    assert_ne!(once, json(&make(&load(&folder), &dated)).unwrap(), "the date is a part of the seed");
}

#[test]
fn profiles_are_those_chosen_or_imported_and_what_they_require() {
    let description = described(
        r#"<profiles>
        <profile name="a" description="a" import="true"><requires profile="b"/></profile>
        <profile name="b" description="b"><requires profile="c" arch="aarch64"/><requires profile="a"/></profile>
        <profile name="c" description="c"/>
        <profile name="d" description="d" arch="aarch64" import="true"/>
    </profiles>
    <preferences><type image="tbz"/></preferences>"#,
    );
    let on = |arch: &str, profiles: &[&str]| {
        let choices = Choices { arch: arch.to_string(), ..choices(profiles, None) };
        plan::make(&description, &choices).map(|plan| plan.profiles).map_err(|problems| problems.summary())
    };
    assert_eq!(on("x86_64", &[]).unwrap(), ["a", "b"]);
    assert_eq!(on("aarch64", &[]).unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(on("x86_64", &["c"]).unwrap(), ["c"], "a choice replaces what is imported");
    assert_eq!(on("x86_64", &["c", "b"]).unwrap(), ["c", "b", "a"], "in the order of the choice");
    assert_eq!(
        refusal(&description, &choices(&["d", "x"], None)),
        ["no profile is called `d`", "no profile is called `x`"]
    );
}

#[test]
fn the_type_is_the_wanted_one_else_the_primary_one_else_the_first() {
    let description = described(
        r#"<profiles><profile name="p" description="p"/></profiles>
    <preferences><type image="tbz"/><type image="oem" filesystem="ext4"/></preferences>
    <preferences profiles="p"><type image="docker" primary="true"/></preferences>"#,
    );
    let kind = |profiles: &[&str], wanted: Option<&str>| match make(&description, &choices(profiles, wanted)).output {
        Output::Disk(_) => "oem",
        Output::Container(_) => "docker",
        Output::RootTarball => "tbz",
    };
    assert_eq!(kind(&[], None), "tbz");
    assert_eq!(kind(&["p"], None), "docker");
    assert_eq!(kind(&["p"], Some("oem")), "oem");
    assert_eq!(kind(&[], Some("vmx")), "oem", "KIWI's old name");
    assert_eq!(refusal(&description, &choices(&[], Some("docker"))), ["no image type `docker` is selected"]);
}

#[test]
fn the_first_version_and_manager_count_and_the_last_locale_keytable_and_timezone() {
    let description = described(
        r#"<preferences><type image="tbz"/><locale>de_DE</locale><keytable>de</keytable><timezone>UTC</timezone></preferences>
    <preferences><version>2.0.0</version><packagemanager>zypper</packagemanager>
        <locale>fr_FR,en_US</locale><keytable>fr</keytable></preferences>"#,
    );
    let plan = make(&description, &choices(&[], None));
    assert_eq!(plan.image.version, "1.0.0");
    let root = &plan.root;
    let found = [&root.locale, &root.keytable, &root.timezone].map(|text| text.clone().unwrap());
    assert_eq!(found, ["fr_FR", "fr", "UTC"]);
}

#[test]
fn apt_is_in_the_image_unless_only_the_bootstrap_list_has_packages() {
    let list = |kind: &str, names: &[&str]| {
        let names: String = names.iter().map(|name| format!(r#"<package name="{name}"/>"#)).collect();
        format!(r#"<packages type="{kind}">{names}</packages>"#)
    };
    let none = r#"<extension><ingot:update-stack xmlns:ingot="urn:ingot:1" mode="none"/></extension>"#;
    let kept = r#"<extension><ingot:update-stack xmlns:ingot="urn:ingot:1" mode="kept"/></extension>"#;
    let both = list("bootstrap", &["b"]) + &list("image", &["i"]);
    let only = list("bootstrap", &["b"]);
    let apt = list("bootstrap", &["b", "apt"]) + &list("docker", &["d"]);
    // Sections, what the command line says, what the bootstrap list and the image's list hold, update stack.
    let table = [
        (both.clone(), None, "apt b", "i", UpdateStack::Kept),
        (only.clone(), None, "b", "", UpdateStack::None),
        (only.clone() + &list("docker", &["d"]), None, "b", "", UpdateStack::None),
        (list("bootstrap", &["b", "apt"]), None, "apt b", "", UpdateStack::Kept),
        (list("bootstrap", &[]) + &list("image", &["i"]), None, "apt", "i", UpdateStack::Kept),
        (both.clone() + none, None, "b", "i", UpdateStack::None),
        (apt.clone() + none, None, "b", "", UpdateStack::None),
        (only.clone() + kept, None, "apt b", "", UpdateStack::Kept),
        (both + none, Some(UpdateStack::Kept), "apt b", "i", UpdateStack::Kept),
        (apt, Some(UpdateStack::None), "b", "", UpdateStack::None),
    ];
    for (sections, choice, bootstrap, image, stack) in table {
        let description = described(&(typed(r#"<type image="tbz"/>"#) + &sections));
        let plan = make(&description, &Choices { update_stack: choice, ..choices(&[], None) });
        let names = |list: &[plan::Named]| list.iter().map(|named| named.name.as_str()).collect::<Vec<_>>().join(" ");
        let found = (names(&plan.packages.bootstrap), names(&plan.packages.image), plan.update_stack);
        assert_eq!(found, (bootstrap.to_string(), image.to_string(), stack), "{sections} {choice:?}");
    }
}

#[test]
fn sections_of_other_architectures_and_types_do_not_count() {
    let description = described(
        r#"<preferences><type image="docker"/></preferences>
    <preferences arch="aarch64"><type image="docker" derived_from="obs://x"/></preferences>
    <users arch="aarch64"><user name="a" password="!"/></users>
    <packages type="image">
        <package name="z"/><package name="a" arch="x86_64,aarch64"/><package name="b" arch="aarch64"/><package name="z"/>
        <namedCollection name="n" arch="aarch64"/>
    </packages>
    <packages type="oem"><package name="kernel"/><product name="p"/></packages>
    <packages type="oci"><package name="o"/></packages>
    <packages type="docker"><package name="d"/></packages>"#,
    );
    let plan = make(&description, &choices(&[], None));
    let names: Vec<&str> = plan.packages.image.iter().map(|named| named.name.as_str()).collect();
    assert_eq!((names, plan.root.users.len()), (vec!["a", "d", "z"], 0));
}

#[test]
fn firmware_and_table_decide_the_partitions() {
    let table = [
        ("", "mbr bios: root 1M"),
        (r#"firmware="bios""#, "mbr bios: root 1M"),
        (r#"firmware="bios" efiparttable="gpt""#, "gpt bios: p.legacy 1M+2M, root 3M"),
        (r#"firmware="efi""#, "gpt bios+uefi: p.legacy 1M+2M, p.UEFI 3M+64M, root 67M"),
        (r#"firmware="efi" eficsm="false""#, "gpt uefi: p.UEFI 1M+64M, root 65M"),
        (r#"firmware="uefi""#, "gpt bios+uefi+shim: p.legacy 1M+2M, p.UEFI 3M+64M, root 67M"),
        (r#"firmware="efi" efiparttable="msdos""#, "mbr uefi: p.UEFI 1M+64M, root 65M"),
        (r#"firmware="efi" force_mbr="true""#, "mbr uefi: p.UEFI 1M+64M, root 65M"),
        (r#"firmware="efi" efipartsize="33" eficsm="false""#, "gpt uefi: p.UEFI 1M+33M, root 34M"),
        (r#"firmware="bios" bootpartition="true""#, "mbr bios: p.lxboot 1M+300M, root 301M"),
        (r#"firmware="bios" disk_start_sector="8192""#, "mbr bios: root 4M"),
    ];
    for (attributes, expected) in table {
        let description = described(&typed(&format!(r#"<type image="oem" filesystem="ext4" {attributes}/>"#)));
        let Output::Disk(disk) = make(&description, &choices(&[], None)).output else { panic!("not a disk") };
        let mebibytes = |bytes: ingot::bytes::Bytes| format!("{}M", bytes.0 >> 20);
        let partitions = disk.partitions.iter().map(|partition| match partition.size {
            plan::PartitionSize::Fixed(size) => {
                format!("{} {}+{}", partition.name, mebibytes(partition.start), mebibytes(size))
            }
            plan::PartitionSize::ToFit => format!("root {}", mebibytes(partition.start)),
        });
        let partitions = partitions.collect::<Vec<_>>().join(", ");
        let firmware =
            [(disk.firmware.bios, "bios"), (disk.firmware.uefi, "uefi"), (disk.firmware.secure_boot, "shim")];
        let firmware = firmware.iter().filter(|(support, _)| *support != plan::Support::No).map(|(_, name)| *name);
        let name = if disk.table == plan::PartitionTable::Gpt { "gpt" } else { "mbr" };
        let firmware = firmware.collect::<Vec<_>>().join("+");
        assert_eq!(format!("{name} {firmware}: {partitions}"), expected, "{attributes}");
    }
}

#[test]
fn sizes_have_units_and_may_be_added() {
    use ingot::bytes::Bytes;
    use plan::DiskSize::{ContentPlus, Exactly, ToFit};
    let table = [
        ("", ToFit, 0),
        ("<size>2048</size>", Exactly(Bytes::gib(2)), 0),
        (r#"<size unit="M">2048</size>"#, Exactly(Bytes::gib(2)), 0),
        (r#"<size unit="G" unpartitioned="1">3</size>"#, Exactly(Bytes::gib(3)), 1 << 30),
        (r#"<size additive="true">500</size>"#, ContentPlus(Bytes::mib(500)), 0),
        (r#"<size additive="false">500</size>"#, Exactly(Bytes::mib(500)), 0),
        ("<size>0</size>", ToFit, 0),
    ];
    for (size, expected, unpartitioned) in table {
        let description = described(&typed(&format!(r#"<type image="oem" filesystem="ext4">{size}</type>"#)));
        let Output::Disk(disk) = make(&description, &choices(&[], None)).output else { panic!("not a disk") };
        assert_eq!((disk.size, disk.unpartitioned.0), (expected, unpartitioned), "{size}");
    }
}

#[test]
fn formats_carry_what_the_description_says_of_machines_and_boxes() {
    let machine = r#"<machine memory="2048" ncpus="2" guestOS="suse-64" HWversion="11">
        <vmconfig-entry>a = "b"</vmconfig-entry>
        <vmdisk controller="lsilogic" id="1" diskmode="streamOptimized"/>
        <vmdvd controller="ide" id="0"/>
        <vmnic driver="e1000" interface="0" mode="bridged"/><vmnic interface="1" mac="00:0c:29:aa:bb:cc"/></machine>"#;
    let parts = "controller=lsilogic disk_id=1 dvd=ide:0 entry.0=a = \"b\" guest_os=suse-64 hwversion=11 memory=2048 \
                 ncpus=2 nic.0=driver=e1000 mode=bridged nic.1=mac=00:0c:29:aa:bb:cc";
    let libvirt = r#"<vagrantconfig provider="libvirt" virtualsize="42" boxname="b"/>"#;
    let virtualbox =
        r#"<vagrantconfig provider="virtualbox" virtualsize="9" virtualbox_guest_additions_present="true"/>"#;
    let not_here = |element: &str, of: &str| format!("<{element}> is ignored: the format is not {of}");
    let uefi_only = r#" firmware="efi" eficsm="false""#;
    let table = [
        (r#"format="qcow2""#.into(), "", vec!["qcow2()".into()], vec![]),
        (r#"format="qcow2""#.into(), machine, vec!["qcow2()".into()], vec![not_here("machine", "vmdk or ova")]),
        (r#"format="vmdk""#.into(), "", vec!["vmdk()".into(), "vmx()".into()], vec![]),
        (
            r#"format="vmdk" formatoptions="adapter_type=ide""#.into(),
            machine,
            vec!["vmdk(adapter_type=ide subformat=streamOptimized)".into(), format!("vmx({parts})")],
            vec![],
        ),
        (r#"format="ova""#.into(), machine, vec![format!("ova({parts})")], vec![]),
        (format!(r#"format="ova"{uefi_only}"#), "", vec!["ova(firmware=efi)".into()], vec![]),
        (r#"format="vagrant""#.into(), libvirt, vec!["vagrant-libvirt(box_name=b virtual_size=42)".into()], vec![]),
        (
            format!(r#"format="vagrant"{uefi_only}"#),
            virtualbox,
            vec!["vagrant-virtualbox(firmware=efi guest_additions=on virtual_size=9)".into()],
            vec![],
        ),
        (r#"format="vhd""#.into(), libvirt, vec!["vhd()".into()], vec![not_here("vagrantconfig", "vagrant")]),
    ];
    for (attributes, inside, expected, warned) in table {
        let kind = format!(r#"<type image="oem" filesystem="ext4" {attributes}>{inside}</type>"#);
        let plan = make(&described(&typed(&kind)), &choices(&[], None));
        let Output::Disk(disk) = plan.output else { panic!("not a disk") };
        let formats = disk.formats.iter().map(|format| {
            let options: Vec<String> = format.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}({})", format.name, options.join(" "))
        });
        assert_eq!(formats.skip(1).collect::<Vec<_>>(), expected, "{kind}");
        let warnings: Vec<String> = plan.warnings.into_iter().map(|warning| warning.text).collect();
        assert_eq!(warnings, warned, "{kind}");
    }
    let twice = r#"<type image="oem" filesystem="ext4" format="ova"><machine><vmnic interface="0"/><vmnic interface="0"/></machine></type>"#;
    assert_eq!(refusal(&described(&typed(twice)), &choices(&[], None)), ["two network cards have the number 0"]);
    let outside = r#"<type image="oem" filesystem="ext4" format="vagrant"><vagrantconfig provider="libvirt" virtualsize="1" embedded_vagrantfile="../V"/></type>"#;
    assert_eq!(refusal(&described(&typed(outside)), &choices(&[], None)), ["there is no file ../V"]);
    let container = r#"<type image="docker"><machine memory="5"/></type>"#;
    let warnings = make(&described(&typed(container)), &choices(&[], None)).warnings;
    assert_eq!(warnings[0].text, not_here("machine", "vmdk or ova"));
}

#[test]
fn a_container_has_kiwis_defaults() {
    let table = [
        ("", r#"None Some(["/bin/bash"])"#),
        (r#"<subcommand execute="a"><argument name="b c"/></subcommand>"#, r#"None Some(["a", "b c"])"#),
        (r#"<entrypoint execute="e"/>"#, r#"Some(["e"]) None"#),
        (r#"<entrypoint clear="true"/>"#, "Some([]) None"),
        (r#"<subcommand clear="true"/>"#, "None Some([])"),
        (r#"<subcommand clear="false"/>"#, r#"None Some(["/bin/bash"])"#),
    ];
    for (commands, expected) in table {
        let config = format!(r#"<type image="docker"><containerconfig name="c">{commands}</containerconfig></type>"#);
        let Output::Container(container) = make(&described(&typed(&config)), &choices(&[], None)).output else {
            panic!("not a container")
        };
        assert_eq!(format!("{:?} {:?}", container.entrypoint, container.command), expected, "{commands}");
        let names = (container.name.as_str(), container.tag.as_str(), container.author.as_str());
        assert_eq!(names, ("c", "latest", "A <c>"));
    }
}

#[test]
fn what_nobody_could_load_or_start_is_refused_and_what_some_could_is_warned_about() {
    let config = |attributes: &str, inside: &str| {
        typed(&format!(r#"<type image="docker"><containerconfig {attributes}>{inside}</containerconfig></type>"#))
    };
    for (attributes, inside, bad) in [
        (r#"name="a b""#, "", "`a b`"),
        (r#"name="c" tag="-1""#, "", "`-1`"),
        (r#"name="c" additionalnames=":1,x:y z""#, "", "`x:y z`"),
        (r#"name="c" workingdir="srv""#, "", "`srv`"),
        (r#"name="c""#, r#"<volumes><volume name="data"/></volumes>"#, "`data`"),
        (r#"name="c""#, r#"<environment><env name="A=B" value="x"/></environment>"#, "`A=B`"),
    ] {
        let refused = refusal(&described(&config(attributes, inside)), &choices(&[], None));
        assert!(refused.len() == 1 && refused[0].contains(bad), "{attributes} {inside}: {refused:?}");
    }
    let good = r#"name="h.example:5000/a" tag="V_1" additionalnames=":2,b" workingdir="/srv""#;
    let good = config(good, r#"<volumes><volume name="/data"/></volumes>"#);
    assert!(make(&described(&good), &choices(&[], None)).warnings.is_empty());
    let warned = make(&described(&config(r#"name="Web""#, "")), &choices(&[], None)).warnings;
    assert!(warned.len() == 1 && warned[0].text.contains("capital letters"), "{warned:?}");
}

#[test]
fn sources_of_repositories_are_resolved() {
    let table = [
        ("mirror://debian/sub", "mirror://debian/sub", "debian-sub-s"),
        ("https://h.example/debian/", "https://h.example/debian/", "h.example-debian-s"),
        ("http:/h.example/x", "http://h.example/x", "h.example-x-s"),
        ("https://me:word@h.example/x", "https://h.example/x", "h.example-x-s"),
        ("file:///srv/debian", "file:///srv/debian", "srv-debian-s"),
        ("dir://./srv/debian", "dir:///srv/debian", "srv-debian-s"),
        ("dir:///./srv/debian", "dir:///srv/debian", "srv-debian-s"),
        ("obs://A:B:C/D_1", "mirror://obs/A:/B:/C/D_1", "obs-A-B-C-D_1-s"),
        ("obs://A:/B/D/", "mirror://obs/A:/B/D", "obs-A-B-D-s"),
    ];
    for (path, source, alias) in table {
        let repository = format!(r#"<repository distribution="s"><source path="{path}"/></repository>"#);
        let plan = make(&described(&(typed(r#"<type image="tbz"/>"#) + &repository)), &choices(&[], None));
        let found = &plan.repositories[1];
        assert_eq!((found.source.as_str(), found.alias.as_str()), (source, alias), "{path}");
        assert_eq!(found.credentials.is_some(), path.contains('@'));
    }
}

#[test]
fn a_farms_word_for_every_repository_is_taken_where_only_one_kind_can_be_meant() {
    use ingot::plan::overrides::{Overrides, RepositoryWords};
    let words = RepositoryWords {
        written: "--add-repo dir:///r,rpm-md".to_string(),
        source: "dir:///r".to_string(),
        kind: Some("rpm-md".to_string()),
        ..RepositoryWords::default()
    };
    let overrides = Overrides { add_repositories: vec![words], ..Overrides::default() };
    for manager in ["apt", "pacman", "zypper", "dnf5"] {
        let mut described = described(&typed(r#"<type image="tbz"/>"#));
        described.preferences[0].manager.as_mut().unwrap().value = manager.to_string();
        let described = overrides.apply(described, &choices(&[], None)).unwrap();
        let added = described.repositories.last().unwrap().kind.as_ref().map(|kind| kind.as_str());
        assert_eq!(added, matches!(manager, "zypper" | "dnf5").then_some("rpm-md"), "{manager}");
    }
}

#[test]
fn languages_are_filtered_by_a_locale_or_not_at_all() {
    for (locale, languages, warned) in [("<locale>de_DE,fr_FR</locale>", Some(["de_DE", "fr_FR"]), 0), ("", None, 1)] {
        let filter = "<rpm-locale-filtering>true</rpm-locale-filtering><type image=\"tbz\"/>";
        let mut described = described(&typed(&format!("{locale}{filter}")));
        described.preferences[0].manager.as_mut().unwrap().value = "zypper".to_string();
        described.repositories[0].kind = None;
        let plan = make(&described, &choices(&[], None));
        assert_eq!(plan.packages.rpm.languages, languages.map(|all| all.map(str::to_string).into()));
        let unfiltered = plan.warnings.iter().filter(|warning| warning.text.contains("no <locale> says which"));
        assert_eq!(unfiltered.count(), warned, "{:?}", plan.warnings);
    }
}

#[test]
fn off_switches_are_neither_refused_nor_warned_about() {
    let description = described(&typed(
        r#"<type image="oem" filesystem="ext4" installiso="false" overlayroot="0" bootpartition="false" force_mbr="false">
            <oemconfig><oem-recovery>false</oem-recovery><oem-unattended>false</oem-unattended></oemconfig>
        </type>"#,
    ));
    assert_eq!(make(&description, &choices(&[], None)).warnings, []);
}

#[test]
fn hooks_that_belong_to_what_is_not_built_are_named() {
    let of_others = ["config-overlay.sh", "config-host-overlay.sh", "config-cdroot.tar.xz"];
    let cases = [("<type image=\"docker\"/>", 5), ("<type image=\"oem\" filesystem=\"ext4\"/>", 3)];
    for (kind, count) in cases {
        let mut description = described(&typed(kind));
        let beside = &mut description.beside;
        beside.hooks_of_others = of_others.to_vec();
        for name in ["config.sh", "disk.sh", "pre_disk_sync.sh"] {
            beside.scripts.insert(name.into(), Path::new("/d").join(name));
        }
        let warnings = make(&description, &choices(&[], None)).warnings;
        let texts: Vec<&str> = warnings.iter().map(|warning| warning.text.as_str()).collect();
        let about_disks = "beside the description is not run: it belongs to disks, and the description has none";
        let about_overlays = "beside the description is not run: it belongs to containers with delta_root=\"true\"";
        let wanted = [
            "config-cdroot.tar.xz beside the description is not unpacked: it belongs to live and installation media"
                .into(),
            format!("config-host-overlay.sh {about_overlays}"),
            format!("config-overlay.sh {about_overlays}"),
            format!("disk.sh {about_disks}"),
            format!("pre_disk_sync.sh {about_disks}"),
        ];
        assert_eq!(texts, wanted[..count]);
    }
    // They are found by their names.
    let folder = tempfile::tempdir().unwrap();
    of_others.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
    let none = std::iter::empty::<&str>;
    assert_eq!(description::Beside::find(folder.path(), none(), none()).hooks_of_others, of_others);
}
