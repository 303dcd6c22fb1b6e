//! Rows: packages and repositories.

use super::{Element, Value, attribute, element};

const KIWI_INITRD: &str = "only KIWI's own initrd images use it";

pub(super) const ELEMENTS: &[Element] = &[
    element("packages", &["image"]).about("Packages; of several sections each counts for its profiles").often().with(
        &[
            attribute(
                "type",
                Value::OneOf(&[
                    "bootstrap",
                    "delete",
                    "docker",
                    "image",
                    "iso",
                    "kis",
                    "oci",
                    "oem",
                    "pxe",
                    "systemfiles",
                    "uninstall",
                ]),
            )
            .about("When they are installed, for which image type, or when they are removed")
            .mandatory(),
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
            attribute("patternType", Value::OneOf(&["onlyRequired", "plusRecommended"]))
                .about("Whether recommended packages are installed; onlyRequired"),
            attribute("bootstrap_package", Value::Text)
                .about("A package that holds the whole bootstrap")
                .refused("a root packed in a package is not used: list the packages"),
        ],
    ),
    element("package", &["packages"]).about("A package").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name, in the package manager's words").mandatory(),
        attribute("arch", Value::Architectures).about("On these architectures only"),
        attribute("bootinclude", Value::Boolean).about("It is in an initrd of KIWI's own too").ignored(KIWI_INITRD),
        attribute("bootdelete", Value::Boolean).about("It is deleted from such an initrd").ignored(KIWI_INITRD),
    ]),
    element("namedCollection", &["packages"]).about("A pattern of zypper or group of dnf; not for apt").often().with(
        &[
            attribute("name", Value::NotEmpty).about("Its name").mandatory(),
            attribute("arch", Value::Architectures).about("On these architectures only"),
        ],
    ),
    element("collectionModule", &["packages"])
        .about("A module of a distribution, for dnf: which of several versions its packages have")
        .often()
        .with(&[
            attribute("name", Value::Name).about("Its name").mandatory(),
            attribute("stream", Value::Name).about("Its stream; the default one"),
            attribute("enable", Value::Boolean).about("Whether it is enabled or disabled").mandatory(),
            attribute("arch", Value::Architectures).about("On these architectures only"),
        ]),
    element("product", &["packages"]).about("A product of a distribution, for zypper").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("arch", Value::Architectures).about("On these architectures only"),
    ]),
    element("ignore", &["packages"]).about("A package that is not installed").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("arch", Value::Architectures).about("On these architectures only"),
    ]),
    element("archive", &["packages"]).about("A tar archive that is unpacked over the tree").often().with(&[
        attribute("name", Value::NotEmpty).about("Its file beside the description").mandatory(),
        attribute("target_dir", Value::Text).about("Where it is unpacked; /"),
        attribute("bootinclude", Value::Boolean).about("It is in an initrd of KIWI's own too").ignored(KIWI_INITRD),
    ]),
    element("file", &["packages", "drivers", "strip"])
        .about("A file that is copied into the tree, or one that a section names")
        .often()
        .with(&[
            attribute("name", Value::NotEmpty).about("Its file beside the description").mandatory(),
            attribute("target", Value::Text).about("Where it is copied to"),
            attribute("owner", Value::NotEmpty).about("Who owns it: user or user:group"),
            attribute("permissions", Value::NotEmpty).about("Its mode in octal"),
            attribute("arch", Value::Architectures).about("On these architectures only"),
        ]),
    element("repository", &["image"]).about("Where packages come from").often().needs(&["source"]).with(&[
        attribute("type", Value::OneOf(&["apk", "apt-deb", "apt-rpm", "deb-dir", "mirrors", "rpm-md"]))
            .about("Kind of repository"),
        attribute("alias", Value::Name).about("Its name"),
        attribute("priority", Value::Integer).about("Which one is preferred where several have a package"),
        attribute("imageinclude", Value::Boolean).about("The image keeps it as a source of updates"),
        attribute("imageonly", Value::Boolean).about("The image gets it, and the build does not use it"),
        attribute("repository_gpgcheck", Value::Boolean).about("Whether its list of packages must be signed; yes"),
        attribute("package_gpgcheck", Value::Boolean)
            .about("Whether each package must be signed; where the repository is not; not for apt"),
        attribute("customize", Value::NotEmpty).about("Script on the build host that edits its file"),
        attribute("distribution", Value::Text).about("The suite"),
        attribute("components", Value::Text).about("Components, divided by blanks; main"),
        attribute("architectures", Value::Architectures).about("Its architectures, where they are not the image's"),
        attribute("sourcetype", Value::OneOf(&["baseurl", "metalink", "mirrorlist"]))
            .about("What the address is: the repository or a list of mirrors"),
        attribute("username", Value::Text).about("Login name"),
        attribute("password", Value::Text).about("Password"),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
        attribute("arch", Value::Architectures).about("Counts on these architectures only"),
    ]),
    element("source", &["repository"]).about("Its address").with(&[attribute("path", Value::NotEmpty)
        .about("mirror://NAME, https, http, file, dir, or this:// beside the description")
        .mandatory()]),
    element("signing", &["source"])
        .about("A key that may sign it")
        .often()
        .with(&[attribute("key", Value::KeyUri).about("The key's file or address").mandatory()]),
];
