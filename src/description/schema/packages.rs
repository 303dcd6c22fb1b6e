//! Rows: packages and repositories.

use super::{Element, Value, attribute, element};

const KIWI_INITRD: &str = "only KIWI's own initrd images use it";
const NO_COLLECTIONS: &str = "apt has no collections: name a meta package or a task's packages";

pub(super) const ELEMENTS: &[Element] = &[
    element("packages", &["image"]).often().with(&[
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
        .mandatory(),
        attribute("profiles", Value::Profiles),
        attribute("patternType", Value::OneOf(&["onlyRequired", "plusRecommended"])),
        attribute("bootstrap_package", Value::Text)
            .refused("a root packed in a package is not used: list the packages"),
    ]),
    element("package", &["packages"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("arch", Value::Architectures),
        attribute("bootinclude", Value::Boolean).ignored(KIWI_INITRD),
        attribute("bootdelete", Value::Boolean).ignored(KIWI_INITRD),
    ]),
    element("namedCollection", &["packages"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("arch", Value::Architectures)])
        .refused(NO_COLLECTIONS),
    element("collectionModule", &["packages"])
        .often()
        .with(&[
            attribute("name", Value::Name).mandatory(),
            attribute("stream", Value::Name),
            attribute("enable", Value::Boolean).mandatory(),
            attribute("arch", Value::Architectures),
        ])
        .refused("apt has no modules"),
    element("product", &["packages"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("arch", Value::Architectures)])
        .refused("apt has no products"),
    element("ignore", &["packages"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("arch", Value::Architectures)]),
    element("archive", &["packages"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("target_dir", Value::Text),
        attribute("bootinclude", Value::Boolean).ignored(KIWI_INITRD),
    ]),
    element("file", &["packages", "drivers", "strip"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("target", Value::Text),
        attribute("owner", Value::NotEmpty),
        attribute("permissions", Value::NotEmpty),
        attribute("arch", Value::Architectures),
    ]),
    element("repository", &["image"]).often().needs(&["source"]).with(&[
        attribute("type", Value::OneOf(&["apk", "apt-deb", "apt-rpm", "deb-dir", "mirrors", "rpm-md"])),
        attribute("alias", Value::Name),
        attribute("priority", Value::Integer),
        attribute("imageinclude", Value::Boolean),
        attribute("imageonly", Value::Boolean),
        attribute("repository_gpgcheck", Value::Boolean),
        attribute("package_gpgcheck", Value::Boolean)
            .ignored("apt verifies the repository, and through it every package"),
        attribute("customize", Value::NotEmpty),
        attribute("distribution", Value::Text),
        attribute("components", Value::Text),
        attribute("architectures", Value::Architectures),
        attribute("sourcetype", Value::OneOf(&["baseurl", "metalink", "mirrorlist"])),
        attribute("username", Value::Text),
        attribute("password", Value::Text),
        attribute("profiles", Value::Profiles),
        attribute("arch", Value::Architectures),
    ]),
    element("source", &["repository"]).with(&[attribute("path", Value::NotEmpty).mandatory()]),
    element("signing", &["source"]).often().with(&[attribute("key", Value::KeyUri).mandatory()]),
];
