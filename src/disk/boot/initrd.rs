//! The initrd of each kernel, made once, for any machine.
//!
//! In: initramfs-tools or dracut of the image, the kernels. Out: their initrds in /boot, the same bytes each time. The
//! program packs with its fastest compression; the archive is made independent of when and where it was packed, and is
//! compressed again here, on all cores. Nothing of the build host decides what is in it. Who calls may have them from an
//! earlier build ([`Keeper`]).

use std::io::{Read, Write};

use super::cpio::{Early, first_archive, normalise};
use super::family::Family;
use super::kernel::Kernel;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::sandbox::Sandbox;
use crate::plan::Initrd;
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// As initramfs-tools of Debian compresses by default.
const ZSTD_LEVEL: i32 = 9;
const GZIP_LEVEL: u32 = 6;
/// No initrd unpacks to more.
const LARGEST: u64 = 4 << 30;

/// Which program of the image makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    InitramfsTools,
    Dracut,
}

/// How the initrd is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Zstd,
    Gzip,
}

/// What decides about the initrds beside the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For each kernel: the command that packs it and the compression, as text.
    pub orders: Vec<String>,
    /// The time of everything in them, seconds since 1970.
    pub epoch: i64,
}

/// Finished initrds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrds {
    /// One for each of [`Wanted::orders`].
    pub packed: Vec<Vec<u8>>,
    /// Where they come from.
    pub origin: Origin,
}

/// Whether initrds were made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By the image's program.
    Made,
    /// By an earlier build, from the same.
    Kept,
}

/// Answers with the initrds that the second argument would make: calls it, or knows what would come out. The tree holds
/// none of them meanwhile.
pub type Keeper<'a> = dyn Fn(&Wanted, &dyn Fn() -> Result<Vec<Vec<u8>>>) -> Result<Initrds> + 'a;

/// A kernel's initrd to be made.
struct Task<'a> {
    kernel: &'a Kernel,
    output: RootPath,
    arguments: Vec<String>,
    compression: Compression,
}

/// Makes them all. 65 where the image has no program for it, or where it would make one for the build host only.
pub fn make(
    choice: Initrd,
    kernels: &[Kernel],
    epoch: i64,
    tree: &RootTree,
    sandbox: &Sandbox,
    keeper: &Keeper<'_>,
    reporter: &Reporter,
) -> Result<()> {
    if choice == Initrd::None {
        for kernel in kernels {
            tree.remove(&RootPath::new(kernel.initrd()))?;
        }
        return Ok(());
    }
    let maker = maker(choice, tree)?;
    if maker == Maker::InitramfsTools {
        refuse_this_machine_only(tree)?;
        let resume = RootPath::new("/etc/initramfs-tools/conf.d/resume");
        if !tree.exists(&resume) {
            // Else the hook looks for a swap device of the machine that it runs on.
            tree.write(&resume, "RESUME=none\n", 0o644)?;
        }
    }
    let step = reporter.step("initrd");
    let sandbox = sandbox.clone().env("SOURCE_DATE_EPOCH", epoch.to_string());
    let mut tasks = Vec::new();
    for kernel in kernels {
        tasks.push(task(maker, kernel, tree)?);
        tree.remove(&RootPath::new(kernel.initrd()))?;
    }
    let orders = tasks.iter().map(|task| format!("{} ({:?})", task.arguments.join(" "), task.compression)).collect();
    let made = keeper(&Wanted { orders, epoch }, &|| {
        let pack = |task: &Task<'_>| {
            step.now(&task.kernel.version);
            task.pack(epoch, tree, &sandbox, reporter)
        };
        tasks.iter().map(pack).collect()
    })?;
    let mut sizes = Vec::new();
    for (task, initrd) in tasks.iter().zip(made.packed) {
        sizes.push(format!("{}, {}", task.kernel.version, Bytes(initrd.len() as u64)));
        tree.write(&task.output, initrd, 0o600)?;
        if maker == Maker::InitramfsTools {
            remember(task.kernel, tree, &sandbox, reporter)?;
        }
    }
    step.finish(&match made.origin {
        Origin::Made => sizes.join("; "),
        Origin::Kept => format!("{}, reused", sizes.join("; ")),
    });
    Ok(())
}

fn task<'a>(maker: Maker, kernel: &'a Kernel, tree: &RootTree) -> Result<Task<'a>> {
    let output = kernel.initrd();
    let version = kernel.version.as_str();
    let compression = if knows_zstd(kernel, tree)? { Compression::Zstd } else { Compression::Gzip };
    let has_zstd = tree.exists(&RootPath::new("/usr/bin/zstd"));
    let fastest = if has_zstd && compression == Compression::Zstd { "zstd" } else { "gzip" };
    let arguments: &[&str] = match maker {
        Maker::InitramfsTools => &["mkinitramfs", "-c", fastest, "-l", "1", "-o", &output, version],
        Maker::Dracut => &[
            "dracut",
            "--force",
            "--reproducible",
            "--no-hostonly",
            "--no-hostonly-cmdline",
            "--no-compress",
            "--kver",
            version,
            &output,
        ],
    };
    let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
    Ok(Task { kernel, output: RootPath::new(&output), arguments, compression })
}

impl Task<'_> {
    /// The finished initrd; nothing stays at its place in the tree.
    fn pack(&self, epoch: i64, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<u8>> {
        sandbox.run(reporter, &self.arguments)?;
        let packed = tree.read(&self.output)?;
        tree.remove(&self.output)?;
        repack(packed, epoch, self.compression).map_err(|error| error.within(format!("make {}", self.output)))
    }
}

