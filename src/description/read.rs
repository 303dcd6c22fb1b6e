//! A checked tree to a [`Description`].
//!
//! In: a tree that fits the schema. Out: typed sections, each with what is not honoured in it.
//! Never decides which sections count.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lookup::{self, Local};
use super::problem::{Problem, shown};
use super::schema::{self, Content, Element, Status, Value};
use super::source::{Source, Spanned};
use super::validate::namespace;
use super::xml::Node;
use super::{
    Aside, Beside, Certificates, Container, Containers, Description, Extension, File, Key, Module, Name, Other,
    Packages, Preferences, Profile, Repository, Secret, Type, User, Users, When, truth,
};

/// Reads the whole tree.
pub fn description(image: &Node, source: &Arc<Source>, folder: &Path) -> Result<Description, Problem> {
    // The schema was checked: what is mandatory is there. A hole in that check shows here as a problem, not as a panic.
    let about = child(image, "description")?;
    let mut extensions = Vec::new();
    let mut foreign: Vec<Spanned<String>> = Vec::new();
    for extension in image.children("extension") {
        for child in &extension.children {
            match namespace(extension, child) {
                Some((local, schema::NAMESPACE)) => extensions.push(Extension {
                    name: local.to_string(),
                    when: when(child),
                    attributes: child
                        .attributes
                        .iter()
                        .filter(|attribute| !attribute.name.starts_with("xmlns"))
                        .map(|attribute| (attribute.name.to_string(), attribute.value.clone()))
                        .collect(),
                    span: child.name.span.clone(),
                }),
                Some((_, other)) if !foreign.iter().any(|known| *known.value == *other) => {
                    foreign.push(Spanned { value: other.to_string(), span: child.name.span.clone() });
                }
                _ => {}
            }
        }
    }
    let profiles: Vec<Profile> = image
        .children("profiles")
        .flat_map(|profiles| profiles.children("profile"))
        .map(profile)
        .collect::<Result<_, _>>()?;
    let overlays = extensions.iter().filter(|extension| extension.name == "overlay");
    let overlays = overlays.filter_map(|extension| extension.attributes.get("name")).map(|name| name.as_str());
    let beside = Beside::find(folder, profiles.iter().map(|profile| profile.name.as_str()), overlays);
    let folder = beside.folder.clone();
    let other = |name: &'static str| {
        image.children(name).map(|node| Other {
            node: node.clone(),
            when: when(node),
            asides: aside(node).into_iter().collect(),
        })
    };
    let mut description = Description {
        source: source.clone(),
        included: Vec::new(),
        dropped: Vec::new(),
        span: image.name.span.clone(),
        name: attribute(image, "name")?,
        display_name: text_of(image, "displayname"),
        id: text_of(image, "id"),
        kind: attribute(about, "type")?,
        author: child_text(about, "author"),
        contact: child_text(about, "contact"),
        specification: child_text(about, "specification"),
        profiles,
        preferences: image.children("preferences").map(preferences).collect::<Result<_, _>>()?,
        users: image.children("users").map(users).collect::<Result<_, _>>()?,
        repositories: image.children("repository").map(|node| repository(node, &folder)).collect::<Result<_, _>>()?,
        packages: image.children("packages").map(|node| packages(node, &folder)).collect::<Result<_, _>>()?,
        certificates: image
            .children("certificates")
            .map(|node| certificates(node, &folder))
            .collect::<Result<_, _>>()?,
        containers: image.children("containers").map(containers).collect::<Result<_, _>>()?,
        others: ["drivers", "strip"].into_iter().flat_map(other).collect(),
        extensions,
        foreign,
        beside,
    };
    description.find_boot_scripts();
    Ok(description)
}

fn attribute(node: &Node, name: &str) -> Result<Spanned<String>, Problem> {
    let found = node.attribute(name).map(|attribute| attribute.value.clone());
    found.ok_or_else(|| Problem::invalid(format!("<{}> lacks `{name}`", shown(&node.name))).at(&node.name.span))
}

fn child<'a>(node: &'a Node, name: &'a str) -> Result<&'a Node, Problem> {
    let found = node.children(name).next();
    found.ok_or_else(|| Problem::invalid(format!("<{}> lacks <{name}>", shown(&node.name))).at(&node.name.span))
}

fn optional(node: &Node, name: &str) -> Option<Spanned<String>> {
    node.attribute(name).map(|attribute| attribute.value.clone())
}

fn text_of(node: &Node, name: &str) -> Option<String> {
    optional(node, name).map(|value| value.value)
}

fn boolean(node: &Node, name: &str) -> Option<bool> {
    optional(node, name).map(|value| truth(&value))
}

fn child_text(node: &Node, name: &str) -> String {
    node.children(name).next().map(|child| child.trimmed().value).unwrap_or_default()
}

fn list(text: Option<Spanned<String>>) -> Vec<Spanned<String>> {
    let Some(text) = text else { return Vec::new() };
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| Spanned { value: word.to_string(), span: text.span.clone() }).collect()
}

