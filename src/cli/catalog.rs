//! `ingot catalog` and `ingot id`: what was published where, and which of it is current.
//!
//! In: the arguments, for `ingot id --query` Terraform's question on standard input. Out: a listing, a record, an id alone, or files of JSON. Never asks a cloud.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::say::print_line;
use crate::catalog::{self, Catalog, Filter, Record, State, export};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;

/// Where the catalog is.
#[derive(Clone, Debug, Args)]
pub struct CatalogFile {
    /// The catalog; default: ingot/catalog.sqlite in $XDG_STATE_HOME, else in ~/.local/state
    #[arg(long, value_name = "FILE", env = "INGOT_CATALOG")]
    pub catalog: Option<PathBuf>,
    /// For the catalog.
    #[arg(long, env = "XDG_STATE_HOME", hide = true)]
    pub state_home: Option<PathBuf>,
    /// For ~/.local/state.
    #[arg(long, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
}

impl CatalogFile {
    /// The file that was meant.
    pub fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.catalog {
            return file::absolute(path);
        }
        let home = self.home.clone().unwrap_or_else(|| "/".into());
        // A relative path there is to be ignored (XDG base directory specification).
        let state = self.state_home.clone().filter(|path| path.is_absolute());
        Ok(state.unwrap_or_else(|| home.join(".local/state")).join("ingot/catalog.sqlite"))
    }
}

/// Which publications are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Meant {
    /// Only in this cloud
    #[arg(long, value_enum)]
    pub cloud: Option<CloudName>,
    /// Only in this region
    #[arg(long)]
    pub region: Option<String>,
    /// Only of this architecture
    #[arg(long)]
    pub arch: Option<String>,
    /// Only of this version of the image
    #[arg(long = "version", value_name = "VERSION")]
    pub version: Option<String>,
}

/// A cloud's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CloudName {
    /// Amazon EC2
    Aws,
    /// Microsoft Azure
    Azure,
    /// Google Compute Engine
    Gce,
    /// OpenStack
    Openstack,
    /// A container registry
    Registry,
}

impl CloudName {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }
}

/// `--state`, `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    /// Published, and no more known of it
    Candidate,
    /// Somebody saw it work
    Tested,
    /// What `ingot id` answers
    Current,
    /// Not to be used any more
    Deprecated,
}

impl StateName {
    fn state(self) -> State {
        match self {
            StateName::Candidate => State::Candidate,
            StateName::Tested => State::Tested,
            StateName::Current => State::Current,
            StateName::Deprecated => State::Deprecated,
        }
    }
}

impl Meant {
    fn filter(&self, name: Option<&str>, id: Option<&str>) -> Filter {
        Filter {
            name: name.map(Into::into),
            id: id.map(Into::into),
            arch: self.arch.clone(),
            cloud: self.cloud.map(CloudName::name),
            region: self.region.clone(),
            version: self.version.clone(),
            state: None,
        }
    }
}

/// `ingot catalog`.
#[derive(Debug, Args)]
pub struct CatalogArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: CatalogCommand,
}

