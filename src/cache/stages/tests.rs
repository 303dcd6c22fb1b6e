//! Stages kept, found, damaged and collected.

use super::*;

fn store(limit: Bytes) -> (tempfile::TempDir, StageStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = StageStore::open(folder.path(), limit).unwrap();
    (folder, store)
}

fn key(stage: &str, parts: &[(&str, &str)]) -> Key {
    let mut key = Key::new(stage, "image");
    parts.iter().for_each(|(name, value)| key.add(*name, *value));
    key
}

/// A sparse image with data at both ends and in the middle of nowhere.
fn image(salt: u8) -> (File, Bytes) {
    let file = tempfile::tempfile().unwrap();
    let length = Bytes::gib(40);
    file.set_len(length.0).unwrap();
    for (at, size) in [(0, 4096), ((17 << 20) + 5, 9 << 20), ((40 << 30) - 700, 700)] {
        let bytes: Vec<u8> = (0..size).map(|n: u64| (n * 7 % 251) as u8 ^ salt).collect();
        file.write_all_at(&bytes, at).unwrap();
    }
    (file, length)
}

fn content(file: &File) -> Vec<(u64, Vec<u8>)> {
    let read = |(at, size): &(u64, usize)| {
        let mut bytes = vec![0; *size];
        file.read_exact_at(&mut bytes, *at).unwrap();
        (*at, bytes)
    };
    [(0, 8192), (17 << 20, 10 << 20), ((40 << 30) - 4096, 4096)].iter().map(read).collect()
}