fn architectures(node: &Node) -> Vec<String> {
    list(optional(node, "arch")).into_iter().map(|arch| arch.value).collect()
}

fn when(node: &Node) -> When {
    When { profiles: list(optional(node, "profiles")), arch: architectures(node) }
}

fn profile(node: &Node) -> Result<Profile, Problem> {
    let requires = node.children("requires").map(|node| Ok((attribute(node, "profile")?, architectures(node))));
    Ok(Profile {
        name: attribute(node, "name")?,
        description: text_of(node, "description").unwrap_or_default(),
        import: boolean(node, "import").unwrap_or(false),
        arch: architectures(node),
        requires: requires.collect::<Result<_, Problem>>()?,
    })
}

fn preferences(node: &Node) -> Result<Preferences, Problem> {
    let text = |name: &str| node.children(name).next().map(Node::trimmed);
    let types = node.children("type").map(|node| {
        Ok(Type {
            node: node.clone(),
            image: attribute(node, "image")?,
            primary: boolean(node, "primary").unwrap_or(false),
            asides: asides_of(node),
        })
    });
    let types = types.collect::<Result<_, Problem>>()?;
    let mut asides = Vec::new();
    collect(node, &["type"], &[], &mut asides);
    Ok(Preferences {
        when: when(node),
        version: text("version"),
        manager: text("packagemanager"),
        locale: text("locale"),
        keytable: text("keytable"),
        timezone: text("timezone"),
        release_version: text("release-version"),
        check_signatures: text("rpm-check-signatures"),
        exclude_documentation: text("rpm-excludedocs"),
        filter_languages: text("rpm-locale-filtering"),
        splash_theme: text("bootsplash-theme").map(|text| text.value),
        loader_theme: text("bootloader-theme").map(|text| text.value),
        show_license: text("showlicense").map(|text| text.value),
        types,
        asides,
    })
}

/// What is not honoured in an element.
pub(super) fn asides_of(node: &Node) -> Vec<Aside> {
    let mut asides = Vec::new();
    collect(node, &[], &architectures(node), &mut asides);
    asides
}

fn users(node: &Node) -> Result<Users, Problem> {
    let user = |node: &Node| {
        let password = attribute(node, "password")?;
        let group = |word: Spanned<String>| match word.split_once(':') {
            Some((name, id)) => (name.to_string(), id.parse().ok()),
            None => (word.value, None),
        };
        Ok(User {
            name: attribute(node, "name")?,
            password: Secret(password.value),
            password_span: password.span,
            plain: optional(node, "pwdformat").is_some_and(|format| *format == "plain"),
            groups: list(optional(node, "groups")).into_iter().map(group).collect(),
            home: optional(node, "home"),
            shell: optional(node, "shell"),
            real_name: optional(node, "realname"),
            id: optional(node, "id"),
        })
    };
    Ok(Users { when: when(node), users: node.children("user").map(user).collect::<Result<_, Problem>>()? })
}

fn repository(node: &Node, folder: &Path) -> Result<Repository, Problem> {
    let source = child(node, "source")?;
    let mut asides = Vec::new();
    collect(node, &[], &[], &mut asides);
    let customize = optional(node, "customize").map(|name| {
        let found = found(folder, &name);
        (name, found)
    });
    Ok(Repository {
        when: when(node),
        span: node.name.span.clone(),
        kind: optional(node, "type"),
        alias: optional(node, "alias"),
        path: attribute(source, "path")?,
        keys: source.children("signing").map(|node| key(node, folder)).collect::<Result<_, _>>()?,
        distribution: optional(node, "distribution"),
        components: text_of(node, "components").unwrap_or_default().split_whitespace().map(str::to_string).collect(),
        architectures: list(optional(node, "architectures")).into_iter().map(|arch| arch.value).collect(),
        priority: optional(node, "priority"),
        image_include: boolean(node, "imageinclude").unwrap_or(false),
        image_only: boolean(node, "imageonly").unwrap_or(false),
        repository_gpgcheck: boolean(node, "repository_gpgcheck"),
        package_gpgcheck: boolean(node, "package_gpgcheck"),
        source_type: optional(node, "sourcetype"),
        username: text_of(node, "username"),
        password: text_of(node, "password").map(Secret),
        customize,
        asides,
    })
}

fn key(node: &Node, folder: &Path) -> Result<Key, Problem> {
    let uri = attribute(node, "key")?;
    let path = match uri.split_once(':') {
        Some(("file", rest)) => Some(format!("/{}", rest.trim_start_matches('/'))),
        Some(("this", rest)) => Some(rest.trim_start_matches('/').to_string()),
        _ => None,
    };
    Ok(Key { found: path.and_then(|path| found(folder, &path)), uri })
}

