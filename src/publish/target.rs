//! Where to publish: `--to aws:eu-central-1/images`.
//!
//! In: text. Out: a [`Target`] whose parts are safe as arguments of a program. Never holds a credential.

use std::fmt;
use std::str::FromStr;

/// A place in a cloud, or a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `aws:REGION` or `aws:REGION/BUCKET`.
    Aws {
        /// The region.
        region: String,
        /// The bucket that an upload through S3 takes.
        bucket: Option<String>,
    },
    /// `azure:ACCOUNT/CONTAINER`.
    Azure {
        /// The storage account.
        account: String,
        /// The container in it.
        container: String,
    },
    /// `gce:PROJECT/BUCKET`.
    Gce {
        /// The project.
        project: String,
        /// The bucket of Cloud Storage.
        bucket: String,
    },
    /// `openstack:CLOUD`.
    Openstack {
        /// A cloud's name in clouds.yaml.
        cloud: String,
    },
    /// `registry:HOST/NAME:TAG`.
    Registry {
        /// The reference.
        reference: String,
    },
}

impl Target {
    /// The cloud's name in the catalog.
    pub fn cloud(&self) -> &'static str {
        match self {
            Target::Aws { .. } => "aws",
            Target::Azure { .. } => "azure",
            Target::Gce { .. } => "gce",
            Target::Openstack { .. } => "openstack",
            Target::Registry { .. } => "registry",
        }
    }

    /// What is the same for the same image: as it is written, without the bucket that an upload to EC2 passes through.
    pub fn place(&self) -> String {
        match self {
            Target::Aws { region, .. } => format!("aws:{region}"),
            _ => self.to_string(),
        }
    }

    /// The region, or what stands for it in the catalog.
    pub fn region(&self) -> String {
        match self {
            Target::Aws { region, .. } => region.clone(),
            Target::Azure { account, container } => format!("{account}/{container}"),
            Target::Gce { project, .. } => project.clone(),
            Target::Openstack { cloud } => cloud.clone(),
            Target::Registry { reference } => repository(reference).to_string(),
        }
    }
}

/// A reference without its tag.
fn repository(reference: &str) -> &str {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Aws { region, bucket: Some(bucket) } => write!(f, "aws:{region}/{bucket}"),
            Target::Aws { region, bucket: None } => write!(f, "aws:{region}"),
            Target::Azure { account, container } => write!(f, "azure:{account}/{container}"),
            Target::Gce { project, bucket } => write!(f, "gce:{project}/{bucket}"),
            Target::Openstack { cloud } => write!(f, "openstack:{cloud}"),
            Target::Registry { reference } => write!(f, "registry:{reference}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        const FORMS: &str = "aws:REGION/BUCKET, azure:ACCOUNT/CONTAINER, gce:PROJECT/BUCKET, openstack:CLOUD or \
            registry:HOST/NAME:TAG is needed";
        let (cloud, place) = text.split_once(':').ok_or(FORMS)?;
        let two = || place.split_once('/').ok_or(FORMS);
        let word = |text: &str, what: &str, more: &str| {
            let good = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || more.contains(char);
            let begins = text.starts_with(|char: char| char.is_ascii_alphanumeric());
            if begins && text.len() <= 255 && text.chars().all(good) {
                return Ok(text.to_string());
            }
            Err(format!("`{text}` is not the name of {what}"))
        };
        match cloud {
            "aws" => {
                let (region, bucket) = place.split_once('/').map_or((place, None), |(one, two)| (one, Some(two)));
                Ok(Target::Aws {
                    region: word(region, "a region", "-")?,
                    bucket: bucket.map(|bucket| word(bucket, "a bucket", "-.")).transpose()?,
                })
            }
            "azure" => {
                let (account, container) = two()?;
                let (account, container) =
                    (word(account, "a storage account", "")?, word(container, "a container", "-")?);
                Ok(Target::Azure { account, container })
            }
            "gce" => {
                let (project, bucket) = two()?;
                Ok(Target::Gce {
                    project: word(project, "a project", "-:.")?,
                    bucket: word(bucket, "a bucket", "-._")?,
                })
            }
            "openstack" => {
                let upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._";
                Ok(Target::Openstack { cloud: word(place, "a cloud", upper)? })
            }
            "registry" => {
                if place.contains('@') {
                    return Err("a tag is needed, not a digest; and a password has no place on a command line".into());
                }
                let upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._/:";
                let reference = word(place.trim_start_matches("docker://"), "an image in a registry", upper)?;
                if !reference.contains('/') {
                    return Err(format!("`{reference}` names no registry: registry:HOST/NAME:TAG"));
                }
                let tag = if repository(&reference) == reference { ":latest" } else { "" };
                Ok(Target::Registry { reference: format!("{reference}{tag}") })
            }
            _ => Err(FORMS.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_the_same() {
        let table = [
            ("aws:eu-central-1", "eu-central-1"),
            ("aws:eu-central-1/my.images", "eu-central-1"),
            ("azure:account1/images", "account1/images"),
            ("gce:my-project/images_1", "my-project"),
            ("openstack:Cloud_1", "Cloud_1"),
            ("registry:127.0.0.1:5000/team/app:1.0", "127.0.0.1:5000/team/app"),
        ];
        for (text, region) in table {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.region().as_str()), (text, region));
            assert!(text.starts_with(target.cloud()));
        }
        // A snapshot lies in a region, through whichever bucket it came.
        let aws: Vec<Target> = ["aws:r", "aws:r/one", "aws:r/two"].map(|text| text.parse().unwrap()).into();
        assert!(aws.iter().all(|target| target.place() == "aws:r"));
        let target: Target = "registry:localhost:5000/app".parse().unwrap();
        assert_eq!(target.place(), "registry:localhost:5000/app:latest");
        assert_eq!(target.to_string(), "registry:localhost:5000/app:latest");
    }

    #[test]
    fn what_could_be_an_option_or_a_password_is_refused() {
        for text in [
            "aws",
            "aws:--profile/x",
            "aws:EU/x",
            "azure:acc-ount/c",
            "azure:account",
            "gce:p",
            "gce:p/-b",
            "openstack:",
            "openstack:a b",
            "registry:user:secret@host/app:1",
            "registry:-host/app",
            "registry:app:1",
            "ibm:x/y",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
