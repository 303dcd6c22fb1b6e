//! An empty filesystem, made by the host's mke2fs in a file of its own.
//!
//! In: size, identity, `fscreateoptions`. Out: its layout and those of its blocks that are not zero. Nothing of the
//! host's configuration (mke2fs.conf) has a say, nothing random is left to mke2fs.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::layout::{Blocks, Layout};
use crate::bytes::{Bytes, is_zero};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file::{self, next_data};
use crate::host::program::Program;
use crate::plan::{Filesystem, FilesystemKind, Uuid};
use crate::report::Reporter;

/// What Debian 12 configures, written down so that every host makes the same filesystem. GRUB 2.06 reads all of it.
const CONFIGURATION: &str = "\
[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
	hash_alg = half_md4
[fs_types]
	ext2 = {
	}
	ext3 = {
		features = has_journal
	}
	small = {
		inode_ratio = 16384
	}
	floppy = {
		inode_ratio = 16384
	}
	big = {
		inode_ratio = 16384
	}
	huge = {
		inode_ratio = 16384
	}
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
";
/// Bytes for each inode where the description says nothing (the default of mke2fs).
pub const INODE_RATIO: u64 = 16384;
/// Per cent of the blocks kept for root. The usual 5 would be all of a small image's free space.
const RESERVED: &str = "1";

/// How mke2fs is called for one filesystem, whatever its size.
#[derive(Debug)]
pub struct Recipe {
    words: Vec<String>,
    counts_inodes: CountsInodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountsInodes {
    /// As many as the files need.
    Us,
    /// `-N` or `-i` of the description.
    Description,
}

/// A fresh filesystem.
#[derive(Debug)]
pub struct Empty {
    /// Its geometry.
    pub layout: Layout,
    /// Its blocks that are not zero.
    pub blocks: Blocks,
}

impl Recipe {
    /// 65 where `fscreateoptions` holds a word that is not supported.
    pub fn new(filesystem: &Filesystem) -> Result<Recipe> {
        let kind = match filesystem.kind {
            FilesystemKind::Ext2 => "ext2",
            FilesystemKind::Ext3 => "ext3",
            _ => "ext4",
        };
        let mut extended = vec![
            format!("hash_seed={}", hash_seed(filesystem.uuid)),
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0".into(),
        ];
        let mut words: Vec<String> = ["-q", "-F", "-m", RESERVED].map(Into::into).into();
        let mut counts_inodes = CountsInodes::Us;
        let refuse = |word: &str| {
            Err(Error::cannot(Exit::Description, format!("create {} with `{word}`", filesystem.mount_point))
                .because("this word of fscreateoptions is not supported")
                .hint("supported are -b -E -G -g -I -i -J -m -N -O"))
        };
        let mut given = filesystem.create_options.iter();
        while let Some(word) = given.next() {
            let Some((option, attached)) = word.split_at_checked(2) else { return refuse(word) };
            let value = match (attached, given.as_slice().first()) {
                ("", Some(next)) => next.clone(),
                ("", None) => return refuse(word),
                (attached, _) => attached.to_string(),
            };
            if attached.is_empty() {
                given.next();
            }
            let keys = |known: &[&str]| {
                value.split(',').all(|part| known.contains(&part.split_once('=').map_or(part, |(key, _)| key)))
            };
            match option {
                "-E" if keys(&["stride", "stripe_width", "stripe-width", "resize", "packed_meta_blocks"]) => {
                    extended.push(value);
                    continue;
                }
                "-J" if keys(&["size"]) => {}
                "-N" | "-i" => counts_inodes = CountsInodes::Description,
                "-b" | "-G" | "-g" | "-I" | "-m" | "-O" => {}
                _ => return refuse(word),
            }
            words.extend([option.to_string(), value]);
        }
        let identity =
            ["-t", kind, "-U", &filesystem.uuid.to_string(), "-L", &filesystem.label, "-E", &extended.join(",")];
        words.extend(identity.map(Into::into));
        Ok(Recipe { words, counts_inodes })
    }

    /// Makes the filesystem of at most `size` bytes with at least `inodes` inodes, in a file below `scratch` that is
    /// gone afterwards.
    pub fn make(&self, size: Bytes, inodes: u64, scratch: &Path, reporter: &Reporter) -> Result<Empty> {
        let folder = tempfile::Builder::new()
            .prefix("mke2fs-")
            .tempdir_in(scratch)
            .or_cannot(|| format!("make a folder in {}", scratch.display()))?;
        let (image, configuration) = (folder.path().join("image"), folder.path().join("mke2fs.conf"));
        file::create(&configuration)?
            .write_all(CONFIGURATION.as_bytes())
            .or_cannot(|| format!("write {}", configuration.display()))?;
        let file = file::create(&image)?;
        file.set_len(size.0).or_cannot(|| format!("make {} {size} long", image.display()))?;
        let mut program = Program::new("mke2fs").env("MKE2FS_CONFIG", &configuration).args(&self.words);
        if self.counts_inodes == CountsInodes::Us && inodes > size.0 / INODE_RATIO {
            program = program.args(["-N", &inodes.to_string()]);
        }
        program.arg(&image).arg(format!("{}k", size.0 / 1024)).run(reporter)?;
        read(&file, size).or_cannot(|| format!("read {}", image.display()))?
    }
}

fn hash_seed(uuid: Uuid) -> Uuid {
    let mut seed = [0; 16];
    let hash = Sha256::new().chain_update(uuid.0).chain_update("hash seed").finalize();
    seed.copy_from_slice(&hash[..16]);
    Uuid(seed)
}

fn read(file: &File, size: Bytes) -> std::io::Result<Result<Empty>> {
    let mut superblock = vec![0; 1024];
    file.read_exact_at(&mut superblock, 1024)?;
    let mut failed = Ok(());
    let layout = Layout::read(&superblock, |block, block_size| {
        let mut content = vec![0; block_size];
        if let Err(error) = file.read_exact_at(&mut content, block * block_size as u64) {
            failed = Err(error);
        }
        content
    });
    failed?;
    let layout = match layout {
        Ok(layout) => layout,
        Err(error) => return Ok(Err(error)),
    };
    let block_size = layout.block_size as u64;
    let mut blocks = Blocks::new();
    let mut at = 0;
    while let Some(data) = next_data(file, at..size.0)? {
        for block in data.start / block_size..data.end.div_ceil(block_size).min(layout.blocks) {
            let mut content = vec![0; layout.block_size];
            file.read_exact_at(&mut content, block * block_size)?;
            if !is_zero(&content) {
                blocks.insert(block, content);
            }
        }
        at = data.end;
    }
    Ok(Ok(Empty { layout, blocks }))
}
