//! Every published description, for each of its profiles and image types on four architectures: packages, repositories,
//! users, attributes of the type and variables of `.profile` are those that KIWI computes.

use std::collections::BTreeMap;
use std::fs;

use ingot::description::{self, Colour, schema};
use ingot::plan::resolved::{self, Resolved};
use ingot::plan::{Choices, Named, selection};
use serde_json::{Value as Json, json};

use super::super::description::published;

/// Where we differ on purpose: how the line of a difference begins, and why.
const EXCEPTIONS: &[(&str, &str)] =
    &[("KIWI refuses it: KiwiDescriptionInvalid: ", "schema 7.3 in YAML: KIWI's rewrites begin at 7.4, ours at 6.0")];

/// What KIWI has no word for: our own variables of `.profile`.
const OURS: &[&str] = &["kiwi_align", "kiwi_sectorsize", "kiwi_revision"];

fn names(list: &[Named]) -> Json {
    json!(list.iter().map(|named| named.name.as_str()).collect::<Vec<_>>())
}

/// KIWI reads numbers and booleans into values of their own; everything is compared as text, and nothing as empty.
fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Ours in the form of KIWI's answer.
fn ours(resolved: &Resolved) -> Json {
    let optional = |flag: bool| if flag { json!(true) } else { Json::Null };
    let repositories = resolved.repositories.iter().map(|repository| {
        json!({
            "type": repository.kind, "alias": repository.alias, "priority": repository.priority,
            "imageinclude": optional(repository.imageinclude), "imageonly": optional(repository.imageonly),
            "distribution": repository.distribution, "components": repository.components.join(" "),
            "path": repository.path, "keys": repository.keys,
        })
    });
    let users = resolved.users.iter().map(|user| {
        json!({
            "name": user.name, "home": user.home, "shell": user.shell, "realname": user.realname, "id": user.id,
            "groups": user.groups,
        })
    });
    json!({
        "profiles": resolved.profiles,
        "manager": resolved.manager,
        "version": resolved.version,
        "bootstrap": names(&resolved.packages.bootstrap),
        "image": names(&resolved.packages.image),
        "ignore": names(&resolved.packages.ignore),
        "delete": names(&resolved.packages.delete),
        "uninstall": names(&resolved.packages.uninstall),
        "repositories": repositories.collect::<Vec<_>>(),
        "users": users.collect::<Vec<_>>(),
        "attributes": resolved.attributes,
        "variables": resolved.variables.iter().filter(|(name, _)| !OURS.contains(&name.as_str())).collect::<BTreeMap<_, _>>(),
    })
}

/// Every place where the two differ, one line each. `kiwi` may hold fields that are nobody's business.
fn differences(path: &str, kiwi: &Json, ours: &Json, found: &mut Vec<String>) {
    match (kiwi, ours) {
        (Json::Object(kiwi), Json::Object(ours)) => {
            let mut keys: Vec<&String> = kiwi.keys().chain(ours.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let none = Json::Null;
                let (kiwi, ours) = (kiwi.get(key).unwrap_or(&none), ours.get(key).unwrap_or(&none));
                differences(&format!("{path}{key} "), kiwi, ours, found);
            }
        }
        (Json::Array(kiwi), Json::Array(ours)) if kiwi.len() == ours.len() => {
            for (index, (kiwi, ours)) in kiwi.iter().zip(ours).enumerate() {
                differences(&format!("{path}{index} "), kiwi, ours, found);
            }
        }
        _ if text(kiwi) == text(ours) => {}
        _ => found.push(format!("{path}KIWI {kiwi} ours {ours}")),
    }
}

/// What no published description has: volumes of every kind, stripped files, numbers for booleans, users of several
/// sections, settings of several preferences.
const RARE: &[&str] = &[
    r#"<image schemaversion="8.5" name="rare" displayname="Rare one">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <profiles><profile name="a" description="a"><requires profile="b"/></profile>
        <profile name="b" description="b" arch="x86_64,aarch64"><requires profile="c" arch="aarch64"/></profile>
        <profile name="c" description="c"/></profiles>
    <preferences><version>1.0.0</version><packagemanager>dnf4</packagemanager><locale>de_DE,en_US</locale>
        <keytable>de</keytable><showlicense>one</showlicense><bootsplash-theme>s</bootsplash-theme></preferences>
    <preferences profiles="c"><version>2.0.0</version><timezone>UTC</timezone><showlicense>two</showlicense></preferences>
    <preferences><type image="oem" filesystem="xfs" primary="1" xen_server="1" volid="V" luks="" ramonly="0"
            target_removable="1" wwid_wait_timeout="7" disk_start_sector="4096" kernelcmdline="a  b">
        <bootloader name="grub2" timeout="3" output_console="none" input_console="serial" video_mode="0x317"/>
        <oemconfig><oem-resize>0</oem-resize><oem-swap>1</oem-swap><oem-swapname>s</oem-swapname><oem-reboot>1</oem-reboot>
            <oem-shutdown>false</oem-shutdown><oem-systemsize>2048</oem-systemsize><oem-boot-title>T t</oem-boot-title></oemconfig>
        <systemdisk name="vg"><volume name="@root=r" freespace="2G"/><volume name="var/log" size="500"/>
            <volume name="h" mountpoint="home" size="all"/><volume name="x" arch="s390x"/></systemdisk>
    </type><type image="iso" volid="CD"/><type image="cpio"/></preferences>
    <users><user name="u" password="!" groups="wheel,docker:999" home="/u" shell="/bin/sh" realname="U u" id="7"/></users>
    <users profiles="b"><user name="u" password="!" groups="audio,wheel"/><user name="v" password="!"/></users>
    <drivers><file name="d1"/></drivers><drivers profiles="c"><file name="d2"/></drivers>
    <strip type="tools"><file name="t1"/><file name="t2"/></strip><strip type="libs"><file name="l"/></strip>
    <strip type="delete"><file name="/x"/></strip>
    <repository type="rpm-md" alias="r" priority="5" imageinclude="1"><source path="obs://a/b"><signing key="file:///k"/></source></repository>
    <repository arch="s390x"><source path="https://h/x"/></repository>
    <packages type="bootstrap"><package name="z"/><package name="a" arch="aarch64"/><ignore name="i"/></packages>
    <packages type="image"><package name="p"/><package name="p"/><ignore name="k"/></packages>
    <packages type="iso"><package name="o"/></packages>
    <packages type="delete"><package name="d"/><package name="c"/></packages>
    <packages type="uninstall" profiles="b"><package name="u"/></packages>
</image>"#,
    r#"<image schemaversion="8.5" name="rare">
    <description type="system"><author>A</author><contact>c</contact><specification>S</specification></description>
    <preferences><version>1.0.0</version><type image="oem" filesystem="btrfs">
        <oemconfig><oem-swap>true</oem-swap><oem-swapsize>64</oem-swapsize></oemconfig>
        <systemdisk preferlvm="true"><volume name="/usr/local"/></systemdisk></type></preferences>
    <preferences><type image="pxe" filesystem="btrfs" initrd_system="dracut"><systemdisk><volume name="home" size="2G"/></systemdisk></type>
        <type image="kis" filesystem="ext4"><systemdisk><volume name="home"/></systemdisk></type>
        <type image="tbz"/></preferences>
    <repository><source path="https://h/x"/></repository>
    <packages type="bootstrap"><package name="a"/></packages>
</image>"#,
];

