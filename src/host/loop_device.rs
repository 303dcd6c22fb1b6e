//! Loop devices (loop(4)), attached to a byte range of a file, detached by the kernel when the last user is gone.
//!
//! In: a file, an offset, a length. Out: a guard with the device's path. Never asks for a partition scan.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use linux_raw_sys::loop_device as raw;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};

/// How often a device that another process took first is replaced by the next free one.
const ATTEMPTS: u32 = 200;
/// How long [`LoopDevice::close`] waits for other users of the device.
const PATIENCE: Duration = Duration::from_secs(10);
/// `/dev/loop-control` where the host's /dev has no such node (Linux, Documentation/admin-guide/devices.txt).
const CONTROL: (u32, u32) = (10, 237);
/// Major number of loop devices.
const MAJOR: u32 = 7;

/// An attached loop device with autoclear: the kernel detaches it when its last user is gone, however that ends.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    device: Option<OwnedFd>,
    /// Identifies what is attached: device and inode of the file, offset, length.
    attached: (u64, u64, u64, u64),
    /// Keeps a private node alive where the host's /dev has none.
    _nodes: Option<Nodes>,
}

/// Whether a device may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and write.
    Write,
}

impl LoopDevice {
    /// Attaches `length` bytes of `file` from `offset`, both multiples of 512 (`LOOP_CONFIGURE`, retried on EBUSY).
    /// 69 where the host has no loop device.
    pub fn attach(file: &Path, offset: Bytes, length: Bytes, access: Access) -> Result<LoopDevice> {
        let what = || format!("attach {} to a loop device", file.display());
        let backing = File::options().read(true).write(access == Access::Write).open(file).or_cannot(what)?;
        LoopDevice::attach_open(&backing, file, offset, length, access)
    }

    /// As [`LoopDevice::attach`], for an open file, whatever became of its name; `name` is what is shown.
    pub fn attach_open(
        backing: &File,
        name: &Path,
        offset: Bytes,
        length: Bytes,
        access: Access,
    ) -> Result<LoopDevice> {
        let what = || format!("attach {} to a loop device", name.display());
        if !offset.0.is_multiple_of(512) || !length.0.is_multiple_of(512) || length.0 == 0 {
            return Err(Error::cannot(Exit::Bug, what()).because("offset and length must be whole sectors"));
        }
        let metadata = backing.metadata().or_cannot(what)?;
        let config = configuration(backing, name, offset, length, access);
        let (control, mut nodes) = open_control()?;
        let mut last = Errno::BUSY;
        for _ in 0..ATTEMPTS {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number (loop(4)).
            let number = unsafe { rustix::ioctl::ioctl(&control, GetFree) }.map_err(|error| none(error.into()))?;
            let path = node(number, &mut nodes)?;
            match configure(&path, access, config) {
                Ok(device) => {
                    let attached = (metadata.dev(), metadata.ino(), offset.0, length.0);
                    return Ok(LoopDevice { path, device: Some(device), attached, _nodes: nodes });
                }
                // Another process was faster, or the device is just going away.
                Err(error @ (Errno::BUSY | Errno::NXIO | Errno::NOENT | Errno::NODEV)) => last = error,
                Err(error @ (Errno::PERM | Errno::ACCESS)) => return Err(none(error.into())),
                Err(error) => return Err(error).or_cannot(what),
            }
            sleep(Duration::from_millis(5));
        }
        Err(none(last.into()))
    }

