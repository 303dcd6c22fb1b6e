//! The catalog as JSON, one file for each image, in the shape of CoreOS's stream metadata: `architectures`, `images`,
//! a cloud, its regions, and there the id.
//!
//! In: records. Out: a JSON value, the same for the same records. Never says when it was made.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Record, State};

/// Version of the files' form.
const SCHEMA: u32 = 1;

/// A file for each image name: what is current, then every publication.
pub fn images(records: &[Record]) -> BTreeMap<String, Value> {
    let mut by_name: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_name.entry(record.publication.name.clone()).or_default().push(record);
    }
    by_name.into_iter().map(|(name, records)| (name.clone(), image(&name, &records))).collect()
}

fn image(name: &str, records: &[&Record]) -> Value {
    let newest = records.iter().map(|record| record.publication.published).max().unwrap_or_default();
    let mut architectures: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, Value>>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.state == State::Current) {
        let place = &record.publication;
        let regions = architectures.entry(&place.arch).or_default().entry(&place.cloud).or_default();
        regions.insert(
            &place.region,
            json!({"release": place.version, "image": place.id, "artifact": place.artifact, "sha256": place.digest}),
        );
    }
    let mut listed = Map::new();
    for (arch, clouds) in architectures {
        let clouds: Map<String, Value> =
            clouds.into_iter().map(|(cloud, regions)| (cloud.to_string(), json!({"regions": regions}))).collect();
        listed.insert(arch.into(), json!({"images": clouds}));
    }
    json!({
        "schema": SCHEMA,
        "stream": name,
        "metadata": {"last-modified": rfc_3339(newest)},
        "architectures": listed,
        "publications": records,
    })
}

/// Seconds since 1970 as people write them, in UTC.
pub fn rfc_3339(seconds: i64) -> String {
    let (year, month, day) = crate::report::civil_date(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
