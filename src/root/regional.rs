//! `<locale>`, `<keytable>`, `<timezone>`: what a running system reads at boot.
//!
//! In: three names. Out: /etc/locale.conf, /etc/vconsole.conf, /etc/localtime and what Debian keeps beside them. Never
//! asks the host for its own settings.

use super::tree::{Kind, RootPath, RootTree};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::sandbox::Sandbox;
use crate::report::Reporter;

/// `POSIX` and `C` need no locale data; anything else is taken as UTF-8, as KIWI does.
pub(super) fn set_locale(locale: &str, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let name = match locale {
        "POSIX" | "C" => "C".to_string(),
        name if name.contains('.') => name.to_string(),
        name => format!("{name}.UTF-8"),
    };
    check("locale", &name)?;
    let content = format!("LANG={name}\n");
    tree.write(&"/etc/locale.conf".into(), &content, 0o644)?;
    let debian = RootPath::from("/etc/default/locale");
    // Newer Debian links it to /etc/locale.conf.
    if is_debian(tree) && !leads_to_locale_conf(&debian, tree)? {
        tree.write(&debian, &content, 0o644)?;
    }
    if matches!(name.as_str(), "C" | "C.UTF-8") {
        return Ok(());
    }
    if tree.exists(&"/usr/sbin/locale-gen".into()) {
        let list = RootPath::from("/etc/locale.gen");
        let old = tree.read_if_there(&list)?.unwrap_or_default();
        tree.write(&list, with_locale(&String::from_utf8_lossy(&old), &name), 0o644)?;
        sandbox.run(reporter, &["locale-gen"]).map_err(|error| error.within(format!("make the locale {name}")))?;
    } else if !has_locale(&name, tree) {
        let text = format!("the image has no data of the locale {name}: programs will use C; install `locales`");
        reporter.warn(Warning { text, place: None });
    }
    Ok(())
}

fn leads_to_locale_conf(path: &RootPath, tree: &RootTree) -> Result<bool> {
    Ok(match tree.entry(path)?.map(|entry| entry.kind) {
        Some(Kind::Symlink(target)) if target.starts_with(b"/") => RootPath::new(target),
        Some(Kind::Symlink(target)) => path.parent().join(target),
        _ => return Ok(false),
    } == "/etc/locale.conf".into())
}

/// The list for locale-gen(8) with the locale switched on; `en_US.UTF-8 UTF-8` a line, switched off by `# `.
fn with_locale(list: &str, name: &str) -> String {
    let charset = name.split_once('.').map_or("UTF-8", |(_, charset)| charset);
    let charset = charset.split('@').next().unwrap_or(charset);
    let wanted = format!("{name} {charset}");
    if list.lines().any(|line| line.trim() == wanted) {
        return list.to_string();
    }
    let mut found = false;
    let mut text = String::new();
    for line in list.lines() {
        let off = line.trim_start().strip_prefix('#').map(str::trim);
        let on = !found && off == Some(wanted.as_str());
        found |= on;
        text.push_str(if on { &wanted } else { line });
        text.push('\n');
    }
    if !found {
        text.push_str(&wanted);
        text.push('\n');
    }
    text
}

/// Whether glibc finds the locale: in a folder of its own, or somewhere in the archive.
fn has_locale(name: &str, tree: &RootTree) -> bool {
    let normalised = name.replace("UTF-8", "utf8");
    let folder = |name: &str| tree.exists(&RootPath::new(format!("/usr/lib/locale/{name}")));
    folder(name) || folder(&normalised) || folder("locale-archive")
}

/// X11's layout for a console keymap whose name differs.
const LAYOUTS: [(&str, &str); 12] = [
    ("uk", "gb"),
    ("sv", "se"),
    ("sg", "ch"),
    ("sf", "ch"),
    ("cf", "ca"),
    ("jp106", "jp"),
    ("la", "latam"),
    ("trq", "tr"),
    ("trf", "tr"),
    ("slovene", "si"),
    ("croat", "hr"),
    ("br", "br"),
];

/// The console's keymap; Debian reads /etc/default/keyboard, where layouts have X11's names.
pub(super) fn set_keytable(keytable: &str, tree: &RootTree, reporter: &Reporter) -> Result<()> {
    let keymap = ["", ".gz", ".map"].iter().fold(keytable, |name, end| name.strip_suffix(end).unwrap_or(name));
    check("keytable", keymap)?;
    let mut read = false;
    if tree.exists(&"/usr/lib/systemd/systemd".into()) || tree.exists(&"/lib/systemd/systemd".into()) {
        let path = RootPath::from("/etc/vconsole.conf");
        let old = tree.read_if_there(&path)?.unwrap_or_default();
        tree.write(&path, with_variables(&String::from_utf8_lossy(&old), &[("KEYMAP", keymap)], Quotes::None), 0o644)?;
        read = true;
    }
    let path = RootPath::from("/etc/default/keyboard");
    let old = tree.read_if_there(&path)?;
    if old.is_some() || tree.exists(&"/usr/bin/setupcon".into()) || tree.exists(&"/bin/setupcon".into()) {
        let (layout, variant) = x11_layout(keymap);
        let mut variables = vec![("XKBLAYOUT", layout), ("XKBVARIANT", variant)];
        let old = old.unwrap_or_default();
        if old.is_empty() {
            variables.splice(0..0, [("XKBMODEL", "pc105")]);
            variables.extend([("XKBOPTIONS", ""), ("BACKSPACE", "guess")]);
        }
        tree.write(&path, with_variables(&String::from_utf8_lossy(&old), &variables, Quotes::Double), 0o644)?;
        read = true;
    }
    if !read {
        let text = format!("the keytable {keytable} has no effect: nothing in the image reads one");
        reporter.warn(Warning { text, place: None });
    }
    Ok(())
}