/// What can be done with the catalog. A publication is named by its id in the cloud, by its number in the catalog, or
/// by the first 8 digits or more of its artifact's SHA-256.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// List publications, oldest first
    List {
        /// The image's name; all where it is missing
        name: Option<String>,
        /// Which ones.
        #[command(flatten)]
        meant: Meant,
        /// Only in this state
        #[arg(long, value_enum)]
        state: Option<StateName>,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
        /// Where it is.
        #[command(flatten)]
        catalog: CatalogFile,
    },
    /// Print everything that is known of one publication as JSON
    Show {
        /// An id, a number, or the beginning of an artifact's SHA-256
        id: String,
        /// Which one.
        #[command(flatten)]
        meant: Meant,
        /// Where it is.
        #[command(flatten)]
        catalog: CatalogFile,
    },
    /// Make a candidate tested, and what is tested current; what was current is deprecated and replaced by it
    Promote {
        /// An id, a number, or the beginning of an artifact's SHA-256
        id: String,
        /// Which one.
        #[command(flatten)]
        meant: Meant,
        /// This state instead of the next one
        #[arg(long, value_enum)]
        to: Option<StateName>,
        /// Where it is.
        #[command(flatten)]
        catalog: CatalogFile,
    },
    /// Say that a publication is not to be used any more; the cloud keeps it
    Deprecate {
        /// An id, a number, or the beginning of an artifact's SHA-256
        id: String,
        /// Which ones.
        #[command(flatten)]
        meant: Meant,
        /// The id of what replaces it
        #[arg(long, value_name = "ID")]
        replaced_by: Option<String>,
        /// Where it is.
        #[command(flatten)]
        catalog: CatalogFile,
    },
    /// Write a JSON file for each image into a folder, or print one
    Export {
        /// The folder; what it holds under the same names is replaced
        #[arg(required_unless_present = "image")]
        folder: Option<PathBuf>,
        /// Print this image's file instead
        #[arg(long, value_name = "NAME", conflicts_with = "folder")]
        image: Option<String>,
        /// Where it is.
        #[command(flatten)]
        catalog: CatalogFile,
    },
}

/// `ingot id`.
#[derive(Debug, Args)]
pub struct IdArguments {
    /// The image's name
    #[arg(required_unless_present = "query")]
    pub name: Option<String>,
    /// Which one.
    #[command(flatten)]
    pub meant: Meant,
    /// Print {"id": ...} and what it is the id of instead, as Terraform's external data source wants it
    #[arg(long)]
    pub json: bool,
    /// Read {"name": ..., "cloud": ...} from standard input, as Terraform's external data source writes it; implies --json
    #[arg(long)]
    pub query: bool,
    /// Where it is.
    #[command(flatten)]
    pub catalog: CatalogFile,
}

/// Carries it out.
pub fn run(arguments: CatalogArguments) -> Result<u8> {
    match arguments.command {
        CatalogCommand::List { name, meant, state, json, catalog } => {
            let mut filter = meant.filter(name.as_deref(), None);
            filter.state = state.map(StateName::state);
            list(&Catalog::open(&catalog.path()?)?.list(&filter)?, json)
        }
        CatalogCommand::Show { id, meant, catalog } => {
            let records = Catalog::open(&catalog.path()?)?.list(&meant.filter(None, Some(&id)))?;
            print_line(format_args!("{:#}", json!(catalog::only(records, &format!("show {id}"))?)))?;
            Ok(0)
        }
        CatalogCommand::Promote { id, meant, to, catalog } => {
            let filter = meant.filter(None, Some(&id));
            said(&Catalog::open(&catalog.path()?)?.promote(&filter, to.map(StateName::state))?)
        }
        CatalogCommand::Deprecate { id, meant, replaced_by, catalog } => {
            let filter = meant.filter(None, Some(&id));
            let records = Catalog::open(&catalog.path()?)?.deprecate(&filter, replaced_by.as_deref())?;
            records.iter().try_fold(0, |_, record| said(record))
        }
        CatalogCommand::Export { folder, image, catalog } => {
            let images = export::images(&Catalog::open(&catalog.path()?)?.list(&Filter::default())?);
            match (folder, image) {
                (Some(folder), _) => {
                    file::create_folders(&folder)?;
                    for (name, value) in images {
                        write(&folder, &name, &format!("{value:#}\n"))?;
                    }
                }
                (None, image) => {
                    let image = image.unwrap_or_default();
                    let value = images.get(&image).ok_or_else(|| none(&format!("export {image}")))?;
                    print_line(format_args!("{value:#}"))?;
                }
            }
            Ok(0)
        }
    }
}

