//! What happens to the tree after its packages are in.
//!
//! In: the parts of a description that count and what lies beside it. Out: a [`RootPlan`]. Never reads a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::make::{breaks_a_line, is_disk};
use super::selection::Selection;
use super::{
    Archive, Choices, File, Group, Overlay, Password, RootPlan, Script, ScriptPhase, User, Warning, conflict, embedded,
    trust,
};
use crate::description::{self, Description, File as Written, Packages, Problem, Problems, Spanned, Type, shown};

/// Plans overlays, users, settings, archives, files and scripts.
pub fn plan(
    description: &Description,
    selection: &Selection<'_>,
    kind: &Type,
    choices: &Choices,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> RootPlan {
    let sections = |wanted: &dyn Fn(&str) -> bool| -> Vec<&Packages> {
        let sections = selection.packages.iter().copied();
        sections.filter(|section| conflict::counts(&section.kind, &kind.image) && wanted(&section.kind)).collect()
    };
    let bootstrap = sections(&|section| section == "bootstrap");
    let image = sections(&|section| section == "image" || section == *kind.image);
    let files = bootstrap.iter().chain(&image).flat_map(|section| &section.files);
    let files =
        files.filter(|file| selection.on_arch(&file.arch)).filter_map(|written| file(written, problems)).collect();
    let mut archives = |sections: &[&Packages]| {
        let found = sections.iter().flat_map(|section| &section.archives);
        found.filter_map(|written| archive(written, problems)).collect()
    };
    let bootstrap_archives = archives(&bootstrap);
    let archives = archives(&image);
    // KIWI: the last one counts.
    let last = |of: fn(&description::Preferences) -> &Option<Spanned<String>>| {
        selection.preferences.iter().rev().find_map(|preferences| of(preferences).as_ref())
    };
    let (keytable, timezone) = (last(|part| &part.keytable), last(|part| &part.timezone));
    for text in [keytable, timezone].into_iter().flatten() {
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '+' | '.' | '/');
        if !text.chars().all(fits)
            || text.starts_with(['/', '-'])
            || text.split('/').any(|part| matches!(part, ".." | ""))
        {
            let title = format!("`{}` names nothing in the image", shown(text));
            problems.add(Problem::invalid(title).at(&text.span).label("a name like `us` or `Europe/Berlin`"));
        }
    }
    RootPlan {
        overlays: overlays(description, selection, problems),
        users: users(selection, problems),
        locale: last(|part| &part.locale).map(|list| list.split(',').next().unwrap_or_default().to_string()),
        keytable: keytable.map(|text| text.to_string()),
        timezone: timezone.map(|text| text.to_string()),
        bootstrap_archives,
        archives,
        files,
        trust: trust::plan(selection, problems, warnings),
        containers: embedded::plan(selection, &description.beside.folder, problems),
        scripts: scripts(description, kind, problems),
        variables: BTreeMap::new(),
        environment: choices.environment.clone(),
        network: choices.network_for_scripts,
    }
}

/// Shared overlays first, then `root/`, then the profiles' folders: the more special wins.
fn overlays(description: &Description, selection: &Selection<'_>, problems: &mut Problems) -> Vec<Overlay> {
    let beside = &description.beside;
    let mut overlays = Vec::new();
    for extension in selection.extensions.iter().filter(|extension| extension.name == "overlay") {
        let Some(name) = extension.attributes.get("name") else { continue };
        match beside.overlays.get(name.as_str()) {
            Some(folder) => overlays.push(Overlay::Folder(folder.clone())),
            None => problems.add(
                Problem::missing(format!("there is no overlay `{}`", shown(name)))
                    .at(&name.span)
                    .label("looked for in rootfs-overlays/ beside the description and in the folders above"),
            ),
        }
    }
    overlays.extend(beside.root.clone().map(Overlay::Folder));
    overlays.extend(beside.root_tarball.clone().map(Overlay::Tarball));
    let profiles = selection.profiles.iter().filter_map(|profile| beside.profiles.get(profile));
    overlays.extend(profiles.cloned().map(Overlay::Folder));
    overlays
}

