//! What the author wrote, with source positions.
//!
//! In: a folder or file with a KIWI XML description. Out: a [`Description`] or every problem at once.
//! Never fills in a default and never does I/O except loading the files of the description.

pub mod convert;
mod include;
mod lookup;
mod markup;
mod problem;
mod read;
mod rules;
pub mod schema;
mod source;
mod validate;
pub mod xml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include::Expanded;
pub use lookup::Beside;
pub use markup::Language;
pub use problem::{Colour, Kind, Problem, Problems, closest, shown};
pub use schema::{Status, Value};
pub use source::{Source, Span, Spanned};

/// What the author wrote.
#[derive(Clone, Debug)]
pub struct Description {
    /// The file that was read.
    pub source: Arc<Source>,
    /// The files that were included, in order.
    pub included: Vec<PathBuf>,
    /// What its older schema had and the newest has not, each as a sentence for a warning.
    pub dropped: Vec<Spanned<String>>,
    /// The start tag of `<image>`.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `displayname`.
    pub display_name: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `<description type>`: `system` or `boot`.
    pub kind: Spanned<String>,
    /// `<author>`.
    pub author: String,
    /// `<contact>`, the first.
    pub contact: String,
    /// `<specification>`.
    pub specification: String,
    /// `<profile>`, in order.
    pub profiles: Vec<Profile>,
    /// `<preferences>`, in order.
    pub preferences: Vec<Preferences>,
    /// `<users>`, in order.
    pub users: Vec<Users>,
    /// `<repository>`, in order.
    pub repositories: Vec<Repository>,
    /// `<packages>`, in order.
    pub packages: Vec<Packages>,
    /// `<certificates>`, in order.
    pub certificates: Vec<Certificates>,
    /// `<containers>`, in order.
    pub containers: Vec<Containers>,
    /// `<drivers>`, `<strip>`: sections of which nothing is honoured.
    pub others: Vec<Other>,
    /// ingot's own elements in `<extension>`.
    pub extensions: Vec<Extension>,
    /// Namespaces in `<extension>` that are not ours.
    pub foreign: Vec<Spanned<String>>,
    /// What lies beside the file.
    pub beside: Beside,
}

/// When a section counts.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// `profiles`: any of them must be selected; empty: always.
    pub profiles: Vec<Spanned<String>>,
    /// `arch`: one of them; empty: every one.
    pub arch: Vec<String>,
}

/// Something that is in the schema and not honoured, found while reading a section.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Refused or ignored, and why.
    pub status: Status,
    /// How a message names it: `<type installiso="true">`, `<systemdisk>`.
    pub what: String,
    /// Where.
    pub span: Span,
    /// It counts for these architectures; empty: every one.
    pub arch: Vec<String>,
}

/// `<profile>`.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `name`.
    pub name: Spanned<String>,
    /// `description`.
    pub description: String,
    /// `import`: selected where the user chooses nothing.
    pub import: bool,
    /// `arch`.
    pub arch: Vec<String>,
    /// `<requires>`: profiles that are selected with it, with their own `arch`.
    pub requires: Vec<(Spanned<String>, Vec<String>)>,
}

/// `<preferences>`.
#[derive(Clone, Debug)]
pub struct Preferences {
    /// When it counts.
    pub when: When,
    /// `<version>`.
    pub version: Option<Spanned<String>>,
    /// `<packagemanager>`.
    pub manager: Option<Spanned<String>>,
    /// `<locale>`.
    pub locale: Option<Spanned<String>>,
    /// `<keytable>`.
    pub keytable: Option<Spanned<String>>,
    /// `<timezone>`.
    pub timezone: Option<Spanned<String>>,
    /// `<release-version>`.
    pub release_version: Option<Spanned<String>>,
    /// `<rpm-check-signatures>`.
    pub check_signatures: Option<Spanned<String>>,
    /// `<rpm-excludedocs>`.
    pub exclude_documentation: Option<Spanned<String>>,
    /// `<rpm-locale-filtering>`.
    pub filter_languages: Option<Spanned<String>>,
    /// `<bootsplash-theme>`, for `.profile`.
    pub splash_theme: Option<String>,
    /// `<bootloader-theme>`, for `.profile`.
    pub loader_theme: Option<String>,
    /// `<showlicense>`, the first, for `.profile`.
    pub show_license: Option<String>,
    /// `<type>`, in order.
    pub types: Vec<Type>,
    /// What is not honoured.
    pub asides: Vec<Aside>,
}

/// `<type>`. Its attributes were checked against the schema; [`Type::get`] reads them.
#[derive(Clone, Debug)]
pub struct Type {
    /// The element.
    pub node: xml::Node,
    /// `image`.
    pub image: Spanned<String>,
    /// `primary`.
    pub primary: bool,
    /// What is not honoured.
    pub asides: Vec<Aside>,
}

