//! What the packages of ingot claim.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ingot::description::Status;
use ingot::description::schema::IMAGE_TYPES;

#[test]
fn packages_provide_exactly_the_image_types_that_are_built() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/provides");
    let text = fs::read_to_string(path).unwrap();
    assert!(text.lines().all(|line| line.starts_with("kiwi") && !line.contains(' ')), "{text}");
    let claimed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("kiwi-image:")).collect();
    let built = IMAGE_TYPES.iter().filter(|(_, status)| *status == Status::Honoured).map(|(name, _)| *name);
    assert_eq!(claimed, built.collect());
    for manager in text.lines().filter_map(|line| line.strip_prefix("kiwi-packagemanager:")) {
        let known = if manager == "dnf" { "dnf4" } else { manager };
        assert!(ingot::plan::Manager::find(known).is_some(), "{manager} is not driven");
    }
    for name in ["kiwi", "kiwi-ng", "kiwi-packagemanager:apt", "kiwi-packagemanager:zypper", "kiwi-filesystem:ext4"] {
        assert!(text.lines().any(|line| line == name), "{name}");
    }
}
