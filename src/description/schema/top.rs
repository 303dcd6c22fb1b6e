//! Rows: the image, its description, profiles and preferences, users, and what stands beside them.

use super::{Content, Element, Value, attribute, element};

const NO_KIWI_INITRD: &str = "only KIWI's own initrd reads it, which is not used";

pub(super) const ELEMENTS: &[Element] = &[
    element("image", &[]).about("The description of one image").needs(&["description", "preferences"]).with(&[
        attribute("name", Value::Name).about("Name of the image; every result's name begins with it").mandatory(),
        attribute("schemaversion", Value::Text)
            .about("Version of the schema that it was written for; older ones are read in the words of the newest")
            .mandatory(),
        attribute("displayname", Value::Text).about("Title in the boot menu; the name where it is missing"),
        attribute("id", Value::Text).about("Text that is written to /etc/ImageID"),
        attribute("xsi:noNamespaceSchemaLocation", Value::Text).about("Where an editor finds the schema"),
        attribute("xsi:schemaLocation", Value::Text).about("Where an editor finds the schema"),
    ]),
    element("include", &["image"]).about("Takes the sections of another description; one level deep").often().with(&[
        attribute("from", Value::NotEmpty)
            .about("The other file: this://PATH beside the description, file:///PATH, or a path")
            .mandatory(),
    ]),
    element("description", &["image"])
        .about("Who made it and what for")
        .needs(&["author", "contact", "specification"])
        .with(&[attribute("type", Value::OneOf(&["boot", "system"]))
            .about("An image of a system, or an initrd of KIWI's own")
            .mandatory()]),
    element("author", &["description"])
        .about("Who made it; the author of a container that names no maintainer")
        .text(Value::Text),
    element("contact", &["description"]).about("How the author is reached").text(Value::Text).often(),
    element("specification", &["description"]).about("What the image is for, in a sentence").text(Value::Text),
    element("license", &["description"]).about("The licence of the description").text(Value::Text),
    element("profiles", &["image"]).about("The profiles that sections can be for").often().needs(&["profile"]),
    element("profile", &["profiles"]).about("A variant that can be chosen").often().with(&[
        attribute("name", Value::NotEmpty).about("What --profile chooses, and the folder of its overlay").mandatory(),
        attribute("description", Value::Text).about("What it is, for people").mandatory(),
        attribute("import", Value::Boolean).about("Chosen where the user chooses none"),
        attribute("arch", Value::Architectures).about("Exists on these architectures only"),
    ]),
    element("requires", &["profile"]).about("A profile that is chosen with this one").often().with(&[
        attribute("profile", Value::NotEmpty).about("Its name").mandatory(),
        attribute("arch", Value::Architectures).about("On these architectures only"),
    ]),
    element("preferences", &["image"])
        .about("How the image is built; of several sections each counts for its profiles")
        .often()
        .with(&[
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
            attribute("arch", Value::Architectures).about("Counts on these architectures only"),
        ]),
    element("version", &["preferences"])
        .about("Version of the image, a part of every result's name; the first one counts")
        .text(Value::Text),
    element("packagemanager", &["preferences"])
        .about("What installs the packages; the first one counts")
        .text(Value::OneOf(&["apk", "apt", "dnf4", "dnf5", "microdnf", "pacman", "zypper"])),
    element("locale", &["preferences"])
        .about("Language of the system; the last section counts, and the first of its list")
        .text(Value::Locales),
    element("keytable", &["preferences"])
        .about("Layout of the console's keyboard; the last one counts")
        .text(Value::NotEmpty),
    element("timezone", &["preferences"])
        .about("Time zone, as in /usr/share/zoneinfo; the last one counts")
        .text(Value::NotEmpty),
    element("release-version", &["preferences"])
        .about("The distribution's release, for repositories that have it in their address; not for apt")
        .text(Value::Text),
    element("rpm-check-signatures", &["preferences"])
        .about("Whether packages are verified where their repository does not say it; not for apt")
        .text(Value::Boolean),
    element("rpm-excludedocs", &["preferences"]).about("Leaves documentation out; not for apt").text(Value::Boolean),
    element("rpm-locale-filtering", &["preferences"])
        .about("Leaves other languages than <locale> out; not for apt")
        .text(Value::Boolean),
    element("bootloader-theme", &["preferences"])
        .about("Theme of the boot menu")
        .text(Value::Text)
        .ignored("GRUB's menu is plain text"),
    element("bootsplash-theme", &["preferences"])
        .about("Theme of the boot screen")
        .text(Value::Text)
        .ignored("plymouth keeps its default: set a theme with plymouth-set-default-theme in config.sh"),
    element("showlicense", &["preferences"])
        .about("A licence that the first boot shows")
        .text(Value::Text)
        .often()
        .ignored(NO_KIWI_INITRD),
    element("users", &["image"])
        .about("Users; of several sections each counts for its profiles")
        .often()
        .needs(&["user"])
        .with(&[
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
            attribute("arch", Value::Architectures).about("Counts on these architectures only"),
        ]),
    element("user", &["users"]).about("A user; the first one with a name counts, with the groups of all").often().with(
        &[
            attribute("name", Value::NotEmpty).about("Login name").mandatory(),
            attribute("password", Value::Text).about("Hash of crypt(5), or the password itself").mandatory(),
            attribute("pwdformat", Value::OneOf(&["encrypted", "plain"])).about("Which of the two; encrypted"),
            attribute("groups", Value::Groups).about("Groups, the first is the primary one; name:id makes one"),
            attribute("home", Value::Text).about("Home folder"),
            attribute("shell", Value::Text).about("Shell"),
            attribute("realname", Value::Text).about("Real name"),
            attribute("id", Value::Number).about("User id"),
        ],
    ),
    element("drivers", &["image"])
        .about("Drivers in an initrd of KIWI's own")
        .often()
        .needs(&["file"])
        .with(&[attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen")])
        .ignored(NO_KIWI_INITRD),
    element("strip", &["image"])
        .about("What an initrd of KIWI's own keeps and loses")
        .often()
        .needs(&["file"])
        .with(&[
            attribute("type", Value::OneOf(&["delete", "tools", "libs"]))
                .about("Files to delete, or tools or libraries to keep")
                .mandatory(),
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
        ])
        .ignored(NO_KIWI_INITRD),
    element("containers", &["image"])
        .about("Images of containers that the image holds, and loads when it starts for the first time")
        .often()
        .needs(&["container"])
        .with(&[
            attribute("source", Value::NotEmpty)
                .about("Registry that they come from, or where their archives are")
                .mandatory(),
            attribute("backend", Value::OneOf(&["podman", "docker", "container-snap"]))
                .about("What runs them")
                .mandatory(),
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
            attribute("arch", Value::Architectures).about("Counts on these architectures only"),
        ]),
    element("container", &["containers"]).about("A container").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("tag", Value::Text).about("Its tag; latest"),
        attribute("path", Value::Text).about("What stands before the name in the registry; else its archive"),
        attribute("fetch_only", Value::Boolean).about("It is not loaded when the system starts"),
        attribute("arch", Value::Architectures).about("On these architectures only"),
    ]),
    element("certificates", &["image"]).about("Certificates that the system trusts").needs(&["certificate"]).with(&[
        attribute("target_distribution", Value::OneOf(&["suse", "redhat", "debian", "archlinux"]))
            .about("Whose way of installing them")
            .mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("certificate", &["certificates"]).about("A certificate").often().with(&[attribute(
        "name",
        Value::NotEmpty,
    )
    .about("Its file, in PEM, beside the description or absolute")
    .mandatory()]),
    Element {
        content: Content::Foreign,
        ..element("extension", &["image"]).about("Elements of other namespaces, ingot's own among them").often()
    },
];