impl Type {
    /// An attribute.
    pub fn get(&self, name: &str) -> Option<&Spanned<String>> {
        self.node.attribute(name).map(|attribute| &attribute.value)
    }

    /// An attribute as it counts: `1` is `true`, `0` is `false`.
    pub fn value(&self, name: &str) -> Option<String> {
        let boolean =
            schema::find("type").and_then(|row| row.attribute(name)).map(|row| row.value) == Some(Value::Boolean);
        let text = self.get(name)?;
        Some(if boolean { truth(text).to_string() } else { text.to_string() })
    }

    /// A boolean attribute.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| truth(value))
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Sets an attribute as if the author had written it: checked against the schema.
    pub fn set_attribute(&mut self, name: Spanned<String>, value: Spanned<String>) -> Result<(), Problem> {
        let node = &mut self.node;
        node.attributes.retain(|attribute| *attribute.name != *name);
        node.attributes.push(xml::Attribute { name, value });
        validate::canonical(node);
        let mut problems = Problems::new();
        validate::validate_attributes(node, &mut problems);
        if let Some(problem) = problems.iter().next() {
            return Err(problem.clone());
        }
        if let Some(image) = self.node.attribute("image") {
            self.image = image.value.clone();
        }
        self.asides = read::asides_of(&self.node);
        Ok(())
    }

    /// A child element.
    pub fn child<'a>(&'a self, name: &'a str) -> Option<&'a xml::Node> {
        self.node.children(name).next()
    }

    /// The text of a child of `<oemconfig>`.
    pub fn oem(&self, name: &str) -> Option<Spanned<String>> {
        Some(self.child("oemconfig")?.children(name).next()?.trimmed())
    }
}

/// `<users>`.
#[derive(Clone, Debug)]
pub struct Users {
    /// When it counts.
    pub when: When,
    /// `<user>`, in order.
    pub users: Vec<User>,
}

/// `<user>`.
#[derive(Clone, Debug)]
pub struct User {
    /// `name`.
    pub name: Spanned<String>,
    /// `password`; never printed.
    pub password: Secret,
    /// Where `password` stands.
    pub password_span: Span,
    /// `pwdformat="plain"`.
    pub plain: bool,
    /// `groups`: names and demanded ids.
    pub groups: Vec<(String, Option<u32>)>,
    /// `home`.
    pub home: Option<Spanned<String>>,
    /// `shell`.
    pub shell: Option<Spanned<String>>,
    /// `realname`.
    pub real_name: Option<Spanned<String>>,
    /// `id`.
    pub id: Option<Spanned<String>>,
}

/// A text that never reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `<repository>`.
#[derive(Clone, Debug)]
pub struct Repository {
    /// When it counts.
    pub when: When,
    /// Its start tag.
    pub span: Span,
    /// `type`.
    pub kind: Option<Spanned<String>>,
    /// `alias`.
    pub alias: Option<Spanned<String>>,
    /// `<source path>`.
    pub path: Spanned<String>,
    /// `<signing key>`, in order.
    pub keys: Vec<Key>,
    /// `distribution`.
    pub distribution: Option<Spanned<String>>,
    /// `components`, divided by blanks.
    pub components: Vec<String>,
    /// `architectures`.
    pub architectures: Vec<String>,
    /// `priority`.
    pub priority: Option<Spanned<String>>,
    /// `imageinclude`.
    pub image_include: bool,
    /// `imageonly`.
    pub image_only: bool,
    /// `repository_gpgcheck`.
    pub repository_gpgcheck: Option<bool>,
    /// `package_gpgcheck`.
    pub package_gpgcheck: Option<bool>,
    /// `sourcetype`.
    pub source_type: Option<Spanned<String>>,
    /// `username`.
    pub username: Option<String>,
    /// `password`; never printed.
    pub password: Option<Secret>,
    /// `customize`: as written, and the file where it was found.
    pub customize: Option<(Spanned<String>, Option<PathBuf>)>,
    /// What is not honoured.
    pub asides: Vec<Aside>,
}

impl Repository {
    /// Whether packages of the image come from it; with `imageonly` they do not.
    pub fn when_building(&self) -> bool {
        !self.image_only
    }
}

/// `<signing key>`.
#[derive(Clone, Debug)]
pub struct Key {
    /// As written.
    pub uri: Spanned<String>,
    /// Where `file:` and `this:` lead, absolute, where there is a file.
    pub found: Option<PathBuf>,
}

