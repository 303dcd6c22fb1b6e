//! What a description says for one choice, merged by KIWI's rules, before anything of it is refused.
//!
//! In: a [`Description`] and [`Choices`]. Out: a [`Resolved`], printable as JSON. Never judges whether it can be built.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Choices;
use super::request::{self, Lists};
use super::rootfs;
use super::selection::Selection;
use super::variables;
use crate::description::{Description, Problems};

/// The description for one choice of profiles, architecture and image type. Passwords are not in it.
#[derive(Clone, Debug, Serialize)]
pub struct Resolved {
    /// `<image name>`.
    pub name: String,
    /// `<version>`, the first.
    pub version: Option<String>,
    /// Selected profiles, each followed by what it requires.
    pub profiles: Vec<String>,
    /// `<type image>`.
    pub image_type: String,
    /// Attributes of the `<type>`, booleans as `true` and `false`.
    pub attributes: BTreeMap<String, String>,
    /// `<packagemanager>`, the first; `dnf4` where there is none.
    pub manager: String,
    /// Names of packages.
    #[serde(flatten)]
    pub packages: Lists,
    /// `<repository>`, in order.
    pub repositories: Vec<Repository>,
    /// `<user>`, merged by name.
    pub users: Vec<User>,
    /// The variables of `/.profile`.
    pub variables: BTreeMap<String, String>,
}

/// `<repository>` as it was written.
#[derive(Clone, Debug, Serialize)]
pub struct Repository {
    /// `<source path>`.
    pub path: String,
    /// `type`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `alias`.
    pub alias: Option<String>,
    /// `priority`.
    pub priority: Option<i64>,
    /// `imageinclude`.
    pub imageinclude: bool,
    /// `imageonly`.
    pub imageonly: bool,
    /// `distribution`.
    pub distribution: Option<String>,
    /// `components`, divided by blanks.
    pub components: Vec<String>,
    /// `<signing key>`, in order.
    pub keys: Vec<String>,
}

/// `<user>` without its password.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// `name`.
    pub name: String,
    /// `groups` of every section that names the user, `name` or `name:id`.
    pub groups: Vec<String>,
    /// `home`.
    pub home: Option<String>,
    /// `shell`.
    pub shell: Option<String>,
    /// `realname`.
    pub realname: Option<String>,
    /// `id`.
    pub id: Option<u32>,
}

/// Merges what counts. The only errors are those of the selection itself: no such profile, no such type.
pub fn resolve(description: &Description, choices: &Choices) -> Result<Resolved, Problems> {
    let selection = Selection::new(description, choices)?;
    let kind = selection.image_type(description, choices.image_type.as_deref())?;
    let manager = request::wanted_manager(description, &selection);
    // What is wrong with a user is for the plan to say.
    let users = rootfs::users(&selection, &mut Problems::new()).into_iter().map(|user| User {
        name: user.name,
        groups: user
            .groups
            .into_iter()
            .map(|group| match group.gid {
                Some(gid) => format!("{}:{gid}", group.name),
                None => group.name,
            })
            .collect(),
        home: user.home,
        shell: user.shell,
        realname: user.real_name,
        id: user.uid,
    });
    let repositories = selection.repositories.iter().map(|written| Repository {
        path: written.path.to_string(),
        kind: written.kind.as_ref().map(|kind| kind.to_string()),
        alias: written.alias.as_ref().map(|alias| alias.to_string()),
        priority: written.priority.as_ref().and_then(|priority| priority.parse().ok()),
        imageinclude: written.image_include,
        imageonly: written.image_only,
        distribution: written.distribution.as_ref().map(|suite| suite.to_string()),
        components: written.components.clone(),
        keys: written.keys.iter().map(|key| key.uri.to_string()).collect(),
    });
    let attributes = kind.node.attributes.iter().filter_map(|attribute| {
        let name = attribute.name.value.clone();
        // A passphrase is nobody's business.
        (name != "luks").then(|| kind.value(&name).map(|value| (name.clone(), value)))?
    });
    Ok(Resolved {
        name: description.name.to_string(),
        version: selection.preferences.iter().find_map(|part| part.version.as_ref()).map(|text| text.value.clone()),
        image_type: kind.image.to_string(),
        attributes: attributes.collect(),
        packages: request::lists(&selection, kind, &manager),
        manager: manager.value,
        repositories: repositories.collect(),
        users: users.collect(),
        variables: variables::variables(description, &selection, kind),
        profiles: selection.profiles,
    })
}
