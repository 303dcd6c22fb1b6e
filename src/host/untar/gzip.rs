//! gzip, a whole member at a time where members are small, and several of them on all cores.
//!
//! In: a stream that begins with a gzip header. Out: its content. libdeflate, two to three times as fast as a decoder of
//! streams, needs a member as a whole and room for its content: a member that does not fit, and whatever follows it, goes to
//! zlib. So does a damaged one, for its words. Where the next members begin is guessed from the header of this one, which
//! whoever compresses on several cores repeats; a guess counts only where the member before it really ends. Never holds
//! more than [`INPUT`], and [`OUTPUT`] for each of [`MOST`] members.

use std::collections::VecDeque;
use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use libdeflate_sys as sys;
use rayon::prelude::*;

/// The largest content of a member that is decompressed as a whole.
const OUTPUT: usize = 2 << 20;
/// What may be the rest of one: deflate makes nothing larger by more than a thousandth.
const ENOUGH: usize = OUTPUT + (64 << 10);
/// Members are looked for in so many bytes: what is left of them is moved to the front once for several members.
const INPUT: usize = 4 * ENOUGH;
/// Members that are decompressed at the same time.
const MOST: usize = 8;
/// Length of a header without a name (RFC 1952, 2.3).
const HEADER: usize = 10;

/// Reads what gzip packed, one member or several.
pub struct GzipReader<R> {
    state: State<R>,
}

/// What was read already and not decompressed, and what follows it.
type Rest<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

enum State<R> {
    Members(Box<Members<R>>),
    Stream(Box<MultiGzDecoder<Rest<R>>>),
    /// Between the two.
    Nothing,
}

struct Members<R> {
    source: R,
    at_end: bool,
    input: Vec<u8>,
    /// The first byte of `input` that was not decompressed.
    next: usize,
    slots: Vec<Slot>,
    /// Slots whose members follow each other, the first one first, from `next`.
    ready: VecDeque<usize>,
    /// The slot that is handed out, and what of it was not yet.
    current: usize,
    left: std::ops::Range<usize>,
}

/// Room for one member.
struct Slot {
    decoder: Decoder,
    output: Vec<u8>,
    /// What the member took of the input, and its length.
    read: usize,
    made: usize,
}

impl<R: Read> GzipReader<R> {
    /// Reads nothing yet.
    pub fn new(source: R) -> GzipReader<R> {
        let members = Members {
            source,
            at_end: false,
            input: Vec::new(),
            next: 0,
            slots: vec![Slot::new()],
            ready: VecDeque::new(),
            current: 0,
            left: 0..0,
        };
        GzipReader { state: State::Members(Box::new(members)) }
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let State::Members(members) = &mut self.state {
            match members.read(buffer)? {
                Some(read) => return Ok(read),
                None => {
                    if let State::Members(members) = std::mem::replace(&mut self.state, State::Nothing) {
                        let Members { source, mut input, next, .. } = *members;
                        input.drain(..next);
                        let rest = BufReader::with_capacity(64 << 10, Cursor::new(input).chain(source));
                        self.state = State::Stream(Box::new(MultiGzDecoder::new(rest)));
                    }
                }
            }
        }
        match &mut self.state {
            State::Stream(stream) => stream.read(buffer),
            _ => Ok(0),
        }
    }
}

impl<R: Read> Members<R> {
    /// `None` where the next member does not fit, or is none.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.left.is_empty() {
            if let Some(slot) = self.ready.pop_front() {
                self.next += self.slots[slot].read;
                (self.current, self.left) = (slot, 0..self.slots[slot].made);
                continue;
            }
            self.fill()?;
            // Nothing at all is no archive: zlib says so.
            if self.at_end && self.next == self.input.len() && self.next > 0 {
                return Ok(Some(0));
            }
            self.decompress();
            if self.ready.is_empty() {
                return Ok(None);
            }
        }
        let length = buffer.len().min(self.left.len());
        let output = &self.slots[self.current].output;
        buffer[..length].copy_from_slice(&output[self.left.start..self.left.start + length]);
        self.left.start += length;
        Ok(Some(length))
    }

    /// The next member, and those that follow it as far as their places were guessed.
    fn decompress(&mut self) {
        let starts = self.starts();
        while self.slots.len() < starts.len() {
            self.slots.push(Slot::new());
        }
        let input = &self.input;
        // One member is not worth another thread.
        match starts.as_slice() {
            [only] => self.slots[0].decompress(&input[*only..]),
            _ => {
                let work = self.slots.par_iter_mut().zip(&starts);
                work.for_each(|(slot, start)| slot.decompress(&input[*start..]));
            }
        }
        let mut at = self.next;
        for (slot, start) in starts.into_iter().enumerate() {
            // A member that is none where one had to be ends the row; a header inside another member is none.
            if start > at || (start == at && self.slots[slot].read == 0) {
                break;
            }
            if start == at {
                self.ready.push_back(slot);
                at += self.slots[slot].read;
            }
        }
    }

    /// Where a member begins, and where others seem to that are here as a whole.
    fn starts(&self) -> Vec<usize> {
        let mut starts = vec![self.next];
        let rest = &self.input[self.next..];
        let whole = if self.at_end { rest.len() } else { rest.len().saturating_sub(ENOUGH) };
        let most = rayon::current_num_threads().saturating_mul(2).min(MOST);
        if let Some(header) = rest.get(..HEADER)
            && whole > HEADER
        {
            let others = memchr::memmem::find_iter(&rest[HEADER..], header).map(|at| at + HEADER);
            starts.extend(others.take_while(|at| *at <= whole).take(most - 1).map(|at| self.next + at));
        }
        starts
    }

    /// Gets as much as a member may take.
    fn fill(&mut self) -> io::Result<()> {
        if self.at_end || self.input.len() - self.next >= ENOUGH {
            return Ok(());
        }
        // One byte stays, so that the end of the last member is told from an empty stream.
        let unused = self.next.saturating_sub(1);
        self.input.drain(..unused);
        self.next -= unused;
        let room = (INPUT - self.input.len()) as u64;
        let read = self.source.by_ref().take(room).read_to_end(&mut self.input)?;
        self.at_end = (read as u64) < room;
        Ok(())
    }
}