/// Users by name: attributes of the first section that names one, groups of all.
pub fn users(selection: &Selection<'_>, problems: &mut Problems) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ids: BTreeMap<u32, usize> = BTreeMap::new();
    for written in selection.users.iter().flat_map(|section| &section.users) {
        let groups = written.groups.iter().map(|(name, gid)| Group { name: name.clone(), gid: *gid });
        if let Some(index) = known.get(written.name.as_str()) {
            let have = &mut users[*index].groups;
            for group in groups {
                if !have.iter().any(|have| have.name == group.name) {
                    have.push(group);
                }
            }
            continue;
        }
        known.insert(&written.name, users.len());
        let user = User {
            name: written.name.to_string(),
            password: password(written, problems),
            groups: groups.collect(),
            home: written.home.as_ref().map(|home| home.to_string()),
            shell: written.shell.as_ref().map(|shell| shell.to_string()),
            real_name: written.real_name.as_ref().map(|name| name.to_string()),
            uid: written.id.as_ref().and_then(|id| {
                let number = id.parse::<u32>().ok().filter(|id| *id < u32::MAX);
                if number.is_none() {
                    let title = format!("`{}` is not a user id", shown(id));
                    problems.add(Problem::invalid(title).at(&id.span));
                }
                number
            }),
            place: written.name.span.place(),
        };
        let same_id = user.uid.and_then(|uid| ids.get(&uid)).map(|index: &usize| &users[*index]);
        check_user(written, &user, same_id, problems);
        if let Some(uid) = user.uid {
            ids.entry(uid).or_insert(users.len());
        }
        users.push(user);
    }
    users
}

fn password(written: &description::User, problems: &mut Problems) -> Option<Password> {
    let text = &written.password.0;
    if text.is_empty() {
        return None;
    }
    if written.plain {
        return Some(Password::Plain(text.clone()));
    }
    if breaks_a_line(text) {
        problems.add(Problem::invalid("the password is not a hash").at(&written.password_span));
    } else if !text.starts_with(['$', '!', '*', '_']) && text.len() != 13 {
        problems.add(
            Problem::invalid("the password is not a hash of crypt(5)")
                .at(&written.password_span)
                .hint("make one with `openssl passwd -6`, or add pwdformat=\"plain\""),
        );
    }
    Some(Password::Encrypted(text.clone()))
}

/// `same_id`: an earlier user with this one's id.
fn check_user(written: &description::User, user: &User, same_id: Option<&User>, problems: &mut Problems) {
    let name = &written.name;
    let fits = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '$' | '@' | '+');
    if !name.chars().all(fits) || name.starts_with(['-', '.']) || name.len() > 32 {
        problems.add(Problem::invalid(format!("`{}` is not a user name", shown(name))).at(&name.span));
    }
    for text in [&written.home, &written.shell, &written.real_name].into_iter().flatten() {
        if breaks_a_line(text) {
            let title = format!("`{}` cannot stand in /etc/passwd", shown(text));
            problems.add(Problem::invalid(title).at(&text.span).label("no colons and control characters"));
        }
    }
    for text in [&written.home, &written.shell].into_iter().flatten() {
        if !text.is_empty() && (!text.starts_with('/') || text.split('/').any(|part| part == "..")) {
            let title = format!("`{}` is not an absolute path", shown(text));
            problems.add(Problem::invalid(title).at(&text.span));
        }
    }
    if let (Some(uid), Some(id)) = (user.uid, &written.id)
        && let Some(other) = same_id
    {
        let title = format!("users `{}` and `{}` have the same id {uid}", shown(&other.name), shown(name));
        problems.add(Problem::invalid(title).at(&id.span));
    }
}

fn missing(written: &Written, what: &str) -> Problem {
    let problem = Problem::missing(format!("there is no {what} {}", shown(&written.name))).at(&written.name.span);
    match written.name.split('/').any(|part| part == "..") {
        true => problem.label("a name cannot leave the description's folder"),
        false => problem.label("looked for beside the description"),
    }
}

/// An absolute path in the image; `None` and a problem where it climbs.
fn target(target: Option<&Spanned<String>>, problems: &mut Problems) -> Option<String> {
    let Some(target) = target else { return Some("/".to_string()) };
    if target.split('/').any(|part| part == "..") || target.contains(char::is_control) {
        let title = format!("`{}` is not a path in the image", shown(target));
        problems.add(Problem::invalid(title).at(&target.span));
        return None;
    }
    Some(format!("/{}", target.trim_start_matches('/')))
}

