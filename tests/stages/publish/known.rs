//! What this host knows of its publications: a catalog that takes no record, what killed runs left, what changed since.

use std::fs;
use std::os::unix::fs::FileExt;

use super::aws::Aws;
use super::{Place, disk, done, killed, refused};
use crate::support::need;
use crate::support::proxy::Fate;

const TARGET: &str = "aws:eu-central-1";

fn catalog(place: &Place) -> std::path::PathBuf {
    place.join("state/ingot/catalog.sqlite")
}

#[test]
fn what_could_not_be_recorded_is_not_published_and_what_was_is_recorded_later() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    place.raw(1 << 20, &[1]);
    // A table that takes no row: the image is made all the same, and its id is told.
    rusqlite_of(&place, "CREATE TRIGGER no BEFORE INSERT ON publication BEGIN SELECT RAISE(FAIL, 'no'); END");
    let said = refused(&mut aws.publish(&place, TARGET, &[]), 74, "is there, and not recorded");
    let image = aws.images().remove(0);
    assert!(said.contains(&image), "{said}");
    assert_eq!((place.catalog().len(), place.unfinished().len()), (0, 1));
    rusqlite_of(&place, "DROP TRIGGER no");
    assert_eq!(done(&mut aws.publish(&place, TARGET, &[])).0, image);
    assert_eq!((aws.images(), place.unfinished().len()), (vec![image.clone()], 0));

    // An image lies in its region, whatever bucket is named besides.
    let before = aws.proxy.count("");
    let (id, said) = done(&mut aws.publish(&place, "aws:eu-central-1/bucket", &[]));
    assert_eq!((id.as_str(), aws.proxy.count("")), (image.as_str(), before));
    assert!(said.contains("the bucket bucket is not used"), "{said}");

    // What publish.toml says now and did not say then is not taken for done.
    assert!(!done(&mut aws.publish(&place, TARGET, &[])).1.contains("warning"));
    place.parameters("[aws]\nshare-with = [\"123456789012\"]\n");
    let (id, said) = done(&mut aws.publish(&place, TARGET, &[]));
    assert_eq!(id, image);
    assert!(said.contains(&format!("warning: publish.toml, or this ingot, asks for something else than when {image}")));

    // A catalog that is damaged is seen before anything is made.
    let path = catalog(&place);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4096], 4096).unwrap();
    place.raw(1 << 20, &[0]);
    let said = refused(&mut aws.publish(&place, TARGET, &[]), 76, "nothing was published");
    assert!(said.contains("move it away") && place.unfinished().is_empty(), "{said}");
    assert_eq!(aws.proxy.count(""), before);
}

/// Changes the catalog, which is made if need be.
fn rusqlite_of(place: &Place, change: &str) {
    ingot::catalog::Catalog::open_or_create(&catalog(place)).unwrap();
    rusqlite::Connection::open(catalog(place)).unwrap().execute_batch(change).unwrap();
}

#[test]
fn what_killed_runs_left_is_told_and_removed_though_one_of_them_cannot_be() {
    need!("python3");
    let Some(aws) = Aws::start() else { return };
    let place = Place::new();
    let kill = |blocks: &[u64]| {
        disk(&place.release().join("it.raw"), 1 << 20, blocks);
        place.list(&[("it.raw", "raw")]);
        aws.proxy.forget();
        aws.proxy.rule_times("/blocks/", Fate::NoAnswer, 0, 1);
        killed(&mut aws.publish(&place, TARGET, &["--parallel", "1"]), || aws.proxy.wait_for("/blocks/", 1));
    };
    kill(&[0]);
    let first = aws.snapshots().remove(0);
    kill(&[1]);
    assert_eq!((aws.snapshots().len(), place.unfinished().len()), (2, 2));
    // Another artifact is published, and the remains of the others are named.
    place.raw(1 << 20, &[0, 1]);
    let (image, said) = done(&mut aws.publish(&place, TARGET, &[]));
    assert_eq!(said.matches("is unfinished, or another ingot is at it: snapshot snap-").count(), 2, "{said}");
    assert!(said.contains(&format!("{first}; `ingot publish --abort --to {TARGET}` removes that")), "{said}");

    // One that cannot be read keeps none of the others.
    let unfinished = place.unfinished();
    let is_first = |path: &&std::path::PathBuf| fs::read_to_string(path).unwrap().contains(&first);
    let (broken, kept) = (unfinished.iter().find(is_first).unwrap(), place.join("kept"));
    fs::copy(broken, &kept).unwrap();
    fs::write(broken, "{").unwrap();
    let said = refused(&mut aws.abort(&place, &["--to", "aws:eu-central-1/bucket"]), 78, "cannot read");
    assert!(said.contains("removed  it.raw to aws:eu-central-1: snapshot snap-"), "{said}");
    assert_eq!(place.unfinished(), std::slice::from_ref(broken));
    fs::copy(&kept, broken).unwrap();
    let (_, said) = done(&mut aws.abort(&place, &[]));
    assert!(said.contains(&first), "{said}");
    assert_eq!((place.unfinished().len(), aws.images()), (0, vec![image]));
}