fn x11_layout(keymap: &str) -> (&str, &str) {
    let (layout, rest) = keymap.split_once('-').unwrap_or((keymap, ""));
    let layout = LAYOUTS.iter().find(|(console, _)| *console == layout).map_or(layout, |(_, x11)| *x11);
    let variant = rest.split('-').find(|word| ["nodeadkeys", "dvorak", "neo", "colemak", "bepo"].contains(word));
    (layout, variant.unwrap_or(""))
}

#[derive(Clone, Copy)]
enum Quotes {
    None,
    Double,
}

/// A file of shell assignments with some of them set.
fn with_variables(text: &str, variables: &[(&str, &str)], quotes: Quotes) -> String {
    let assignment = |name: &str, value: &str| match quotes {
        Quotes::None => format!("{name}={value}"),
        Quotes::Double => format!("{name}=\"{value}\""),
    };
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for (name, value) in variables {
        let is_this =
            |line: &&mut String| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        match lines.iter_mut().find(is_this) {
            Some(line) => *line = assignment(name, value),
            None => lines.push(assignment(name, value)),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The local time zone, a name of the tz database.
pub(super) fn set_timezone(zone: &str, tree: &RootTree, reporter: &Reporter) -> Result<()> {
    check("timezone", zone)?;
    let data = RootPath::new(format!("/usr/share/zoneinfo/{zone}"));
    // Without tzdata, the system runs in UTC whatever the link says.
    let utc = matches!(zone, "UTC" | "Etc/UTC" | "Universal" | "Zulu" | "UCT");
    if !tree.exists(&data) && !utc {
        let text = format!("the image has no data of the time zone {zone} and will run in UTC; install `tzdata`");
        reporter.warn(Warning { text, place: None });
    }
    tree.symlink(data.as_bytes(), &"/etc/localtime".into())?;
    if is_debian(tree) {
        tree.write(&"/etc/timezone".into(), format!("{zone}\n"), 0o644)?;
    }
    Ok(())
}

fn is_debian(tree: &RootTree) -> bool {
    tree.exists(&"/etc/debian_version".into())
}

/// A name that ends up in files and paths.
fn check(element: &str, name: &str) -> Result<()> {
    let good = |char: char| char.is_ascii_alphanumeric() || "_-+./@".contains(char);
    if !name.is_empty() && name.chars().all(good) && !name.starts_with('/') && !name.split('/').any(|part| part == "..")
    {
        return Ok(());
    }
    Err(Error::cannot(Exit::Description, format!("set the {element} to `{}`", name.escape_debug()))
        .because(format!("this is no name of a {element}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_switched_on_in_the_list_once() {
        let list = "# head\n# de_DE.UTF-8 UTF-8\n# en_US.UTF-8 UTF-8\n";
        let on = "# head\n# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n";
        assert_eq!(with_locale(list, "en_US.UTF-8"), on);
        assert_eq!(with_locale(on, "en_US.UTF-8"), on);
        assert_eq!(with_locale("", "de_DE.ISO-8859-1"), "de_DE.ISO-8859-1 ISO-8859-1\n");
    }

    #[test]
    fn keymaps_have_other_names_in_x11() {
        let table = [
            ("us", ("us", "")),
            ("uk", ("gb", "")),
            ("de-latin1-nodeadkeys", ("de", "nodeadkeys")),
            ("sv-latin1", ("se", "")),
        ];
        for (keymap, wanted) in table {
            assert_eq!(x11_layout(keymap), wanted);
        }
    }

    #[test]
    fn variables_are_replaced_where_they_stand() {
        let old = "# comment\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"us\"\n";
        let new = with_variables(old, &[("XKBLAYOUT", "de"), ("XKBVARIANT", "")], Quotes::Double);
        assert_eq!(new, "# comment\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"de\"\nXKBVARIANT=\"\"\n");
    }

    #[test]
    fn names_that_would_leave_their_file_or_folder_are_refused() {
        for name in ["../../etc/shadow", "/etc", "a b", "x\ny", "", "$(touch x)"] {
            assert_eq!(check("timezone", name).unwrap_err().exit(), Exit::Description, "{name}");
        }
        check("timezone", "America/Argentina/Buenos_Aires").unwrap();
        check("timezone", "Etc/GMT+1").unwrap();
    }
}
