//! What a container image says about itself (OCI image specification, config.md; Docker reads the same).
//!
//! In: a [`ContainerPlan`], the layers, and the configuration of the base where there is one. Out: the image's
//! configuration as JSON, the same bytes for the same plan. What the base says and the plan does not stays as it is, fields
//! that only Docker knows included. Never a clock, a host name or a user's name of the build host.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::base::Base;
use super::layers::Layer;
use crate::error::{Error, Exit, Result};
use crate::plan::{ContainerPlan, Image};
use crate::report::timestamp;

/// Where programs are found when nothing sets a PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What Docker notes about the build of the base, and would be wrong of the image on top.
const OF_ITS_BUILD: &[&str] = &["container", "container_config", "docker_version", "id", "parent", "throwaway"];

/// The configuration of an image. `epoch`: seconds since 1970.
pub fn encode(
    plan: &ContainerPlan,
    image: &Image,
    base: Option<&Base>,
    layers: &[Layer],
    epoch: i64,
) -> Result<Vec<u8>> {
    let created = date(epoch);
    let (architecture, variant) = platform(&image.arch);
    let mut whole = base.and_then(|base| base.configuration().as_object().cloned()).unwrap_or_default();
    whole.retain(|name, _| !OF_ITS_BUILD.contains(&name.as_str()));
    let mut set = |name: &str, value: Value| whole.insert(name.into(), value);
    set("created", json!(created));
    if !plan.author.is_empty() {
        set("author", json!(plan.author));
    }
    set("architecture", json!(architecture));
    if let Some(variant) = variant {
        set("variant", json!(variant));
    }
    set("os", json!("linux"));
    let running = whole.remove("config").and_then(|config| config.as_object().cloned()).unwrap_or_default();
    whole.insert("config".into(), Value::Object(settled(running, plan)));
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
    whole.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
    let mut history = whole.remove("history").and_then(|events| events.as_array().cloned()).unwrap_or_default();
    history.extend(events(plan, layers, &created));
    whole.insert("history".into(), Value::Array(history));
    json(&whole)
}

/// `<containerconfig>` over what is there.
fn settled(mut config: Map<String, Value>, plan: &ContainerPlan) -> Map<String, Value> {
    let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
    let set = |config: &mut Map<String, Value>, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.into(), value);
        }
    };
    set(&mut config, "User", text(&plan.user));
    let port = |port: &String| if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    add(&mut config, "ExposedPorts", plan.ports.iter().map(|name| (port(name), json!({}))));
    let mut env = words(&config, "Env");
    plan.environment.iter().for_each(|(name, value)| assign(&mut env, name, value));
    if !env.iter().any(|line| line.starts_with("PATH=")) {
        env.insert(0, format!("PATH={PATH}"));
    }
    config.insert("Env".into(), json!(env));
    for (name, words) in [("Entrypoint", &plan.entrypoint), ("Cmd", &plan.command)] {
        match words.as_deref() {
            Some([]) => drop(config.shift_remove(name)),
            Some(words) => drop(config.insert(name.into(), json!(words))),
            None => {}
        }
    }
    let says_nothing = |name: &str| config.get(name).is_none_or(|words| words.as_array().is_none_or(Vec::is_empty));
    if plan.entrypoint.is_none() && plan.command.is_none() && says_nothing("Entrypoint") && says_nothing("Cmd") {
        config.insert("Cmd".into(), json!(["/bin/bash"]));
    }
    add(&mut config, "Volumes", plan.volumes.iter().map(|path| (path.clone(), json!({}))));
    set(&mut config, "WorkingDir", text(&plan.working_dir));
    add(&mut config, "Labels", plan.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    set(&mut config, "StopSignal", text(&plan.stop_signal));
    config
}

/// Adds to one of Docker's maps; an empty one is left out.
fn add(config: &mut Map<String, Value>, name: &str, pairs: impl Iterator<Item = (String, Value)>) {
    let mut map = config.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    map.extend(pairs);
    if !map.is_empty() {
        map.sort_keys();
        config.insert(name.into(), Value::Object(map));
    }
}

fn words(config: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = config.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_string).collect()
}

/// `NAME=VALUE` in the place of the one that is there.
fn assign(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|line| line.split('=').next() == Some(name)) {
        Some(there) => *there = line,
        None => env.push(line),
    }
}

/// One event for each new layer; what the description says of the history goes to the last one.
fn events(plan: &ContainerPlan, layers: &[Layer], created: &str) -> Vec<Value> {
    let new: Vec<&String> = layers.iter().filter_map(|layer| layer.new.as_ref()).collect();
    let history = &plan.history;
    let event = |(number, what): (usize, &&String)| {
        let is_last = number + 1 == new.len();
        let by = history.created_by.as_deref().unwrap_or(concat!("ingot ", env!("CARGO_PKG_VERSION")));
        let author = history.author.as_deref().unwrap_or(&plan.author);
        let mut event = json!({"created": created, "created_by": by});
        if !author.is_empty() {
            event["author"] = json!(author);
        }
        let comment = history.comment.as_deref().filter(|_| is_last).unwrap_or(what);
        if !comment.is_empty() {
            event["comment"] = json!(comment);
        }
        event
    };
    new.iter().enumerate().map(event).collect()
}

