//! `kiwi image info`: what a description says, as JSON on stdout.
//!
//! In: a description. Out: JSON, or the description itself in XML, YAML or TOML. Touches nothing; only `--resolve-package-list` asks the
//! repositories.

use serde_json::{Map, Value, json};

use super::arguments::{Common, InfoArguments};
use super::frame::Frame;
use super::request::Request;
use crate::description::{self, Language};
use crate::error::{Error, Exit, Result};

/// Prints.
pub fn run(arguments: &InfoArguments, frame: &mut Frame<'_>) -> Result<u8> {
    if arguments.resolve_package_list {
        let why = "packages are resolved only when they are installed";
        let error = Error::cannot(Exit::Usage, "use --resolve-package-list").because(why);
        return Err(error.hint("a build's manifest.json and .packages list them"));
    }
    let printed = [
        (arguments.print_xml, Language::Xml),
        (arguments.print_yaml, Language::Yaml),
        (arguments.print_toml, Language::Toml),
    ];
    if let Some((_, language)) = printed.into_iter().find(|(asked, _)| *asked) {
        let path = super::request::description_path(frame.globals, &arguments.description)?;
        let text = description::converted(&path, language).map_err(|problems| problems.into_error(frame.colour))?;
        print!("{text}");
        return Ok(0);
    }
    let common = Common {
        description: arguments.description.clone(),
        ignore_repos: arguments.ignore_repos,
        add_repo: arguments.add_repo.clone(),
        add_repo_credentials: arguments.add_repo_credentials.clone(),
        ..Common::default()
    };
    let mut warnings = Vec::new();
    let request = Request::new(frame.globals, &common, &frame.settings, &mut warnings)?;
    let description = request.describe(frame.colour)?;
    let mut info = Map::new();
    info.insert("image".into(), json!(description.name.to_string()));
    if arguments.list_profiles {
        let names: Vec<&str> = description.profiles.iter().map(|profile| profile.name.as_str()).collect();
        info.insert("profile_names".into(), json!(names));
    }
    if arguments.print_kiwi_env {
        info.insert("kiwi_env".into(), json!(request.plan(frame.colour)?.plan.root.variables));
    }
    let text = serde_json::to_string_pretty(&Value::Object(info));
    println!("{}", text.map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))?);
    Ok(0)
}
