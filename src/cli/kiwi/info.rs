//! `kiwi image info`: what a description says, as JSON on stdout.
//!
//! In: a description. Out: JSON, or XML with `--print-xml`. Touches nothing; only `--resolve-package-list` asks the
//! repositories.

use serde_json::{Map, Value, json};

use super::arguments::{Common, InfoArguments};
use super::frame::Frame;
use super::request::Request;
use crate::error::{Error, Exit, Result};

/// Prints.
pub fn run(arguments: &InfoArguments, frame: &mut Frame<'_>) -> Result<u8> {
    let refused = |option: &str, why: &str, hint: &str| {
        Err(Error::cannot(Exit::Usage, format!("use {option}")).because(why).hint(hint))
    };
    for (option, asked) in [("--print-yaml", arguments.print_yaml), ("--print-toml", arguments.print_toml)] {
        if asked {
            return refused(option, "descriptions are printed as XML only", "--print-xml");
        }
    }
    if arguments.resolve_package_list {
        let why = "packages are resolved only when they are installed";
        return refused("--resolve-package-list", why, "a build's manifest.json and .packages list them");
    }
    if arguments.print_xml {
        let path = super::request::description_path(frame.globals, &arguments.description)?;
        let text = crate::description::converted(&path).map_err(|problems| problems.into_error(frame.colour))?;
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