/// A configuration whose history has an event for each of its layers, as loaders expect.
pub fn whole_history(mut configuration: Value, layers: usize) -> Value {
    let known =
        configuration["history"].as_array().map(|events| events.iter().filter(|event| has_layer(event)).count());
    if known != Some(layers) {
        let created = configuration["created"].as_str().unwrap_or("1970-01-01T00:00:00Z").to_string();
        let event = json!({"created": created, "created_by": "a layer without a history"});
        configuration["history"] = Value::Array(vec![event; layers]);
    }
    configuration
}

fn has_layer(event: &Value) -> bool {
    event["empty_layer"] != json!(true)
}

/// The configuration of an image that is piled on others, of whose layers it has the first `shared`, too.
pub fn piled(below: Value, mut above: Value, shared: usize) -> Value {
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (lower, upper) = (object(&below["config"]), object(&above["config"]));
    let mut config = lower.clone();
    config
        .extend(upper.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())));
    for name in ["ExposedPorts", "Volumes", "Labels"] {
        let pairs = |map: &Map<String, Value>| map.get(name).map(&object).unwrap_or_default().into_iter();
        add(&mut config, name, pairs(&lower).chain(pairs(&upper)));
    }
    let mut env = words(&lower, "Env");
    for line in words(&upper, "Env") {
        let (name, value) = line.split_once('=').unwrap_or((&line, ""));
        assign(&mut env, name, value);
    }
    if !env.is_empty() {
        config.insert("Env".into(), json!(env));
    }
    let mut history = below["history"].as_array().cloned().unwrap_or_default();
    let mut passed = 0;
    for event in above["history"].as_array().into_iter().flatten() {
        if passed == shared {
            history.push(event.clone());
        } else if has_layer(event) {
            passed += 1;
        }
    }
    let newest =
        [&below, &above].into_iter().filter_map(|one| one["created"].as_str()).max_by_key(|date| seconds(date));
    if let Some(newest) = newest.map(str::to_string) {
        above["created"] = json!(newest);
    }
    above["config"] = Value::Object(config);
    above["history"] = Value::Array(history);
    above
}

/// A value as compact JSON.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))
}

/// `2023-11-14T22:13:20Z`
pub fn date(epoch: i64) -> String {
    timestamp(Duration::from_secs(u64::try_from(epoch).unwrap_or(0))).replace(".000Z", "Z")
}

/// Seconds since 1970 of a date in RFC 3339.
pub fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    let offset = match rest {
        "Z" | "z" => 0,
        rest => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = rest.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    // Days of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5;
    Some((days + day - 1 - 719_468) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// `uname -m` in the words of container images: GOARCH and, where it needs one, GOARM's variant.
pub fn platform(arch: &str) -> (&str, Option<&'static str>) {
    match arch {
        "x86_64" => ("amd64", None),
        "i386" | "i486" | "i586" | "i686" | "ix86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "armv7l" | "armv7hl" => ("arm", Some("v7")),
        "armv6l" | "armv6hl" => ("arm", Some("v6")),
        "armv5tel" => ("arm", Some("v5")),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T23:13:20.123456789+01:00", Some(1_700_000_000)),
            ("2024-02-29T00:00:00-00:30", Some(1_709_166_600)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("yesterday", None),
            ("2023-11-14T22:13:20", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        for epoch in [0, 951_827_696, 1_700_000_000, 4_000_000_000] {
            assert_eq!(seconds(&date(epoch)), Some(epoch));
        }
    }

    #[test]
    fn an_image_on_others_has_the_last_word_and_forgets_nothing() {
        let event = |by: &str| json!({"created_by": by});
        let below = json!({
            "created": "2024-01-01T00:00:00Z",
            "config": {"Env": ["A=1", "B=1"], "Cmd": ["below"], "Labels": {"l": "1", "m": "1"}, "User": "u"},
            "history": [event("first"), {"created_by": "no layer", "empty_layer": true}],
        });
        let above = json!({
            "created": "2023-01-01T00:00:00Z",
            "config": {"Env": ["B=2", "C=2"], "Cmd": ["above"], "Labels": {"m": "2"}},
            "history": [event("first"), event("second")],
        });
        let found = piled(below, above, 1);
        assert_eq!(found["created"], "2024-01-01T00:00:00Z");
        assert_eq!(
            found["config"],
            json!({"Env": ["A=1", "B=2", "C=2"], "Cmd": ["above"], "Labels": {"l": "1", "m": "2"}, "User": "u"})
        );
        assert_eq!(
            found["history"],
            json!([event("first"), {"created_by": "no layer", "empty_layer": true}, event("second")])
        );
    }
}