/// `<packages>`.
#[derive(Clone, Debug)]
pub struct Packages {
    /// When it counts.
    pub when: When,
    /// `type`.
    pub kind: Spanned<String>,
    /// `patternType`.
    pub pattern_type: Option<Spanned<String>>,
    /// `<package>`, in order.
    pub packages: Vec<Name>,
    /// `<namedCollection>`, in order.
    pub collections: Vec<Name>,
    /// `<product>`, in order.
    pub products: Vec<Name>,
    /// `<collectionModule>`, in order.
    pub modules: Vec<Module>,
    /// `<ignore>`, in order.
    pub ignore: Vec<Name>,
    /// `<archive>`, in order.
    pub archives: Vec<File>,
    /// `<file>`, in order.
    pub files: Vec<File>,
    /// What is not honoured.
    pub asides: Vec<Aside>,
}

/// A `<package>` or `<ignore>`.
#[derive(Clone, Debug)]
pub struct Name {
    /// `name`.
    pub name: Spanned<String>,
    /// `arch`; empty: every one.
    pub arch: Vec<String>,
}

/// A `<collectionModule>`.
#[derive(Clone, Debug)]
pub struct Module {
    /// `name` and `arch`.
    pub name: Name,
    /// `stream`.
    pub stream: Option<String>,
    /// `enable`.
    pub enabled: bool,
}

/// An `<archive>` or `<file>`.
#[derive(Clone, Debug)]
pub struct File {
    /// `name`.
    pub name: Spanned<String>,
    /// The file beside the description, absolute, where there is one.
    pub found: Option<PathBuf>,
    /// `target` or `target_dir`.
    pub target: Option<Spanned<String>>,
    /// `owner`.
    pub owner: Option<Spanned<String>>,
    /// `permissions`.
    pub permissions: Option<Spanned<String>>,
    /// `arch`; empty: every one.
    pub arch: Vec<String>,
}

/// `<certificates>`.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// When it counts.
    pub when: When,
    /// `target_distribution`: whose way of installing them.
    pub family: Spanned<String>,
    /// `<certificate name>`, and the file where there is one.
    pub files: Vec<(Spanned<String>, Option<PathBuf>)>,
}

/// `<containers>`: images of containers that the system holds.
#[derive(Clone, Debug)]
pub struct Containers {
    /// When it counts.
    pub when: When,
    /// `source`: a registry, or where archives and layouts are.
    pub source: Spanned<String>,
    /// `backend`: `podman`, `docker`, `container-snap`.
    pub backend: Spanned<String>,
    /// `<container>`, in order.
    pub containers: Vec<Container>,
}

/// `<container>`.
#[derive(Clone, Debug)]
pub struct Container {
    /// `name`.
    pub name: Spanned<String>,
    /// `tag`.
    pub tag: Option<Spanned<String>>,
    /// `path`: what stands between the source and the name.
    pub path: Option<Spanned<String>>,
    /// `fetch_only`: it is not loaded when the system starts.
    pub fetch_only: bool,
    /// `arch`; empty: every one.
    pub arch: Vec<String>,
}

/// A section of which nothing is honoured.
#[derive(Clone, Debug)]
pub struct Other {
    /// The element.
    pub node: xml::Node,
    /// When it counts.
    pub when: When,
    /// Why not.
    pub asides: Vec<Aside>,
}

/// One of ingot's own elements.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name without the prefix.
    pub name: String,
    /// When it counts.
    pub when: When,
    /// Its attributes by name.
    pub attributes: BTreeMap<String, Spanned<String>>,
    /// Its start tag.
    pub span: Span,
}

/// Loads a description from a folder or a file.
pub fn load(path: &Path) -> Result<Description, Problems> {
    let (file, source) = lookup::read(path)?;
    let folder = lookup::folder_of(&file);
    let Expanded { mut image, included, dropped } = include::expand(&source, &folder)?;
    let mut problems = Problems::new();
    validate::canonical(&mut image);
    validate::validate(&image, &mut problems);
    rules::check(&image, &mut problems);
    problems.or(())?;
    let description = read::description(&image, &source, &folder)?;
    Ok(Description { included, dropped, ..description })
}

/// The description's text as it is understood, in any of the languages: included files in their places, in the words of
/// the newest schema. In other languages than XML, elements of one name stand together.
pub fn converted(path: &Path, language: Language) -> Result<String, Problems> {
    let (file, source) = lookup::read(path)?;
    let image = include::expand(&source, &lookup::folder_of(&file))?.image;
    Ok(markup::text(&image, language))
}

/// XSD's booleans: `true` and `1` are true. The schema was checked before.
pub(crate) fn truth(text: &str) -> bool {
    matches!(text, "true" | "1")
}
