//! A VHD's footer and the header of one that grows ("Virtual Hard Disk Image Format Specification", Microsoft, 2006).
//!
//! In: what they say. Out: their bytes, checksums included; and back. All numbers are big-endian.

use crate::error::Result;
use crate::format::mapped::damaged;
use crate::plan::Uuid;

/// Length of the footer.
pub const LENGTH: u64 = 512;
/// Length of the header behind the footer's copy.
pub const HEADER: u64 = 1024;
/// What a footer begins with.
pub const COOKIE: &[u8; 8] = b"conectix";
const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
/// Seconds between 1970 and 2000.
const EPOCH: i64 = 946_684_800;
/// Beyond this geometry only the size counts.
const MOST_CYLINDERS: u64 = 65535;
/// Sectors of the largest geometry.
pub const MOST_IN_GEOMETRY: u64 = MOST_CYLINDERS * 16 * 255;

/// Cylinders, heads, sectors of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub track: u8,
}

impl Geometry {
    /// The geometry that the specification's appendix gives a disk of so many sectors; it holds no more than these.
    pub fn of(sectors: u64) -> Geometry {
        let sectors = sectors.min(MOST_IN_GEOMETRY);
        let (heads, track, tracks);
        if sectors >= MOST_CYLINDERS * 16 * 63 {
            (heads, track, tracks) = (16, 255, sectors / 255);
        } else {
            let few = (sectors / 17).div_ceil(1024).max(4);
            if few <= 16 && sectors / 17 < few * 1024 {
                (heads, track, tracks) = (few, 17, sectors / 17);
            } else if sectors / 31 < 16 * 1024 {
                (heads, track, tracks) = (16, 31, sectors / 31);
            } else {
                (heads, track, tracks) = (16, 63, sectors / 63);
            }
        }
        Geometry { cylinders: (tracks / heads) as u16, heads: heads as u8, track }
    }

    /// How many sectors it has.
    pub fn sectors(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.track)
    }

    /// The least number of sectors, `sectors` at least, that is exactly a geometry's: what readers that go by the
    /// geometry see all of. Larger disks than any geometry stay as they are.
    pub fn rounded(sectors: u64) -> u64 {
        if sectors > MOST_IN_GEOMETRY {
            return sectors;
        }
        let all = (sectors..).map(|wanted| Geometry::of(wanted).sectors());
        all.into_iter().find(|have| *have >= sectors).unwrap_or(sectors)
    }
}

/// Which kind of VHD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The disk as it is, and the footer.
    Fixed,
    /// Blocks that hold something.
    Dynamic,
}

/// What decides how large readers find the disk: QEMU and others go by the geometry unless they know the creator as one
/// whose sizes are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeBy {
    /// The geometry, which holds exactly the size.
    Geometry,
    /// The size, whatever the geometry (`force_size`).
    Size,
}

/// What a footer says.
#[derive(Clone, Copy, Debug)]
pub struct Footer {
    /// Which kind.
    pub kind: Kind,
    /// Size of the virtual disk in bytes.
    pub size: u64,
    /// What readers go by.
    pub size_by: SizeBy,
    /// Its id.
    pub uuid: Uuid,
    /// Seconds since 1970.
    pub epoch: i64,
}

impl Footer {
    /// The footer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let geometry = Geometry::of(self.size / 512);
        let mut bytes = Vec::with_capacity(LENGTH as usize);
        bytes.extend(COOKIE);
        bytes.extend(2_u32.to_be_bytes());
        bytes.extend(0x0001_0000_u32.to_be_bytes());
        let header = if self.kind == Kind::Fixed { u64::MAX } else { LENGTH };
        bytes.extend(header.to_be_bytes());
        bytes.extend(u32::try_from(self.epoch - EPOCH).unwrap_or(0).to_be_bytes());
        // Hyper-V's sign says that the size is exact; what nobody knows is measured by its geometry.
        bytes.extend(if self.size_by == SizeBy::Size { b"win " } else { b"ingt" });
        bytes.extend(0x0001_0000_u32.to_be_bytes());
        bytes.extend(b"Wi2k");
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(geometry.cylinders.to_be_bytes());
        bytes.extend([geometry.heads, geometry.track]);
        let kind: u32 = if self.kind == Kind::Fixed { 2 } else { 3 };
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.uuid.0);
        bytes.resize(LENGTH as usize, 0);
        sum_into(&mut bytes, 64);
        bytes
    }
}