/// Up to Debian 11 and Ubuntu 22.04, `update-initramfs -u` knows the initrds that it made by their digests here.
fn remember(kernel: &Kernel, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let folder = RootPath::new("/var/lib/initramfs-tools");
    if !tree.is_folder(&folder) {
        return Ok(());
    }
    let sum = sandbox.run(reporter, &["sha1sum", &kernel.initrd()])?;
    tree.write(&folder.join(&kernel.version), sum.stdout, 0o644)
}

fn maker(choice: Initrd, tree: &RootTree) -> Result<Maker> {
    let has = |paths: &[&str]| paths.iter().any(|path| tree.exists(&RootPath::new(path)));
    let dracut = has(&["/usr/bin/dracut", "/usr/sbin/dracut"]);
    let initramfs_tools = has(&["/usr/sbin/mkinitramfs", "/usr/bin/mkinitramfs"]);
    match choice {
        Initrd::Automatic if initramfs_tools => Ok(Maker::InitramfsTools),
        _ if dracut => Ok(Maker::Dracut),
        _ => Err(Error::cannot(Exit::Description, "make an initrd")
            .because(match choice {
                Initrd::Dracut => "initrd_system=\"dracut\" is asked for, and the image has no dracut",
                _ => "the image has neither initramfs-tools nor dracut",
            })
            .hint(match (choice, Family::of(tree)?.initrd_packages()) {
                (Initrd::Dracut, _) => "add dracut to the image's packages".to_string(),
                (_, packages) => format!("add {packages} to the image's packages, or say initrd_system=\"none\""),
            })),
    }
}

/// `MODULES=dep` asks the machine that builds which drivers it needs.
fn refuse_this_machine_only(tree: &RootTree) -> Result<()> {
    let conf = RootPath::new("/etc/initramfs-tools/conf.d");
    let mut files = vec![RootPath::new("/etc/initramfs-tools/initramfs.conf")];
    files.extend(tree.names(&conf)?.into_iter().map(|name| conf.join(name)));
    for path in files {
        let text = tree.read_if_there(&path)?.unwrap_or_default();
        if String::from_utf8_lossy(&text).lines().any(|line| line.trim_start().starts_with("MODULES=dep")) {
            return Err(Error::cannot(Exit::Description, "make an initrd")
                .because(format!("{path} says MODULES=dep: it would start on the build host only"))
                .hint("say MODULES=most"));
        }
    }
    Ok(())
}

fn knows_zstd(kernel: &Kernel, tree: &RootTree) -> Result<bool> {
    let config = kernel.configuration(tree)?;
    Ok(config.split(|byte| *byte == b'\n').any(|line| line == b"CONFIG_RD_ZSTD=y"))
}

/// Takes the initrd apart and puts it together again.
fn repack(packed: Vec<u8>, epoch: i64, compression: Compression) -> Result<Vec<u8>> {
    let refuse = || Error::cannot(Exit::Io, "read the initrd that was made").because("it holds no cpio archive");
    let (mut plain, mut rest) = (Vec::new(), packed);
    // Archives for the early kernel stand uncompressed in front, and so do, since Debian 13, modules and firmware that
    // are compressed one by one: compressing them again would gain nothing.
    while let Ok((length, early)) = first_archive(&rest) {
        if early == Early::No && length >= rest.len() {
            break;
        }
        let others = rest.split_off(length);
        plain.extend(rest);
        rest = others;
    }
    let mut archives = unpack(rest)?;
    normalise(&mut plain, epoch).map_err(|_| refuse())?;
    normalise(&mut archives, epoch).map_err(|_| refuse())?;
    if plain.is_empty() && archives.is_empty() {
        return Err(refuse());
    }
    if archives.is_empty() {
        return Ok(plain);
    }
    plain.extend(pack(&archives, compression).or_cannot(|| "compress the initrd")?);
    Ok(plain)
}

/// Decompresses gzip or zstd, several members one after the other included; anything else is taken as it is.
fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = match bytes.as_slice() {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(&bytes[..]).take(LARGEST).read_to_end(&mut unpacked),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::with_buffer(&bytes[..]).and_then(|decoder| decoder.take(LARGEST).read_to_end(&mut unpacked))
        }
        _ => return Ok(bytes),
    };
    read.or_cannot(|| "decompress the initrd")?;
    Ok(unpacked)
}

/// Compresses on all cores; the bytes do not depend on their number (zstd(1), `-T`).
fn pack(bytes: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.multithread(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8) as u32))?;
            encoder.write_all(bytes)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in [name, "TRAILER!!!"] {
            let fields = [7, 0o100644, 0, 0, 1, 99, 0, 0, 0, 0, 0, name.len() + 1, 0];
            bytes.extend(b"070701");
            bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
            bytes.extend(name.bytes().chain([0]));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[test]
    fn what_is_uncompressed_in_front_stays_so_and_the_last_archive_is_compressed() {
        let compress = |bytes: &[u8]| pack(bytes, Compression::Zstd).unwrap();
        let same = |mut bytes: Vec<u8>| {
            normalise(&mut bytes, 5).unwrap();
            bytes
        };
        let (early, modules, main) = (archive("early_cpio"), archive("usr/lib/modules/x.ko.xz"), archive("init"));
        let packed = [&early[..], &modules, &compress(&main)].concat();
        let plain = same([&early[..], &modules].concat());
        let wanted = [&plain[..], &compress(&same(main.clone()))].concat();
        assert_eq!(repack(packed, 5, Compression::Zstd).unwrap(), wanted);
        assert_eq!(repack(main.clone(), 5, Compression::Zstd).unwrap(), compress(&same(main)));
        assert!(repack(b"nothing of the kind".to_vec(), 5, Compression::Zstd).is_err());
    }
}