fn packages(node: &Node, folder: &Path) -> Result<Packages, Problem> {
    let name = |node: &Node| Ok(Name { name: attribute(node, "name")?, arch: architectures(node) });
    let module = |node: &Node| {
        let enabled = boolean(node, "enable").unwrap_or(false);
        Ok(Module { name: name(node)?, stream: text_of(node, "stream"), enabled })
    };
    let file = |node: &Node, target: &str| {
        let name = attribute(node, "name")?;
        Ok(File {
            found: found(folder, &name),
            name,
            target: optional(node, target),
            owner: optional(node, "owner"),
            permissions: optional(node, "permissions"),
            arch: architectures(node),
        })
    };
    let mut asides = Vec::new();
    collect(node, &[], &[], &mut asides);
    Ok(Packages {
        when: when(node),
        kind: attribute(node, "type")?,
        pattern_type: optional(node, "patternType"),
        packages: node.children("package").map(name).collect::<Result<_, Problem>>()?,
        collections: node.children("namedCollection").map(name).collect::<Result<_, Problem>>()?,
        products: node.children("product").map(name).collect::<Result<_, Problem>>()?,
        modules: node.children("collectionModule").map(module).collect::<Result<_, Problem>>()?,
        ignore: node.children("ignore").map(name).collect::<Result<_, Problem>>()?,
        archives: node.children("archive").map(|node| file(node, "target_dir")).collect::<Result<_, Problem>>()?,
        files: node.children("file").map(|node| file(node, "target")).collect::<Result<_, Problem>>()?,
        asides,
    })
}

fn containers(node: &Node) -> Result<Containers, Problem> {
    let container = |node: &Node| {
        Ok(Container {
            name: attribute(node, "name")?,
            tag: optional(node, "tag"),
            path: optional(node, "path"),
            fetch_only: boolean(node, "fetch_only").unwrap_or(false),
            arch: architectures(node),
        })
    };
    Ok(Containers {
        when: when(node),
        source: attribute(node, "source")?,
        backend: attribute(node, "backend")?,
        containers: node.children("container").map(container).collect::<Result<_, Problem>>()?,
    })
}

/// The file beside the description that `name` means, if there is one.
fn certificates(node: &Node, folder: &Path) -> Result<Certificates, Problem> {
    let file = |node: &Node| {
        let name = attribute(node, "name")?;
        let found = found(folder, &name);
        Ok((name, found))
    };
    Ok(Certificates {
        when: when(node),
        family: attribute(node, "target_distribution")?,
        files: node.children("certificate").map(file).collect::<Result<_, Problem>>()?,
    })
}

impl Description {
    /// Looks for the scripts that types name, again where the command line changed a type.
    pub fn find_boot_scripts(&mut self) {
        let types = self.preferences.iter().flat_map(|preferences| &preferences.types);
        let names = types.filter_map(|kind| kind.get("editbootconfig"));
        let folder = &self.beside.folder;
        let scripts = names.filter_map(|name| Some((name.to_string(), found(folder, name)?))).collect();
        self.beside.boot_scripts = scripts;
    }
}

/// The file of this name beside a description, or anywhere where the name is absolute.
fn found(folder: &Path, name: &str) -> Option<PathBuf> {
    match lookup::local(folder, name) {
        Local::Path(path) if crate::host::file::is_file(&path) => Some(path),
        _ => None,
    }
}

/// What the element as a whole is, where it is not honoured.
fn aside(node: &Node) -> Option<Aside> {
    let row = schema::find(&node.name)?;
    if row.status == Status::Honoured || is_off(node, row) {
        return None;
    }
    let what = match row.content {
        Content::Text(_) => format!("<{}>{}</{}>", row.name, shown(node.text.trim()), row.name),
        _ => format!("<{}>", row.name),
    };
    Some(Aside { status: row.status, what, span: node.name.span.clone(), arch: architectures(node) })
}

/// A boolean that says `false` asks for nothing.
fn is_off(node: &Node, row: &Element) -> bool {
    matches!(row.content, Content::Text(Value::Boolean)) && !truth(node.text.trim())
}

/// Everything inside `node` that is not honoured, except in children named in `skip`.
fn collect(node: &Node, skip: &[&str], arch: &[String], asides: &mut Vec<Aside>) {
    let Some(row) = schema::find(&node.name) else { return };
    for attribute in &node.attributes {
        let Some(known) = row.attribute(&attribute.name) else { continue };
        let off = known.value == Value::Boolean && !truth(&attribute.value);
        let image = node.attribute("image").map(|image| image.value.as_str()).unwrap_or_default();
        let elsewhere = !known.types.is_empty() && row.name == "type" && !known.types.contains(&image);
        let status = if elsewhere { Status::Ignored("it has no meaning for this image type") } else { known.status };
        if status == Status::Honoured || off {
            continue;
        }
        let value = if known.name == "luks" { "...".to_string() } else { shown(&attribute.value) };
        asides.push(Aside {
            status,
            what: format!("{}=\"{value}\" on <{}>", known.name, row.name),
            span: attribute.name.span.clone(),
            arch: arch.to_vec(),
        });
    }
    for child in node.children.iter().filter(|child| !skip.contains(&child.name.as_str())) {
        match aside(child) {
            Some(found) => asides.push(found),
            None => collect(child, skip, &architectures(child), asides),
        }
    }
}
