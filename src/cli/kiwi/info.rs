//! `kiwi image info`: what a description says, as JSON on stdout.
//!
//! In: a description. Out: JSON, or the description itself in XML, YAML or TOML. Touches nothing; only
//! `--resolve-package-list` asks the repositories, and keeps the packages in the cache for the build that follows.

use serde_json::{Map, Value, json};

use super::arguments::{Common, InfoArguments};
use super::frame::Frame;
use super::request::Request;
use crate::cache::PackageStore;
use crate::cli::say::{print, print_line};
use crate::description::{self, Language};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::package::{self, Beneath, Unpacker};
use crate::report::Reporter;

/// Prints.
pub fn run(arguments: &InfoArguments, frame: &mut Frame<'_>) -> Result<u8> {
    let printed = [
        (arguments.print_xml, Language::Xml),
        (arguments.print_yaml, Language::Yaml),
        (arguments.print_toml, Language::Toml),
    ];
    if let Some((_, language)) = printed.into_iter().find(|(asked, _)| *asked) {
        let path = super::request::description_path(frame.globals, &arguments.description)?;
        let text = description::converted(&path, language).map_err(|problems| problems.into_error(frame.colour))?;
        print(&text)?;
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
    if arguments.resolve_package_list {
        info.insert("resolved-packages".into(), resolved(&request, frame)?);
    }
    let text = serde_json::to_string_pretty(&Value::Object(info));
    print_line(text.map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))?)?;
    Ok(0)
}

/// Every package that a build would install now, by the resolver of the build itself.
fn resolved(request: &Request, frame: &Frame<'_>) -> Result<Value> {
    let plan = request.plan(frame.colour)?.plan;
    let store = PackageStore::open(&frame.cache_dir()?)?;
    let scratch = tempfile::tempdir_in(frame.work_dir()?).or_cannot(|| "make a folder for scratch".to_string())?;
    let mut manager =
        package::open(&plan, &frame.mirrors()?, &store, Unpacker::default(), scratch.path(), Beneath::Nothing)?;
    let set = manager.resolve(&Reporter::silent())?;
    let mut packages = Map::new();
    for package in &set.packages {
        let repository = plan.repositories.iter().find(|repository| repository.alias == package.repository);
        let status = if package.requested { "listed_in_kiwi_description" } else { "added_by_dependency_solver" };
        let about = json!({
            "source": repository.map_or(package.repository.as_str(), |repository| repository.source.as_str()),
            "installsize_bytes": package.installed_size.0,
            "packagesize_bytes": package.size.0,
            "arch": package.arch,
            "version": package.version,
            "sha256": package.sha256,
            "status": status,
        });
        // The same package of another architecture has a name of its own.
        let name = match packages.contains_key(&package.name) {
            true => format!("{}:{}", package.name, package.arch),
            false => package.name.clone(),
        };
        packages.insert(name, about);
    }
    Ok(Value::Object(packages))
}