#[test]
fn a_stage_is_found_by_its_key_and_gives_the_same_image() {
    let (_folder, store) = store(Bytes::gib(1));
    let (source, length) = image(0);
    let one = key("installed", &[("package a", "1"), ("tool", "x")]);
    assert!(store.find(&one).unwrap().is_none());
    let payload = serde_json::json!({"paths": ["/x"]});
    assert!(matches!(store.keep(&one, payload.clone(), &source, length).unwrap(), Kept::Yes(_)));
    let other = key("installed", &[("package a", "2"), ("tool", "x")]);
    assert!(store.find(&other).unwrap().is_none());
    assert!(store.find(&one.followed_by("configured")).unwrap().is_none());
    let stage = store.find(&one).unwrap().unwrap();
    assert_eq!((stage.length(), stage.payload()), (length, &payload));
    let target = tempfile::tempfile().unwrap();
    assert!(stage.copy_into(&target).unwrap());
    use std::os::unix::fs::MetadataExt;
    assert!(stage.is_intact(&AtomicBool::new(false)).unwrap());
    assert!(!stage.is_intact(&AtomicBool::new(true)).unwrap(), "in vain");
    assert_eq!(content(&target), content(&source));
    assert_eq!(target.metadata().unwrap().len(), length.0);
    let path = store.path(&one);
    use std::os::unix::fs::PermissionsExt;
    let metadata = path.metadata().unwrap();
    assert!(metadata.blocks() * 512 < 32 << 20, "it is not sparse");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o400);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_damaged_stage_is_dropped() {
    let (_folder, store) = store(Bytes::gib(1));
    let (source, length) = image(0);
    let one = key("installed", &[]);
    for (at, found) in [(4096, true), ((20 << 20) + 1, true), (length.0 + 3, false)] {
        store.keep(&one, serde_json::Value::Null, &source, length).unwrap();
        let damaged = store.path(&one);
        file::set_mode(&damaged, 0o600).unwrap();
        file::open_for_update(&damaged).unwrap().write_all_at(&[0xff], at).unwrap();
        match store.find(&one).unwrap() {
            Some(stage) => {
                let target = || tempfile::tempfile().unwrap();
                assert!(found && !stage.is_intact(&AtomicBool::new(false)).unwrap());
                assert!(damaged.exists(), "who only looked ahead removes nothing");
                assert!(!stage.copy_into(&target()).unwrap());
            }
            None => assert!(!found, "{at}"),
        }
        assert!(!damaged.exists(), "{at}");
    }
    store.keep(&one, serde_json::Value::Null, &source, length).unwrap();
    let whole = file::open(&store.path(&one)).unwrap().metadata().unwrap().len();
    for cut in [0, 7, length.0, whole - 1] {
        file::set_mode(&store.path(&one), 0o600).unwrap();
        file::open_for_update(&store.path(&one)).unwrap().set_len(cut).unwrap();
        assert!(store.find(&one).unwrap().is_none(), "{cut}");
        store.keep(&one, serde_json::Value::Null, &source, length).unwrap();
    }
    assert_eq!(store.verify().unwrap().into_iter().map(|(_, good)| good).collect::<Vec<_>>(), [true]);
    file::set_mode(&store.path(&one), 0o600).unwrap();
    file::open_for_update(&store.path(&one)).unwrap().write_all_at(&[0xff], 0).unwrap();
    assert_eq!(store.verify().unwrap().into_iter().map(|(_, good)| good).collect::<Vec<_>>(), [false]);
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn an_image_that_nobody_changes_becomes_the_stage_itself() {
    use std::os::unix::fs::MetadataExt;
    let (folder, store) = store(Bytes::gib(1));
    let (one, other) = (key("installed", &[("a", "1")]), key("installed", &[("a", "2")]));
    let (source, length) = image(0);
    let path = folder.path().join("image");
    file::create(&path).unwrap().set_len(length.0).unwrap();
    copy(&source, &file::open_for_update(&path).unwrap(), length).unwrap();
    let inode = path.metadata().unwrap().ino();
    let small = StageStore { limit: Bytes::kib(64), ..store.clone() };
    assert_eq!(small.take(&one, serde_json::Value::Null, &path, length).unwrap(), Kept::NoRoom);
    assert!(path.exists());
    let kept = store.take(&one, serde_json::Value::Null, &path, length).unwrap();
    assert!(matches!(kept, Kept::Yes(size) if size > Bytes::mib(9) && size < Bytes::mib(16)), "{kept:?}");
    assert_eq!((path.exists(), store.path(&one).metadata().unwrap().ino()), (false, inode));
    let stage = store.find(&one).unwrap().unwrap();
    assert_eq!((stage.length(), content(stage.image())), (length, content(&source)));
    assert!(stage.is_intact(&AtomicBool::new(false)).unwrap());
    // The same as by copying it.
    store.keep(&other, serde_json::Value::Null, &source, length).unwrap();
    assert_eq!(store.find(&other).unwrap().unwrap().record.content, stage.record.content);
    assert_eq!(store.path(&one).metadata().unwrap().mode() & 0o777, 0o400);
    assert_eq!(store.verify().unwrap().len(), 2);
}

#[test]
fn the_least_recently_used_stage_goes_first() {
    let (_folder, store) = store(Bytes::mib(40));
    let (source, length) = image(0);
    let keys = ["a", "b", "c"].map(|name| key(name, &[]));
    for (number, key) in keys.iter().enumerate() {
        store.keep(key, serde_json::Value::Null, &source, length).unwrap();
        let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + number as u64);
        file::open(&store.path(key)).unwrap().set_modified(used).unwrap();
    }
    // Finding one makes it the most recently used.
    store.find(&keys[0]).unwrap().unwrap();
    let stages = |listed: &[Listed]| listed.iter().map(|one| one.stage.clone()).collect::<Vec<_>>();
    assert_eq!(stages(&store.list().unwrap()), ["a", "c", "b"]);
    let size = store.list().unwrap()[0].size;
    assert_eq!(stages(&store.collect(Bytes(size.0 * 2)).unwrap()), ["b"]);
    let small = StageStore { limit: Bytes(size.0 + 4096), ..store.clone() };
    small.keep(&keys[1], serde_json::Value::Null, &source, length).unwrap();
    assert_eq!(stages(&store.list().unwrap()), ["b"]);
    let smaller = StageStore { limit: Bytes::kib(64), ..store.clone() };
    assert_eq!(smaller.keep(&keys[2], serde_json::Value::Null, &source, length).unwrap(), Kept::NoRoom);
}

#[test]
fn a_key_says_what_is_different() {
    let old = key("installed", &[("package a", "1"), ("package b", "1"), ("tool", "x")]);
    let new = key("installed", &[("package a", "2"), ("package c", "1"), ("tool", "x")]);
    let said: Vec<String> = new.differences(&old).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["package a changed", "package c is new", "package b is gone"]);
    assert!(new.is_like(&old) && !new.is_like(&old.followed_by("configured")));
    // Names and values do not run into each other.
    assert_ne!(key("s", &[("a", "b\nc")]).digest(), key("s", &[("a", "b"), ("c", "")]).digest());
    let (_folder, store) = store(Bytes::gib(1));
    let (source, length) = image(0);
    store.keep(&old, serde_json::Value::Null, &source, length).unwrap();
    assert_eq!(store.nearest(&new).unwrap(), new.differences(&old));
    assert_eq!(store.nearest(&key("other", &[])).unwrap(), []);
}

#[test]
fn what_a_killed_build_was_writing_is_swept_and_what_is_being_written_is_not() {
    let (folder, store) = store(Bytes::gib(1));
    let [dead, live] = ["dead", "live"].map(|name| store.folder.join(format!("{INCOMING}{name}")));
    file::write(&dead, b"x").unwrap();
    file::write(&live, b"x").unwrap();
    let _writing = FileLock::wait(&live).unwrap();
    StageStore::open(folder.path(), Bytes::gib(1)).unwrap();
    assert!(!dead.exists() && live.exists());
}
