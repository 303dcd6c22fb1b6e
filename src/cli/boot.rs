//! `ingot boot`: a disk in QEMU.
//!
//! In: an image, a firmware, a text to wait for. Out: the verdict on stderr, or a machine on this terminal. Never changes
//! the image.

use std::time::Duration;

use super::{AccelerationChoice, BootArguments, FirmwareChoice};
use crate::boot::{Acceleration, Expectation, Firmware, Machine, interactive, trial};
use crate::error::Result;
use crate::report::{Reporter, Verbosity};

/// 0 where the text was seen and no unit failed; the error says why not (exit code 1).
pub fn run(arguments: &BootArguments) -> Result<u8> {
    let machine = Machine {
        image: arguments.image.clone(),
        firmware: match arguments.firmware {
            FirmwareChoice::Bios => Firmware::Bios,
            FirmwareChoice::Uefi => Firmware::Uefi,
        },
        acceleration: match arguments.accel {
            AccelerationChoice::Tcg => Acceleration::Tcg,
            AccelerationChoice::Kvm => Acceleration::Kvm,
        },
        memory: arguments.memory,
    };
    match &arguments.expect {
        None => interactive(&machine)?,
        Some(text) => {
            // No events are written: nobody asks what time it is.
            let reporter = Reporter::new(Verbosity::Steps, None, || Duration::ZERO);
            let expectation = Expectation { text: text.clone(), timeout: Duration::from_secs(arguments.timeout) };
            trial(&machine, &expectation, &reporter)?;
        }
    }
    Ok(0)
}
