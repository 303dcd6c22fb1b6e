//! The members of a tar archive: ustar, PAX, GNU and v7 headers (pax(1), tar(5), GNU tar's "Basic Tar Format").
//!
//! In: any bytes. Out: [`Member`]s and their data. Never believes a length: names and records are bounded, maps of
//! sparse files must fit. The `tar` crate is not used here: it cuts PAX records at newlines, and names and
//! capabilities may hold any byte.

use std::io::{self, ErrorKind, Read};

use super::super::rooted::Kind;

const BLOCK: usize = 512;
/// Longest PAX header or GNU long name that is read into memory.
const LONGEST_HEADER: u64 = 1 << 20;
/// Most segments of a sparse file.
const MOST_SEGMENTS: u64 = 1 << 18;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A thing of its own.
    Is(Kind),
    /// Another name of the member with this name, as the archive spells it.
    HardLink(Vec<u8>),
}

/// Which forms of headers a member uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A ustar, GNU or v7 header, at most with GNU's long names: all that dpkg reads (deb(5)).
    Plain,
    /// PAX records, holes, or a type of GNU's own.
    Extended,
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name as the archive spells it: `./etc/passwd`, `/etc/passwd`, any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub what: What,
    /// Permission bits with setuid, setgid and sticky (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name as the header has it; often empty.
    pub user_name: Vec<u8>,
    /// The group's name as the header has it; often empty.
    pub group_name: Vec<u8>,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nanoseconds: u32,
    /// Length of the file in bytes, holes included.
    pub size: u64,
    /// Extended attributes (`SCHILY.xattr.`), sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Records that are understood and not restored (`SCHILY.acl.access`, `RHT.security.selinux`).
    pub not_restored: Vec<String>,
    /// Offset of the member's data from the beginning of the archive, in bytes.
    pub offset: u64,
    /// Where data lies in a sparse file: (offset in the file, length), ascending; `None`: the file has no holes.
    pub segments: Option<Vec<(u64, u64)>>,
    /// Which forms of headers it uses.
    pub dialect: Dialect,
}

/// Reads the members of an archive one after the other.
#[derive(Debug)]
pub struct Members<R> {
    input: R,
    position: u64,
    left: u64,
    padding: u64,
    global: Records,
}

