//! OCI layouts and layers that are put together by hand, as an attacker would.
//!
//! In: members of layers. Out: a folder that is an OCI layout, with right digests where nothing is spoilt afterwards.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A member of a layer.
pub enum Member<'a> {
    /// Name, content, mode.
    File(&'a str, &'a str, u32),
    /// Name and target.
    Link(&'a str, &'a str),
    /// Name and target.
    HardLink(&'a str, &'a str),
    /// Name.
    Folder(&'a str),
    /// Name, major, minor: a block device.
    Device(&'a str, u32, u32),
}

/// `sha256:...`
pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A layer whose one file is `length` zeros, in 4 bytes of Zstandard for each 128 KiB (RFC 8878, 3.1.1.2: RLE blocks).
pub fn zeros(length: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(length);
    header.set_cksum();
    // Magic number, nothing optional, a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let mut block = |last: u32, kind: u32, length: u32, content: &[u8]| {
        frame.extend_from_slice(&(length << 3 | kind << 1 | last).to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    };
    block(0, 0, 512, header.as_bytes());
    for _ in 0..length.div_ceil(128 << 10) {
        block(0, 1, 128 << 10, &[0]);
    }
    block(1, 1, 1024, &[0]);
    frame
}

/// A layer whose one file is a hole of `length` bytes, in the old form of GNU tar.
pub fn hole(length: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::GNUSparse);
    let mut number = [0; 12];
    number[0] = 0x80;
    number[4..].copy_from_slice(&length.to_be_bytes());
    let gnu = header.as_gnu_mut().unwrap();
    (gnu.realsize, gnu.sparse[0].offset, gnu.sparse[0].numbytes) = (number, number, *b"00000000000\0");
    header.set_cksum();
    [header.as_bytes().as_slice(), &[0; 1024]].concat()
}

/// An uncompressed layer with exactly these names.
pub fn layer(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        let (name, kind, content, mode) = match member {
            Member::File(name, content, mode) => (name, tar::EntryType::Regular, *content, *mode),
            Member::Link(name, target) => {
                header.set_link_name_literal(target.as_bytes()).unwrap();
                (name, tar::EntryType::Symlink, "", 0o777)
            }
            Member::HardLink(name, target) => {
                header.set_link_name_literal(target.as_bytes()).unwrap();
                (name, tar::EntryType::Link, "", 0o644)
            }
            Member::Folder(name) => (name, tar::EntryType::Directory, "", 0o755),
            Member::Device(name, major, minor) => {
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
                (name, tar::EntryType::Block, "", 0o666)
            }
        };
        // The crate refuses `..` in names that it writes; an attacker does not.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes a layout of these layers, which may be compressed, with the digests of what they hold uncompressed.
pub fn write(folder: &Path, layers: &[(Vec<u8>, String)], config: Value) {
    write_for("amd64", folder, layers, config);
}

/// The same, for another machine.
pub fn write_for(architecture: &str, folder: &Path, layers: &[(Vec<u8>, String)], config: Value) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |content: &[u8], kind: &str| -> Value {
        let digest = digest(content);
        fs::write(blobs.join(&digest[7..]), content).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": content.len()})
    };
    let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let configuration = json!({
        "architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let kind = "application/vnd.oci.image";
    let config = put(configuration.to_string().as_bytes(), &format!("{kind}.config.v1+json"));
    let layers: Vec<Value> =
        layers.iter().map(|(stored, _)| put(stored, &format!("{kind}.layer.v1.tar+gzip"))).collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = put(manifest.to_string().as_bytes(), &format!("{kind}.manifest.v1+json"));
    fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
}