/// The header of a VHD that grows: its table of `blocks` entries lies behind it.
pub fn header(blocks: u32, block: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER as usize);
    bytes.extend(HEADER_COOKIE);
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend((LENGTH + HEADER).to_be_bytes());
    bytes.extend(0x0001_0000_u32.to_be_bytes());
    bytes.extend(blocks.to_be_bytes());
    bytes.extend(block.to_be_bytes());
    bytes.resize(HEADER as usize, 0);
    sum_into(&mut bytes, 36);
    bytes
}

/// Puts the checksum to `at`: the complement of the sum of all other bytes.
fn sum_into(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes, at);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}

fn checksum(bytes: &[u8], at: usize) -> u32 {
    let counted = bytes.iter().enumerate().filter(|(index, _)| !(at..at + 4).contains(index));
    !counted.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// What a reader needs of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// `2`, `3` or, for one that needs a parent, `4`.
    pub kind: u32,
    /// Size of the virtual disk in bytes.
    pub size: u64,
    /// Where the header lies.
    pub header: u64,
}

/// Reads a footer; 65 where it is damaged. `false` in the answer's place stands nothing: what is no footer is damaged.
pub fn decode(bytes: &[u8]) -> Result<Read> {
    if bytes.len() < LENGTH as usize || !bytes.starts_with(COOKIE) {
        return Err(damaged("vhd", "it has no footer"));
    }
    let bytes = &bytes[..LENGTH as usize];
    if number(bytes, 64) != checksum(bytes, 64) {
        return Err(damaged("vhd", "the footer's checksum does not match"));
    }
    let geometry =
        Geometry { cylinders: u16::from_be_bytes([bytes[56], bytes[57]]), heads: bytes[58], track: bytes[59] };
    let exact: &[&[u8]] = &[b"win ", b"qem2", b"d2v ", b"tap\0", b"CXSF"];
    let by_size = exact.contains(&&bytes[28..32]) || geometry.sectors() >= MOST_IN_GEOMETRY;
    let size = if by_size { long(bytes, 48) } else { geometry.sectors() * 512 };
    Ok(Read { kind: number(bytes, 60), size, header: long(bytes, 16) })
}

/// Reads the header of a VHD that grows: where its table lies, how many entries it has, how long a block is.
pub fn decode_header(bytes: &[u8]) -> Result<(u64, u32, u32)> {
    if bytes.len() < HEADER as usize || !bytes.starts_with(HEADER_COOKIE) {
        return Err(damaged("vhd", "its header is missing"));
    }
    if number(bytes, 36) != checksum(&bytes[..HEADER as usize], 36) {
        return Err(damaged("vhd", "the header's checksum does not match"));
    }
    Ok((long(bytes, 16), number(bytes, 28), number(bytes, 32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_those_of_the_specification() {
        for (sectors, cylinders, heads, track) in [
            (0, 0, 4, 17),
            (2048, 30, 4, 17),
            (69_631, 1023, 4, 17),
            (69_632, 140, 16, 31),
            (208_845, 1023, 12, 17),
            (4_194_304, 4161, 16, 63),
            (66_059_279, 65534, 16, 63),
            (66_059_280, 16191, 16, 255),
            (83_886_080, 20560, 16, 255),
            (1 << 40, 65535, 16, 255),
        ] {
            assert_eq!(Geometry::of(sectors), Geometry { cylinders, heads, track }, "{sectors}");
        }
        for sectors in [1, 2048, 10_000, 1 << 21, 62_914_560, MOST_IN_GEOMETRY] {
            let rounded = Geometry::rounded(sectors);
            assert!(rounded >= sectors && rounded < sectors + 16 * 255, "{sectors} became {rounded}");
            assert_eq!(Geometry::of(rounded).sectors(), rounded);
        }
        assert_eq!(Geometry::rounded(MOST_IN_GEOMETRY + 1), MOST_IN_GEOMETRY + 1);
    }
}