/// Prints the current id alone, or with what it is the id of; 66 where there is none.
pub fn id(arguments: &IdArguments) -> Result<u8> {
    let mut filter = arguments.meant.filter(arguments.name.as_deref(), None);
    if arguments.query {
        ask(&mut filter)?;
    }
    filter.state = Some(State::Current);
    let what = format!("tell the id of {}", filter.name.as_deref().unwrap_or_default());
    let records = Catalog::open(&arguments.catalog.path()?)?.list(&filter)?;
    if records.is_empty() {
        return Err(Error::cannot(Exit::InputMissing, what)
            .because("no publication of it is current there")
            .hint("`ingot catalog list` shows what there is, `ingot catalog promote` makes it current"));
    }
    let record = catalog::only(records, &what)?;
    if !arguments.json && !arguments.query {
        print_line(record.publication.id)?;
        return Ok(0);
    }
    // Terraform takes texts only.
    let publication = record.publication;
    print_line(json!({
        "id": publication.id,
        "name": publication.name,
        "version": publication.version,
        "arch": publication.arch,
        "cloud": publication.cloud,
        "region": publication.region,
        "sha256": publication.digest,
        "published": export::rfc_3339(publication.published),
    }))?;
    Ok(0)
}

/// How long a question may be.
const QUESTION: u64 = 64 << 10;

/// Takes what standard input asks for: an object of texts, of which an empty one says nothing. 64 where it asks for
/// something else, or for what the command line says already.
fn ask(filter: &mut Filter) -> Result<()> {
    let wrong = |why: String| Error::cannot(Exit::Usage, "use the query on standard input").because(why);
    let mut text = String::new();
    std::io::stdin().lock().take(QUESTION).read_to_string(&mut text).or_cannot(|| "read standard input")?;
    let query: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        wrong(error.to_string()).hint("a JSON object is needed: {\"name\": \"web\", \"cloud\": \"aws\"}")
    })?;
    for (key, value) in query {
        let value = value.as_str().ok_or_else(|| wrong(format!("`{key}` is no text")))?;
        let part = match key.as_str() {
            "name" => &mut filter.name,
            "cloud" => &mut filter.cloud,
            "region" => &mut filter.region,
            "arch" => &mut filter.arch,
            "version" => &mut filter.version,
            _ => {
                let error = wrong(format!("it has an unknown `{key}`"));
                return Err(error.hint("known are name, cloud, region, arch and version"));
            }
        };
        if value.is_empty() {
            continue;
        }
        if part.is_some() {
            return Err(wrong(format!("the command line says the {key}, too")).hint("say it once"));
        }
        if key == "cloud" {
            CloudName::from_str(value, false)
                .map_err(|why| wrong(why).hint("clouds are aws, azure, gce, openstack and registry"))?;
        }
        *part = Some(value.into());
    }
    if filter.name.is_none() {
        return Err(wrong("it says no name".into()));
    }
    Ok(())
}

fn none(what: &str) -> Error {
    Error::cannot(Exit::InputMissing, what).because("the catalog has no such publication")
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    if name.contains('/') || name.starts_with('.') {
        return Err(Error::cannot(Exit::Bug, format!("write a file for {name}")).because("it is no file's name"));
    }
    let path = folder.join(format!("{name}.json"));
    file::write_atomically(&path, text.as_bytes())?;
    print_line(path.display())?;
    Ok(())
}

fn said(record: &Record) -> Result<u8> {
    print_line(format_args!("{} {}", record.publication.id, record.state))?;
    Ok(0)
}

fn list(records: &[Record], as_json: bool) -> Result<u8> {
    if as_json {
        print_line(format_args!("{:#}", json!(records)))?;
        return Ok(0);
    }
    for record in records {
        let publication = &record.publication;
        let replaced = record.replaced_by.as_ref().map(|by| format!("  replaced by {by}")).unwrap_or_default();
        print_line(format_args!(
            "{:>4}  {:10}  {}  {} {} {}  {} {}  {}{replaced}",
            record.number,
            record.state,
            export::rfc_3339(publication.published),
            publication.name,
            publication.version,
            publication.arch,
            publication.cloud,
            publication.region,
            publication.id
        ))?;
    }
    Ok(0)
}