/// `path`, `size` and so on, as PAX headers give them; later records win.
#[derive(Clone, Debug, Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn number(&self, key: &str) -> io::Result<Option<u64>> {
        self.get(key)
            .map(|text| decimal(text).ok_or_else(|| invalid(format!("its PAX record `{key}` is no number"))))
            .transpose()
    }

    /// `LENGTH KEY=VALUE\n` again and again; the length counts itself and the newline.
    fn add(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let bad = || invalid("a PAX header is malformed");
            let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = decimal(&data[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
            if length > data.len() || length < space + 3 || data[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            self.0.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
            data = &data[length..];
        }
        Ok(())
    }
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.into())
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `1700000000.123456789`, possibly negative: whole seconds, rounded down, and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// A numeric field: octal text, or GNU's base-256 with the high bit set (negative where the first byte is 0xff).
fn field(bytes: &[u8], name: &str) -> io::Result<i64> {
    let bad = || invalid(format!("its header field `{name}` is no number"));
    if bytes[0] & 0x80 != 0 {
        let negative = bytes[0] == 0xff;
        let mut value: i128 = if negative { -1 } else { i128::from(bytes[0] & 0x7f) };
        for byte in &bytes[1..] {
            value = (value << 8) | i128::from(*byte);
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| i64::from_str_radix(text, 8).ok())
        .filter(|n| *n >= 0)
        .ok_or_else(bad)
}

fn unsigned(bytes: &[u8], name: &str) -> io::Result<u64> {
    u64::try_from(field(bytes, name)?).map_err(|_| invalid(format!("its header field `{name}` is negative")))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn id(number: u64, name: &str) -> io::Result<u32> {
    // The largest 32-bit id means "no change" to chown(2).
    u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or_else(|| invalid(format!("its {name} is too large")))
}

impl<R: Read> Members<R> {
    /// Reads from the beginning of an uncompressed archive.
    pub fn new(input: R) -> Members<R> {
        Members { input, position: 0, left: 0, padding: 0, global: Records::default() }
    }

    /// The next member; what was not read of the one before is skipped. `None` at the end of the archive.
    /// Errors of kind `InvalidData` say what is wrong with the archive.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let mut records = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_rest()?;
            let mut header = [0; BLOCK];
            if !self.fill(&mut header)? || header.iter().all(|byte| *byte == 0) {
                return self.end(records.0.len() > self.global.0.len() || long_name.is_some());
            }
            check(&header)?;
            let size = unsigned(&header[124..136], "size")?;
            self.left = size;
            self.padding = padding(size);
            match header[156] {
                b'x' | b'X' => records.add(&self.header_data(size)?)?,
                b'g' => {
                    let data = self.header_data(size)?;
                    self.global.add(&data)?;
                    // Global records stand before the member's own.
                    let own = std::mem::replace(&mut records, self.global.clone());
                    records.0.extend(own.0);
                }
                b'L' => long_name = Some(until_nul(&self.header_data(size)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.header_data(size)?).to_vec()),
                b'V' => {}
                _ => return self.member(&header, &records, long_name, long_link).map(Some),
            }
        }
    }

    fn end(&mut self, dangling: bool) -> io::Result<Option<Member>> {
        if dangling {
            return Err(invalid("it ends after an extended header"));
        }
        // A decompressor verifies its checksum at the end, and a pipe's writer wants to finish.
        let mut rest = vec![0; 64 << 10];
        for _ in 0..256 {
            if self.read_some(&mut rest)? == 0 {
                break;
            }
        }
        Ok(None)
    }

    fn member(
        &mut self,
        header: &[u8; BLOCK],
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Member> {
        let ustar = &header[257..263] == b"ustar\0";
        let mut name = until_nul(&header[..100]).to_vec();
        let prefix = until_nul(&header[345..500]);
        if ustar && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let name = records.get("path").map(<[u8]>::to_vec).or(long_name).unwrap_or(name);
        let name = records.get("GNU.sparse.name").map(<[u8]>::to_vec).unwrap_or(name);
        let link = until_nul(&header[157..257]).to_vec();
        let link = records.get("linkpath").map(<[u8]>::to_vec).or(long_link).unwrap_or(link);
        if name.contains(&0) || link.contains(&0) {
            return Err(invalid("a name holds a NUL byte"));
        }
        let of = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", name.escape_ascii()));
        if let Some(size) = records.number("size").map_err(of)? {
            self.left = size;
            self.padding = padding(size);
        }
        if header[156] == b'1' && records.get("size").is_none() {
            // Old writers put the file's length here, and no data (GNU tar reads it so too).
            (self.left, self.padding) = (0, 0);
        }
        let device = || -> io::Result<(u32, u32)> {
            let number = |range: std::ops::Range<usize>| id(unsigned(&header[range], "device")?, "device number");
            Ok((number(329..337)?, number(337..345)?))
        };
        let what = match header[156] {
            0 | b'0' | b'7' if name.ends_with(b"/") => What::Is(Kind::Folder),
            0 | b'0' | b'7' | b'S' => What::Is(Kind::File),
            b'1' => What::HardLink(link),
            b'2' => What::Is(Kind::Symlink(link)),
            b'3' => device().map(|(major, minor)| What::Is(Kind::CharDevice { major, minor })).map_err(of)?,
            b'4' => device().map(|(major, minor)| What::Is(Kind::BlockDevice { major, minor })).map_err(of)?,
            b'5' | b'D' => What::Is(Kind::Folder),
            b'6' => What::Is(Kind::Fifo),
            other => return Err(of(invalid(format!("members of type {:?} are not known", char::from(other))))),
        };
        let number = |key: &str, range: std::ops::Range<usize>| match records.number(key)? {
            Some(number) => Ok(number),
            None => unsigned(&header[range], key),
        };
        let (mtime, mtime_nanoseconds) = match records.get("mtime") {
            Some(text) => time(text).ok_or_else(|| of(invalid("its PAX record `mtime` is no time")))?,
            None => (field(&header[136..148], "mtime").map_err(of)?, 0),
        };
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut not_restored = Vec::new();
        for (key, value) in &records.0 {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                xattrs.retain(|(other, _)| other != name);
                xattrs.push((name.to_vec(), value.clone()));
            } else if key.starts_with(b"SCHILY.acl.") || key.starts_with(b"RHT.security.") {
                not_restored.push(String::from_utf8_lossy(key).into_owned());
            }
        }
        xattrs.sort();
        let mut member = Member {
            what,
            mode: (field(&header[100..108], "mode").map_err(of)? & 0o7777) as u32,
            uid: id(number("uid", 108..116).map_err(of)?, "owner").map_err(of)?,
            gid: id(number("gid", 116..124).map_err(of)?, "group").map_err(of)?,
            user_name: until_nul(&header[265..297]).to_vec(),
            group_name: until_nul(&header[297..329]).to_vec(),
            mtime,
            mtime_nanoseconds,
            size: self.left,
            xattrs,
            not_restored,
            offset: self.position,
            segments: None,
            dialect: if records.0.is_empty() && matches!(header[156], 0 | b'0'..=b'6') {
                Dialect::Plain
            } else {
                Dialect::Extended
            },
            name: name.clone(),
        };
        if header[156] == b'S' {
            self.old_sparse(header, &mut member).map_err(of)?;
        } else if member.what == What::Is(Kind::File) {
            self.pax_sparse(records, &mut member).map_err(of)?;
        }
        member.offset = self.position;
        if let Some(segments) = &member.segments {
            fits(segments, self.left, member.size).map_err(of)?;
        }
        Ok(member)
    }

    /// GNU's own sparse header: four segments, then blocks of 21 more.
    fn old_sparse(&mut self, header: &[u8; BLOCK], member: &mut Member) -> io::Result<()> {
        let mut segments = Vec::new();
        let mut take = |bytes: &[u8]| -> io::Result<()> {
            for pair in bytes.chunks_exact(24).filter(|pair| pair[0] != 0) {
                segments.push((unsigned(&pair[..12], "sparse offset")?, unsigned(&pair[12..], "sparse length")?));
            }
            Ok(())
        };
        take(&header[386..482])?;
        let mut more = header[482] != 0;
        let mut blocks = 0;
        while more {
            let mut block = [0; BLOCK];
            blocks += 1;
            if blocks > MOST_SEGMENTS / 21 || !self.fill(&mut block)? {
                return Err(invalid("its map of holes does not end"));
            }
            take(&block[..504])?;
            more = block[504] != 0;
        }
        member.size = unsigned(&header[483..495], "real size")?;
        member.segments = Some(segments);
        Ok(())
    }

    /// GNU's PAX forms 0.0, 0.1 and 1.0 (GNU tar's manual, "Storing Sparse Files").
    fn pax_sparse(&mut self, records: &Records, member: &mut Member) -> io::Result<()> {
        let bad = || invalid("its map of holes is malformed");
        let size = records.number("GNU.sparse.realsize")?.or(records.number("GNU.sparse.size")?);
        let Some(size) = size else { return Ok(()) };
        let numbers: Vec<u64> = if records.get("GNU.sparse.major") == Some(b"1") {
            self.sparse_map_in_data()?
        } else if let Some(map) = records.get("GNU.sparse.map") {
            map.split(|byte| *byte == b',')
                .filter(|text| !text.is_empty())
                .map(|text| decimal(text).ok_or_else(bad))
                .collect::<io::Result<_>>()?
        } else {
            let pairs =
                records.0.iter().filter(|(key, _)| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes");
            pairs.map(|(_, value)| decimal(value).ok_or_else(bad)).collect::<io::Result<_>>()?
        };
        if !numbers.len().is_multiple_of(2) {
            return Err(bad());
        }
        member.size = size;
        member.segments = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
        Ok(())
    }

    /// Format 1.0: the data begins with a count and its pairs, one decimal number a line, filled up to a block.
    fn sparse_map_in_data(&mut self) -> io::Result<Vec<u64>> {
        let bad = || invalid("its map of holes is malformed");
        let (mut numbers, mut wanted, mut digits) = (Vec::new(), 1_u64, Vec::new());
        loop {
            let mut block = [0; BLOCK];
            if self.left < BLOCK as u64 || !self.fill(&mut block)? {
                return Err(bad());
            }
            self.left -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                    b'\n' => {
                        numbers.push(decimal(&digits).ok_or_else(bad)?);
                        digits.clear();
                    }
                    _ => return Err(bad()),
                }
                if numbers.len() == 1 {
                    wanted = Some(numbers[0]).filter(|count| *count <= MOST_SEGMENTS).ok_or_else(bad)? * 2 + 1;
                }
                if numbers.len() as u64 == wanted {
                    numbers.remove(0);
                    return Ok(numbers);
                }
            }
        }
    }

    /// Bytes of the current member's data that were not read yet, as they are stored.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn header_data(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST_HEADER {
            return Err(invalid(format!("an extended header of {size} bytes is too long")));
        }
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data)?;
        Ok(data)
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let mut scratch = [0; 16 << 10];
        let mut rest = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        while rest > 0 {
            let length = rest.min(scratch.len() as u64) as usize;
            let read = self.read_some(&mut scratch[..length])?;
            if read == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the archive ends in the middle of a member"));
            }
            rest -= read as u64;
        }
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A whole block, or false where the archive ends right before it.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_some(&mut block[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the archive ends in the middle of a header"));
                }
                read => filled += read,
            }
        }
        Ok(true)
    }
}

/// The current member's data as it is stored (a sparse file's segments follow each other).
impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let read = self.read_some(&mut buffer[..length])?;
        if read == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the archive ends in the middle of a member"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// The checksum: the sum of all bytes, its own field counted as spaces; old writers summed signed bytes.
fn check(header: &[u8; BLOCK]) -> io::Result<()> {
    let stored = field(&header[148..156], "checksum").map_err(|_| invalid("it is no tar archive"))?;
    let bytes = || header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned_sum: i64 = bytes().map(i64::from).sum();
    let signed_sum: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    if stored == unsigned_sum || stored == signed_sum { Ok(()) } else { Err(invalid("a header's checksum is wrong")) }
}

/// Segments ascend, do not overlap, lie inside the file and are together as long as the stored data.
fn fits(segments: &[(u64, u64)], stored: u64, size: u64) -> io::Result<()> {
    let bad = || invalid("its map of holes does not fit its data");
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, length) in segments {
        if *offset < end {
            return Err(bad());
        }
        end = offset.checked_add(*length).ok_or_else(bad)?;
        sum = sum.checked_add(*length).ok_or_else(bad)?;
    }
    if end > size || sum != stored { Err(bad()) } else { Ok(()) }
}
