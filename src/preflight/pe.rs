//! EFI programs: their sections, and whether they are signed.
//!
//! In: the first bytes of a PE file, or all of it. Out: sections, and the size of its certificates. Layout: Microsoft's PE
//! format. Never verifies a signature: which keys a firmware trusts is not known here.

/// Most sections that are read (the format's own limit).
const MOST_SECTIONS: usize = 96;
/// Where the certificates are among the data directories.
const CERTIFICATES: usize = 4;

/// A section's name, offset in the file, and length.
pub type Section = (String, usize, usize);

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 2).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

/// Where the COFF header stands; `None` where it is no PE file.
fn header(bytes: &[u8]) -> Option<usize> {
    let at = u32_at(bytes, 0x3c).filter(|_| bytes.starts_with(b"MZ"))?;
    (bytes.get(at..at.checked_add(4)?)? == b"PE\0\0").then_some(at + 4)
}

/// Whether these bytes begin an EFI program.
pub fn is_program(bytes: &[u8]) -> bool {
    header(bytes).is_some()
}

/// Whether it carries certificates; `None` where it is no PE file.
pub fn is_signed(bytes: &[u8]) -> Option<bool> {
    let optional = header(bytes)? + 20;
    // PE32+ has wider fields in front of the directories than PE32.
    let directories = match u16_at(bytes, optional)? {
        0x20b => optional + 112,
        0x10b => optional + 96,
        _ => return None,
    };
    let number = u32_at(bytes, directories - 4)?;
    let size = u32_at(bytes, directories + 8 * CERTIFICATES + 4)?;
    Some(number > CERTIFICATES && size > 0)
}

/// The sections.
pub fn sections(bytes: &[u8]) -> Option<Vec<Section>> {
    let coff = header(bytes)?;
    let number = u16_at(bytes, coff + 2)?.min(MOST_SECTIONS);
    let first = coff + 20 + u16_at(bytes, coff + 16)?;
    let section = |index: usize| {
        let at = first + 40 * index;
        let name = bytes.get(at..at + 8)?;
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_string();
        // The virtual size is that of the content, the raw size is padded.
        let length = u32_at(bytes, at + 8)?.min(u32_at(bytes, at + 16)?);
        Some((name, u32_at(bytes, at + 20)?, length))
    };
    (0..number).map(section).collect()
}

/// The bytes of a section.
pub fn section<'a>(bytes: &'a [u8], sections: &[Section], name: &str) -> Option<&'a [u8]> {
    let (_, at, length) = sections.iter().find(|(found, _, _)| found == name)?;
    bytes.get(*at..at.checked_add(*length)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An EFI program with these sections.
    pub(in crate::preflight) fn program(content: &[(&str, &[u8])], certificates: u32) -> Vec<u8> {
        let mut file = vec![0; 0x40];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file.extend(b"PE\0\0");
        let mut coff = [0_u8; 20];
        coff[2] = content.len() as u8;
        coff[16] = 240;
        file.extend(coff);
        let mut optional = vec![0; 240];
        optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
        optional[108..112].copy_from_slice(&16_u32.to_le_bytes());
        optional[112 + 36..112 + 40].copy_from_slice(&certificates.to_le_bytes());
        file.extend(optional);
        let mut at = file.len() + 40 * content.len();
        for (name, data) in content {
            let mut header = [0; 40];
            header[..name.len()].copy_from_slice(name.as_bytes());
            for place in [8, 16] {
                header[place..place + 4].copy_from_slice(&(data.len() as u32).to_le_bytes());
            }
            header[20..24].copy_from_slice(&(at as u32).to_le_bytes());
            at += data.len();
            file.extend(header);
        }
        content.iter().for_each(|(_, data)| file.extend(*data));
        file
    }

    #[test]
    fn sections_and_signatures_are_found_and_damage_is_none() {
        let file = program(&[(".cmdline", b"console=ttyS0"), (".linux", b"kernel")], 8);
        let found = sections(&file).unwrap();
        assert_eq!(section(&file, &found, ".cmdline"), Some(&b"console=ttyS0"[..]));
        assert_eq!(section(&file, &found, ".initrd"), None);
        assert_eq!(is_signed(&file), Some(true));
        assert_eq!(is_signed(&program(&[], 0)), Some(false));
        assert_eq!(is_signed(b"MZ hello"), None);
        for at in 0..file.len() {
            let _ = (sections(&file[..at]), is_signed(&file[..at]));
            let mut damaged = file.clone();
            damaged[at] = 0xff;
            if let Some(found) = sections(&damaged) {
                let _ = (section(&damaged, &found, ".linux"), is_signed(&damaged));
            }
        }
    }
}