fn archive(written: &Written, problems: &mut Problems) -> Option<Archive> {
    let target = target(written.target.as_ref(), problems);
    let Some(path) = written.found.clone() else {
        problems.add(missing(written, "archive"));
        return None;
    };
    Some(Archive { path, target: target?, place: written.name.span.place() })
}

fn file(written: &Written, problems: &mut Problems) -> Option<File> {
    let target = target(written.target.as_ref(), problems);
    if let Some(owner) = &written.owner
        && (breaks_a_line(&owner.replacen(':', "", 1)) || owner.starts_with('-') || owner.contains(' '))
    {
        let title = format!("`{}` is not an owner", shown(owner));
        problems.add(Problem::invalid(title).at(&owner.span).label("`user` or `user:group`"));
    }
    let Some(path) = written.found.clone() else {
        problems.add(missing(written, "file"));
        return None;
    };
    Some(File {
        path,
        target: target?,
        owner: written.owner.as_ref().map(|owner| owner.to_string()),
        mode: written.permissions.as_ref().and_then(|text| mode(text, problems)),
        place: written.name.span.place(),
    })
}

/// `0644`; chmod's symbolic modes are refused.
fn mode(text: &Spanned<String>, problems: &mut Problems) -> Option<u32> {
    let octal = text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o7777 => Some(mode),
        _ => {
            let what = format!("permissions=\"{}\"", shown(text));
            problems.add(Problem::refused(what).at(&text.span).label("write them in octal: 0644"));
            None
        }
    }
}

/// A warning for each hook beside the description that no build of it runs. KIWI runs none of them for what is built
/// here, either; but who put the file there expects something of it.
pub fn hooks_without_meaning(description: &Description) -> Vec<Warning> {
    let mut types = description.preferences.iter().flat_map(|part| &part.types);
    let scripts = &description.beside.scripts;
    let of_disks = ["pre_disk_sync.sh", "disk.sh"].into_iter().filter(|name| scripts.contains_key(*name));
    let of_disks: Vec<&str> = if types.any(is_disk) { Vec::new() } else { of_disks.collect() };
    let of_others = description.beside.hooks_of_others.iter().copied();
    let warning = |name: &str| {
        let why = match name {
            "config-overlay.sh" | "config-host-overlay.sh" => {
                "is not run: it belongs to containers with delta_root=\"true\""
            }
            "pre_disk_sync.sh" | "disk.sh" => "is not run: it belongs to disks, and the description has none",
            _ => "is not unpacked: it belongs to live and installation media",
        };
        Warning { text: format!("{name} beside the description {why}"), place: None }
    };
    of_others.chain(of_disks).map(warning).collect()
}

fn scripts(description: &Description, kind: &Type, problems: &mut Problems) -> Vec<Script> {
    let phases = [
        ("post_bootstrap.sh", ScriptPhase::PostBootstrap),
        ("config.sh", ScriptPhase::Config),
        ("images.sh", ScriptPhase::Images),
        ("pre_disk_sync.sh", ScriptPhase::PreDiskSync),
        ("disk.sh", ScriptPhase::Disk),
    ];
    let found = &description.beside.scripts;
    let of_disks = [ScriptPhase::PreDiskSync, ScriptPhase::Disk];
    let used = phases.into_iter().filter(|(_, phase)| !of_disks.contains(phase) || is_disk(kind));
    let script = |phase, path: &PathBuf| Script { phase, path: path.clone(), arguments: Vec::new() };
    let mut scripts: Vec<Script> = used.filter_map(|(name, phase)| Some(script(phase, found.get(name)?))).collect();
    if let (Some(name), true) = (kind.get("editbootconfig"), is_disk(kind)) {
        match description.beside.boot_scripts.get(name.as_str()) {
            Some(path) => scripts.push(script(ScriptPhase::EditBootConfig, path)),
            None => problems.add(
                Problem::missing(format!("there is no script {}", shown(name)))
                    .at(&name.span)
                    .label("looked for beside the description"),
            ),
        }
    }
    scripts.sort_by_key(|script| script.phase);
    scripts
}