#[test]
fn every_published_description_resolves_to_what_kiwi_computes() {
    let Some(python) = super::python() else { return };
    // Without the published ones, those that are written below are what KIWI is asked about.
    let mut files = published().unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    for (index, text) in RARE.iter().enumerate() {
        let file = folder.path().join(format!("rare{index}.kiwi"));
        fs::write(&file, text).unwrap();
        assert!(description::load(&file).is_ok(), "{text}");
        files.push(file);
    }
    let attributes: Vec<&str> = schema::find("type")
        .unwrap()
        .attributes
        .iter()
        .map(|attribute| attribute.name)
        .filter(|name| *name != "luks")
        .collect();
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    let mut failed = Vec::new();
    for file in &files {
        let loaded = description::load(file);
        for arch in ["x86_64", "aarch64", "ppc64le", "s390x"] {
            let choices = Choices { arch: arch.to_string(), ..Choices::default() };
            let combinations = match &loaded {
                Ok(description) => selection::combinations(description, &choices),
                Err(_) => vec![choices],
            };
            for choices in combinations {
                questions.push(json!({
                    "file": file.canonicalize().unwrap(), "profiles": choices.profiles, "type": choices.image_type,
                    "arch": arch, "attributes": attributes,
                }));
                answers.push(match &loaded {
                    Ok(description) => resolved::resolve(description, &choices).map_err(|problems| problems.summary()),
                    Err(problems) => Err(problems.summary()),
                });
            }
        }
    }
    let kiwi = super::ask(&python, "resolve", &json!(questions));
    for ((question, ours), kiwi) in questions.iter().zip(&answers).zip(kiwi) {
        let what = format!(
            "{} {} {} {}",
            text(&question["file"]),
            text(&question["profiles"]),
            text(&question["type"]),
            text(&question["arch"])
        );
        let mut found = Vec::new();
        match (ours, kiwi.get("error")) {
            (Ok(resolved), None) => {
                let mut kiwi = kiwi.clone();
                for user in kiwi["users"].as_array_mut().unwrap() {
                    let user = user.as_object_mut().unwrap();
                    user.remove("password");
                    user.remove("pwdformat");
                }
                differences("", &kiwi, &self::ours(resolved), &mut found);
            }
            (Err(_), Some(_)) => {}
            (Ok(_), Some(error)) => found.push(format!("KIWI refuses it: {}", text(error))),
            (Err(problem), None) => found.push(format!("we refuse it: {problem}")),
        }
        found.retain(|line| !EXCEPTIONS.iter().any(|(start, _)| line.starts_with(start)));
        failed.extend(found.into_iter().map(|line| format!("{what}: {line}")));
    }
    let planned = answers.iter().filter(|answer| answer.is_ok()).count();
    println!("{} descriptions, {} choices, {planned} of them resolved", files.len(), questions.len());
    assert!(failed.is_empty(), "{} differences\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn what_kiwi_writes_as_yaml_and_toml_is_the_description_that_it_was_in_xml() {
    let Some(files) = published() else { return };
    let Some(python) = super::python() else { return };
    let answers = super::ask(&python, "languages", &json!(files));
    let folder = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for (file, answer) in files.iter().zip(answers) {
        let Ok(xml) = description::load(file) else { continue };
        for name in ["yaml", "toml"] {
            let Some(text) = answer[name].as_str() else { continue };
            let other = folder.path().join("config.kiwi");
            fs::write(&other, text).unwrap();
            let other = description::load(&other)
                .unwrap_or_else(|problems| panic!("{} as {name}\n{}", file.display(), problems.render(Colour::Never)));
            let choices = Choices { arch: "x86_64".to_string(), ..Choices::default() };
            for choices in selection::combinations(&xml, &choices) {
                let resolve = |description| resolved::resolve(description, &choices).map_err(|found| found.summary());
                let (xml, other) = (resolve(&xml), resolve(&other));
                assert_eq!(json!(xml.ok()), json!(other.ok()), "{} as {name}", file.display());
                compared += 1;
            }
        }
    }
    println!("{compared} choices compared");
    assert!(compared > 100);
}