    /// `/dev/loopN`; below `/proc/PID/fd` where the host's /dev lacks the node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Detaches and waits until the device is free.
    pub fn close(mut self) -> Result<()> {
        self.device = None;
        let started = Instant::now();
        while self.is_attached() {
            if started.elapsed() > PATIENCE {
                let holders = super::mount::holders_of_device(&self.path);
                return Err(Error::cannot(Exit::Io, format!("detach {}", self.path.display())).because(holders));
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Whether the device still holds our file; a short look that does not keep it.
    fn is_attached(&self) -> bool {
        let Ok(device) = rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return false;
        };
        // SAFETY: LOOP_GET_STATUS64 fills a loop_info64 (loop(4)).
        let status = unsafe {
            rustix::ioctl::ioctl(&device, Getter::<{ raw::LOOP_GET_STATUS64 as Opcode }, raw::loop_info64>::new())
        };
        match status {
            // Our own look would keep it busy: ask for the detachment again, it happens when `device` is closed.
            Ok(info) if (info.lo_device, info.lo_inode, info.lo_offset, info.lo_sizelimit) == self.attached => {
                // SAFETY: LOOP_CLR_FD takes no argument (loop(4)).
                let _ = unsafe { rustix::ioctl::ioctl(&device, NoArg::<{ raw::LOOP_CLR_FD as Opcode }>::new()) };
                true
            }
            _ => false,
        }
    }
}

/// The request to the kernel: range, autoclear, and the file's name for `losetup`.
fn configuration(backing: &File, file: &Path, offset: Bytes, length: Bytes, access: Access) -> raw::loop_config {
    let autoclear = raw::_bindgen_ty_1::LO_FLAGS_AUTOCLEAR as u32;
    let read_only = if access == Access::Read { raw::_bindgen_ty_1::LO_FLAGS_READ_ONLY as u32 } else { 0 };
    let mut lo_file_name = [0; 64];
    let name = file.as_os_str().as_bytes();
    let shown = name.len().min(63);
    lo_file_name[..shown].copy_from_slice(&name[..shown]);
    raw::loop_config {
        fd: backing.as_raw_fd() as u32,
        block_size: 0,
        info: raw::loop_info64 {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: offset.0,
            lo_sizelimit: length.0,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: autoclear | read_only,
            lo_file_name,
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        __reserved: [0; 8],
    }
}

fn configure(path: &Path, access: Access, config: raw::loop_config) -> rustix::io::Result<OwnedFd> {
    let mode = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
    let device = rustix::fs::open(path, mode | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: LOOP_CONFIGURE reads a loop_config, whose descriptor is open during the call (loop(4)).
    unsafe { rustix::ioctl::ioctl(&device, Setter::<{ raw::LOOP_CONFIGURE as Opcode }, _>::new(config))? };
    Ok(device)
}

fn none(error: std::io::Error) -> Error {
    Error::cannot(Exit::HostLacks, "get a loop device")
        .because(error)
        .hint("load the kernel module `loop`, give the container /dev/loop-control, or choose `--workspace folder`")
}

/// A tmpfs that is mounted nowhere, for nodes that the host's /dev lacks: nothing of it can stay behind.
#[derive(Debug)]
struct Nodes(OwnedFd);

impl Nodes {
    fn new() -> rustix::io::Result<Nodes> {
        let filesystem = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&filesystem)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(&filesystem, flags, MountAttrFlags::empty()).map(Nodes)
    }

    /// Makes the node; its path works for this process and those it starts.
    fn make(&self, name: &str, kind: FileType, (major, minor): (u32, u32)) -> rustix::io::Result<PathBuf> {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(&self.0, name, kind, Mode::from_raw_mode(0o600), device) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        Ok(PathBuf::from(format!("/proc/{}/fd/{}/{name}", std::process::id(), self.0.as_raw_fd())))
    }
}

fn open_control() -> Result<(OwnedFd, Option<Nodes>)> {
    let open = |path: &Path| rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    match open(Path::new("/dev/loop-control")) {
        Ok(control) => return Ok((control, None)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(none(error.into())),
    }
    // Opening a node of our own also makes the kernel load the module.
    let private = || {
        let nodes = Nodes::new()?;
        let control = open(&nodes.make("loop-control", FileType::CharacterDevice, CONTROL)?)?;
        Ok((control, Some(nodes)))
    };
    private().map_err(|error: Errno| none(error.into()))
}

/// The node of device `number`: the host's, else a private one.
fn node(number: u32, nodes: &mut Option<Nodes>) -> Result<PathBuf> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    if fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        return Ok(path);
    }
    // With partitions enabled a device's minor number is not its number.
    let minor = fs::read_to_string(format!("/sys/block/loop{number}/dev"))
        .ok()
        .and_then(|text| text.trim().split_once(':').and_then(|(_, minor)| minor.parse().ok()))
        .unwrap_or(number);
    let mut private = || {
        if nodes.is_none() {
            *nodes = Some(Nodes::new()?);
        }
        let name = format!("loop{number}");
        nodes
            .as_ref()
            .map(|nodes| nodes.make(&name, FileType::BlockDevice, (MAJOR, minor)))
            .unwrap_or(Err(Errno::NOENT))
    };
    private().map_err(|error: Errno| none(error.into()))
}

/// `LOOP_CTL_GET_FREE`: the number of a free device, made if there is none.
struct GetFree;

// SAFETY: the request takes no argument and gives its result as the return value (loop(4)).
unsafe impl Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        raw::LOOP_CTL_GET_FREE as Opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<u32> {
        Ok(output as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn a_loop_device_shows_exactly_its_byte_range_and_goes_away() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut file = File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(b"inside").unwrap();
        let device = match LoopDevice::attach(&path, Bytes(4096), Bytes(8192), Access::Read) {
            Ok(device) => device,
            Err(error) if error.exit() == Exit::HostLacks => {
                println!("skipped: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let node = device.path().to_path_buf();
        let mut content = Vec::new();
        File::open(&node).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!((content.len(), &content[..6]), (8192, b"inside".as_slice()));
        assert!(File::options().write(true).open(&node).and_then(|mut file| file.write_all(b"x")).is_err());
        device.close().unwrap();
        let backing = format!("/sys/block/{}/loop/backing_file", node.file_name().unwrap().to_str().unwrap());
        assert_ne!(fs::read_to_string(backing).unwrap_or_default().trim(), path.to_str().unwrap());
    }
}
