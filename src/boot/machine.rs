//! The virtual machine: QEMU's arguments.
//!
//! In: a disk, a firmware. Out: the command. Refuses a disk that refers to other files: QEMU would open them.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Acceleration, Firmware, Machine};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format;
use crate::host::file;
use crate::host::program::Program;

/// Where the serial console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// To QEMU's stdout, nothing comes in.
    Piped,
    /// To the terminal, with QEMU's monitor behind Ctrl-A.
    Terminal,
}

/// Code and variables of OVMF, as Debian, Fedora, openSUSE and Arch install them.
const OVMF: [(&str, &str); 6] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

/// The command. 66 where the image is missing, 65 where it is no disk, 69 where the host lacks firmware or KVM.
pub fn program(machine: &Machine, console: Console) -> Result<Program> {
    let image = file::canonical(&machine.image)?;
    let format = self::format(&image)?;
    let mut program = Program::new("qemu-system-x86_64").args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    program = match machine.acceleration {
        Acceleration::Tcg => program.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]),
        Acceleration::Kvm => {
            file::open_for_update(Path::new("/dev/kvm")).map_err(|error| {
                error.within("use KVM").with_exit(Exit::HostLacks).hint("leave out --accel kvm: TCG works everywhere")
            })?;
            program.args(["-accel", "kvm", "-cpu", "host"])
        }
    };
    program = program.args(["-machine", "q35", "-smp", "2", "-m", &machine.memory.to_string()]);
    program = program.args(["-device", "virtio-rng-pci", "-vga", "std"]);
    // Commas are doubled in the values of QEMU's options.
    let quoted = |path: &Path| path.display().to_string().replace(',', ",,");
    if machine.firmware == Firmware::Uefi {
        let (code, variables) = ovmf()?;
        let flash = |unit: u32, path: &Path, more: &str| {
            format!("if=pflash,unit={unit},format=raw,file={},{more}", quoted(path))
        };
        program = program.args(["-drive", &flash(0, &code, "readonly=on")]);
        program = program.args(["-drive", &flash(1, &variables, "snapshot=on")]);
    }
    let disk = format!("if=virtio,format={format},snapshot=on,file={}", quoted(&image));
    program = program.args(["-drive", &disk]);
    // An address for those who wait for one, and nothing behind it.
    let network = match console {
        Console::Piped => "user,model=virtio-net-pci,restrict=on",
        Console::Terminal => "user,model=virtio-net-pci",
    };
    program = program.args(["-nic", network, "-display", "none"]);
    Ok(match console {
        Console::Piped => program.args(["-serial", "stdio", "-monitor", "none"]),
        Console::Terminal => program.args(["-serial", "mon:stdio"]),
    })
}

fn ovmf() -> Result<(PathBuf, PathBuf)> {
    let found =
        OVMF.iter().find(|(code, variables)| [code, variables].iter().all(|path| file::is_file(Path::new(path))));
    found.map(|(code, variables)| (code.into(), variables.into())).ok_or_else(|| {
        Error::cannot(Exit::HostLacks, "boot with UEFI")
            .because("this host has no OVMF")
            .hint("install the package ovmf")
    })
}

/// QEMU's name of the format, by the content of the file; the format is never left to QEMU's guess.
fn format(image: &Path) -> Result<&'static str> {
    let refuse = |why: &str| Err(Error::cannot(Exit::Description, format!("boot {}", image.display())).because(why));
    if !file::is_file(image) {
        return refuse("it is not a file");
    }
    // What refers to other files is refused there.
    let disk = format::open(image).map_err(|error| error.within(format!("boot {}", image.display())))?;
    Ok(match disk.format() {
        "vhd" | "vhd-fixed" => "vpc",
        "raw" => {
            let mut head = Vec::new();
            file::open(image)?.take(512).read_to_end(&mut head).or_cannot(|| format!("read {}", image.display()))?;
            if head.get(510..512) != Some(&[0x55, 0xaa]) {
                return refuse("it is no disk image, and no raw disk with a partition table");
            }
            "raw"
        }
        name => name,
    })
}
