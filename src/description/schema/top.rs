//! Rows: the image, its description, profiles and preferences, users, and what stands beside them.

use super::{Content, Element, Value, attribute, element};

const RPM_ONLY: &str = "it is about rpm, and apt installs the packages";
const NO_KIWI_INITRD: &str = "only KIWI's own initrd reads it, which is not used";

pub(super) const ELEMENTS: &[Element] = &[
    element("image", &[]).needs(&["description", "preferences"]).with(&[
        attribute("name", Value::Name).mandatory(),
        attribute("schemaversion", Value::Text).mandatory(),
        attribute("displayname", Value::Text),
        attribute("id", Value::Text),
        attribute("xsi:noNamespaceSchemaLocation", Value::Text),
        attribute("xsi:schemaLocation", Value::Text),
    ]),
    element("include", &["image"]).often().with(&[attribute("from", Value::NotEmpty).mandatory()]),
    element("description", &["image"]).needs(&["author", "contact", "specification"]).with(&[attribute(
        "type",
        Value::OneOf(&["boot", "system"]),
    )
    .mandatory()]),
    element("author", &["description"]).text(Value::Text),
    element("contact", &["description"]).text(Value::Text).often(),
    element("specification", &["description"]).text(Value::Text),
    element("license", &["description"]).text(Value::Text),
    element("profiles", &["image"]).often().needs(&["profile"]),
    element("profile", &["profiles"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("description", Value::Text).mandatory(),
        attribute("import", Value::Boolean),
        attribute("arch", Value::Architectures),
    ]),
    element("requires", &["profile"])
        .often()
        .with(&[attribute("profile", Value::NotEmpty).mandatory(), attribute("arch", Value::Architectures)]),
    element("preferences", &["image"])
        .often()
        .with(&[attribute("profiles", Value::Profiles), attribute("arch", Value::Architectures)]),
    element("version", &["preferences"]).text(Value::Text),
    element("packagemanager", &["preferences"])
        .text(Value::OneOf(&["apk", "apt", "dnf4", "dnf5", "microdnf", "pacman", "zypper"])),
    element("locale", &["preferences"]).text(Value::Locales),
    element("keytable", &["preferences"]).text(Value::NotEmpty),
    element("timezone", &["preferences"]).text(Value::NotEmpty),
    element("release-version", &["preferences"])
        .text(Value::Text)
        .ignored("apt has no release version: name the suite"),
    element("rpm-check-signatures", &["preferences"]).text(Value::Boolean).ignored(RPM_ONLY),
    element("rpm-excludedocs", &["preferences"])
        .text(Value::Boolean)
        .ignored("documentation is installed: remove it in config.sh"),
    element("rpm-locale-filtering", &["preferences"]).text(Value::Boolean).ignored(RPM_ONLY),
    element("bootloader-theme", &["preferences"]).text(Value::Text).ignored("GRUB's menu is plain text"),
    element("bootsplash-theme", &["preferences"])
        .text(Value::Text)
        .ignored("plymouth keeps its default: set a theme with plymouth-set-default-theme in config.sh"),
    element("showlicense", &["preferences"]).text(Value::Text).often().ignored(NO_KIWI_INITRD),
    element("users", &["image"])
        .often()
        .needs(&["user"])
        .with(&[attribute("profiles", Value::Profiles), attribute("arch", Value::Architectures)]),
    element("user", &["users"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("password", Value::Text).mandatory(),
        attribute("pwdformat", Value::OneOf(&["encrypted", "plain"])),
        attribute("groups", Value::Groups),
        attribute("home", Value::Text),
        attribute("shell", Value::Text),
        attribute("realname", Value::Text),
        attribute("id", Value::Number),
    ]),
    element("drivers", &["image"])
        .often()
        .needs(&["file"])
        .with(&[attribute("profiles", Value::Profiles)])
        .ignored(NO_KIWI_INITRD),
    element("strip", &["image"])
        .often()
        .needs(&["file"])
        .with(&[
            attribute("type", Value::OneOf(&["delete", "tools", "libs"])).mandatory(),
            attribute("profiles", Value::Profiles),
        ])
        .ignored(NO_KIWI_INITRD),
    element("containers", &["image"])
        .often()
        .needs(&["container"])
        .with(&[
            attribute("source", Value::NotEmpty).mandatory(),
            attribute("backend", Value::OneOf(&["podman", "docker", "container-snap"])).mandatory(),
            attribute("profiles", Value::Profiles),
            attribute("arch", Value::Architectures),
        ])
        .refused("containers are not put into images yet"),
    element("container", &["containers"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("tag", Value::Text),
        attribute("path", Value::Text),
        attribute("fetch_only", Value::Boolean),
        attribute("arch", Value::Architectures),
    ]),
    element("certificates", &["image"])
        .needs(&["certificate"])
        .with(&[
            attribute("target_distribution", Value::OneOf(&["suse", "redhat", "debian", "archlinux"])).mandatory(),
            attribute("profiles", Value::Profiles),
        ])
        .refused("certificates are not installed yet: put them into root/usr/local/share/ca-certificates"),
    element("certificate", &["certificates"]).often().with(&[attribute("name", Value::NotEmpty).mandatory()]),
    Element { content: Content::Foreign, ..element("extension", &["image"]).often() },
];