impl Slot {
    fn new() -> Slot {
        Slot { decoder: Decoder::new(), output: vec![0; OUTPUT], read: 0, made: 0 }
    }

    /// Decompresses what `input` begins with; nothing was read where that is no member, or too large.
    fn decompress(&mut self, input: &[u8]) {
        (self.read, self.made) = self.decoder.member(input, &mut self.output).unwrap_or_default();
    }
}

/// libdeflate's decoder.
pub(super) struct Decoder(std::ptr::NonNull<sys::libdeflate_decompressor>);

// SAFETY: the decoder is memory of its own, without ties to a thread (libdeflate.h: one thread at a time).
unsafe impl Send for Decoder {}

impl Decoder {
    pub fn new() -> Decoder {
        // SAFETY: no arguments; null where there is no memory.
        match std::ptr::NonNull::new(unsafe { sys::libdeflate_alloc_decompressor() }) {
            Some(decoder) => Decoder(decoder),
            None => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u64; 1 << 10]>()),
        }
    }

    /// Bytes of `input` that the first member takes, and of its content in `output`; `None` where it is cut off, damaged, or
    /// too large.
    pub fn member(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize)> {
        let (mut read, mut made) = (0, 0);
        // SAFETY: both pointers are to slices of these lengths, which live until the call returns.
        let result = unsafe {
            sys::libdeflate_gzip_decompress_ex(
                self.0.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                output.as_mut_ptr().cast(),
                output.len(),
                &raw mut read,
                &raw mut made,
            )
        };
        (result == sys::libdeflate_result_LIBDEFLATE_SUCCESS && read > 0).then_some((read, made))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was allocated by libdeflate, and nobody else has it.
        unsafe { sys::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzipReader::new(packed).read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = length as u64 + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn members_of_every_length_give_their_content_in_order() {
        let lengths = [0, 1, 700_000, 0, OUTPUT - 1, OUTPUT, 5, OUTPUT + 1, 3 * OUTPUT, 9];
        for chosen in 0..1_usize << lengths.len() {
            // Each length somewhere, and many orders; not all of them, which takes minutes.
            if chosen.count_ones() != 1 && chosen % 89 != 0 || chosen == 0 {
                continue;
            }
            let plain: Vec<Vec<u8>> =
                (0..lengths.len()).filter(|at| chosen >> at & 1 == 1).map(|at| noise(lengths[at])).collect();
            let whole: Vec<u8> = plain.iter().flat_map(|plain| packed(plain)).collect();
            assert!(unpacked(&whole).unwrap() == plain.concat(), "{chosen:b}");
        }
    }

    #[test]
    fn many_members_are_read_in_pieces_of_any_size() {
        let plain = noise(40 << 20);
        let whole: Vec<u8> = plain.chunks(1 << 20).flat_map(packed).collect();
        assert!(whole.len() > 2 * INPUT);
        assert!(unpacked(&whole).unwrap() == plain);
        let mut reader = GzipReader::new(whole.as_slice());
        let mut piece = vec![0; 777_777];
        let mut back = Vec::new();
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => break,
                read => back.extend_from_slice(&piece[..read]),
            }
        }
        assert!(back == plain);
    }

    #[test]
    fn a_header_inside_of_a_member_is_no_member() {
        // Stored blocks hold their content as it is.
        let stored = |plain: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        };
        let header = stored(b"")[..HEADER].to_vec();
        let inner = stored(&noise(50_000));
        // A header alone, whole members, and one that goes on behind the end of the member that it is in.
        let contents = [header.repeat(20), inner.repeat(3), inner[..inner.len() - 1].to_vec(), noise(300_000), header];
        let whole: Vec<u8> = contents.iter().flat_map(|content| stored(content)).collect();
        assert!(memchr::memmem::find_iter(&whole, &contents[4]).count() > 20);
        assert!(unpacked(&whole).unwrap() == contents.concat());
    }

    #[test]
    fn what_is_cut_off_damaged_or_no_gzip_is_an_error() {
        let (one, two) = (packed(&noise(300_000)), packed(&noise(400_000)));
        let whole = [one.as_slice(), &two].concat();
        for length in [0, 1, 9, one.len() - 1, one.len() + 1, whole.len() - 1] {
            assert!(unpacked(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(unpacked(&whole[..one.len()]).unwrap().len(), 300_000);
        for at in [0, one.len() / 2, one.len() - 6, one.len() + 1, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert!(unpacked(&damaged).is_err(), "{at}");
        }
        assert!(unpacked(&[whole.as_slice(), b"more"].concat()).is_err());
    }
}
