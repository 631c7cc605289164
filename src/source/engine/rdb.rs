//! Whether bytes are a whole RDB file, the form in which Redis and Valkey give their data.
//!
//! What must hold: what was cut off, changed or never such a file is an error; nothing is given beyond the file's own
//! end.
//!
//! A server that sends its data without a file of its own does not know their length beforehand. It ends them by a mark
//! of 40 characters, which `redis-cli` recognises, but leaves in place when it writes to its standard output. So the
//! last bytes are held back until the file's own end can be told: the byte 0xFF and a checksum.

use std::io::{ErrorKind as Io, Read};

use crc_fast::{CrcAlgorithm, Digest};

use crate::base::{Error, Result};

/// The beginning: a word and a version, together always as long.
const HEAD_BYTES: usize = 9;
/// The byte 0xFF and the checksum.
const END_BYTES: usize = 9;
/// What comes behind the end of a file that was sent as it was made.
const MARK_BYTES: usize = 40;
/// So much is not given before what follows is known.
const HELD_BYTES: usize = END_BYTES + MARK_BYTES;
const LAST: u8 = 0xFF;

/// Passes on an RDB file, and fails unless it is whole.
pub struct Rdb<R, F> {
    from: R,
    /// Told why it fails, and whether everything was read by then.
    on_failure: F,
    /// Read, and not yet given.
    held: Vec<u8>,
    /// How many of them may be given.
    free: usize,
    given: usize,
    state: State,
    /// Over everything that is not held any more.
    checksum: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Middle,
    End,
    Failed,
}

impl<R: Read, F: FnMut((Error, bool))> Rdb<R, F> {
    /// Of what is read from somewhere.
    pub fn new(from: R, on_failure: F) -> Self {
        let checksum = Digest::new(CrcAlgorithm::Crc64Redis);
        Self { from, on_failure, held: Vec::new(), free: 0, given: 0, state: State::Head, checksum }
    }

    /// Reads on until bytes are free or the end is known.
    fn advance(&mut self, at_end: &mut bool) -> Result<()> {
        const PIECE_BYTES: usize = 64 << 10;
        let mut piece = [0; PIECE_BYTES];
        self.held.drain(..self.given.min(self.held.len()));
        (self.free, self.given) = (0, 0);
        while self.free == 0 && self.state != State::End {
            let count = match self.from.read(&mut piece) {
                Err(error) if error.kind() == Io::Interrupted => continue,
                read => read.map_err(|cause| Error::system("cannot read the RDB file", cause))?,
            };
            *at_end = count == 0;
            self.held.extend_from_slice(piece.get(..count).unwrap_or_default());
            if self.state == State::Head && (count == 0 || self.held.len() >= HEAD_BYTES) {
                check_head(&self.held)?;
                self.state = State::Middle;
            }
            if count == 0 {
                self.free = end_of(&self.checksum, &self.held)?;
                self.held.truncate(self.free);
                self.state = State::End;
            } else if self.state == State::Middle {
                self.free = self.held.len().saturating_sub(HELD_BYTES);
                self.checksum.update(self.held.get(..self.free).unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl<R: Read, F: FnMut((Error, bool))> Read for Rdb<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() || self.state == State::Failed {
            return Ok(0);
        }
        if self.given == self.free && self.state != State::End {
            let mut at_end = false;
            if let Err(error) = self.advance(&mut at_end) {
                self.state = State::Failed;
                let words = error.chain().join(": ");
                (self.on_failure)((error, at_end));
                return Err(std::io::Error::other(words));
            }
        }
        let mut ready = self.held.get(self.given..self.free).unwrap_or_default();
        let count = ready.read(buffer)?;
        self.given += count;
        Ok(count)
    }
}

/// An error unless a file begins so.
fn check_head(held: &[u8]) -> Result<()> {
    let head = held.get(..HEAD_BYTES).unwrap_or(held);
    let versions = [b"REDIS".as_slice(), b"VALKEY"].map(|word| head.strip_prefix(word));
    let is_version = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if head.len() == HEAD_BYTES && versions.into_iter().flatten().any(is_version) {
        return Ok(());
    }
    let line = held.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let shown = String::from_utf8_lossy(line.get(..line.len().min(200)).unwrap_or_default()).into_owned();
    Err(Error::damaged(format!("this is no RDB file; it begins with {shown:?}")))
}

/// The keys of the first database of a file, as it says beforehand how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Its number.
    pub database: u64,
    /// All of them.
    pub count: u64,
    /// Those that expire at some time.
    pub expiring: u64,
}

/// What the beginning of a file says of it and of the server that made it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// Names and values, as `ctime` and the second at which the save began.
    told: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it holds no key at all.
    pub is_empty: bool,
    /// The keys of its first database, if that is told.
    pub keys: Option<Keys>,
}

impl Beginning {
    /// Of a file that begins so.
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        // What is not there as a whole is not told.
        let _ = found.read(bytes.get(HEAD_BYTES..).unwrap_or_default());
        found
    }

    fn read(&mut self, mut rest: &[u8]) -> Option<()> {
        /// Followed by a name and a value.
        const TOLD: u8 = 0xFA;
        /// Followed by a library of functions.
        const FUNCTIONS: u8 = 0xF5;
        /// Followed by the number of a database.
        const DATABASE: u8 = 0xFE;
        /// Followed by how many keys it has, and how many of them expire.
        const COUNTS: u8 = 0xFB;
        loop {
            let (mark, behind) = rest.split_first()?;
            match *mark {
                TOLD => {
                    let (name, behind) = text(behind)?;
                    let (value, behind) = text(behind)?;
                    self.told.push((name, value));
                    rest = behind;
                }
                FUNCTIONS => (_, rest) = text(behind)?,
                DATABASE => {
                    let (Length::Of(database), behind) = length(behind)? else { return None };
                    let (Length::Of(count), behind) = length(behind.strip_prefix(&[COUNTS])?)? else {
                        return None;
                    };
                    let (Length::Of(expiring), _) = length(behind)? else { return None };
                    self.keys = Some(Keys { database, count, expiring });
                    return Some(());
                }
                LAST => {
                    self.is_empty = true;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// The second at which the save began, by the clock of its server.
    pub fn saved_at(&self) -> Option<u64> {
        let (_, value) = self.told.iter().find(|(name, _)| name == b"ctime")?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

/// What stands before a text, or alone.
enum Length {
    Of(u64),
    /// A number of so many bytes follows.
    Number(usize),
    /// A compressed text follows, with its two lengths before it.
    Compressed,
}

fn length(bytes: &[u8]) -> Option<(Length, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let low = first & 0x3F;
    let found = match (first >> 6, low) {
        (0, _) => (Length::Of(low.into()), rest),
        (1, _) => {
            let (second, rest) = rest.split_first()?;
            (Length::Of(u64::from(low) << 8 | u64::from(*second)), rest)
        }
        (2, 0) => {
            let (number, rest) = rest.split_first_chunk()?;
            (Length::Of(u32::from_be_bytes(*number).into()), rest)
        }
        (2, 1) => {
            let (number, rest) = rest.split_first_chunk()?;
            (Length::Of(u64::from_be_bytes(*number)), rest)
        }
        (3, 0..=2) => (Length::Number(1 << low), rest),
        (3, 3) => (Length::Compressed, rest),
        _ => return None,
    };
    Some(found)
}

/// A text, or a number in the place of one, and what follows it. One that is compressed is given as it is.
fn text(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (kind, rest) = length(bytes)?;
    let (count, rest) = match kind {
        Length::Of(count) => (usize::try_from(count).ok()?, rest),
        Length::Number(count) => (count, rest),
        Length::Compressed => {
            let (Length::Of(count), rest) = length(rest)? else { return None };
            (usize::try_from(count).ok()?, length(rest)?.1)
        }
    };
    let (text, behind) = rest.split_at_checked(count)?;
    if !matches!(kind, Length::Number(_)) {
        return Some((text.to_vec(), behind));
    }
    let mut number = [0; 8];
    number.get_mut(..count)?.copy_from_slice(text);
    Some((u64::from_le_bytes(number).to_string().into_bytes(), behind))
}

/// How many of the last bytes belong to the file, given the checksum of all before them.
fn end_of(before: &Digest, last: &[u8]) -> Result<usize> {
    let marked =
        last.len().checked_sub(MARK_BYTES).filter(|end| is_mark(last.get(*end..).unwrap_or_default()));
    // A server may be told to leave the checksum out, and then writes zeros. They decide only where nothing else does.
    for must_sum in [true, false] {
        for end in [Some(last.len()), marked].into_iter().flatten() {
            if ends_at(before, last.get(..end).unwrap_or_default(), must_sum) {
                return Ok(end);
            }
        }
    }
    Err(Error::damaged("the RDB file is cut off or changed: its end has no mark, or its checksum differs"))
}

fn is_mark(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_hexdigit)
}

fn ends_at(before: &Digest, last: &[u8], must_sum: bool) -> bool {
    let Some((body, stored)) = last.split_last_chunk::<8>() else { return false };
    if body.last() != Some(&LAST) {
        return false;
    }
    let stored = u64::from_le_bytes(*stored);
    if !must_sum {
        return stored == 0;
    }
    let mut checksum = *before;
    checksum.update(body);
    checksum.finalize() == stored
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with so many bytes between head and end.
    fn file(head: &[u8], count: usize) -> Vec<u8> {
        let mut bytes = head.to_vec();
        bytes.extend((0..count).map(|index| u8::try_from(index * 31 % 251).expect("a byte")));
        bytes.push(LAST);
        let mut checksum = Digest::new(CrcAlgorithm::Crc64Redis);
        checksum.update(&bytes);
        bytes.extend(checksum.finalize().to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8], piece: usize) -> std::io::Result<Vec<u8>> {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let count = self.1.min(buffer.len());
                self.0.read(&mut buffer[..count])
            }
        }
        let mut found = Vec::new();
        Rdb::new(Pieces(bytes, piece), drop).read_to_end(&mut found)?;
        Ok(found)
    }

    const MARK: &[u8] = b"0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_beginning_tells_how_many_keys_there_are_and_when_it_was_saved() {
        let told =
            b"REDIS0011\xFA\x09redis-ver\x067.0.15\xFA\x05ctime\xC2abcd\xFA\x08aof-base\xC0\x00".as_slice();
        for (functions, counts, keys) in [
            (b"".as_slice(), b"\x02\x01".as_slice(), (2, 1)),
            (b"\xF5\x03abc", b"\x41\x02\x00", (0x102, 0)),
            (b"\xF5\xC3\x02\x05ab\xF5\xC0\x07", b"\x80\x00\x01\x00\x00\x81\0\0\0\0\0\0\0\x09", (1 << 16, 9)),
        ] {
            let found = Beginning::of(&[told, functions, b"\xFE\x03\xFB", counts].concat());
            let wanted = Keys { database: 3, count: keys.0, expiring: keys.1 };
            assert_eq!((found.keys, found.is_empty), (Some(wanted), false));
            assert_eq!(found.saved_at(), Some(u64::from(u32::from_le_bytes(*b"abcd"))));
        }
        assert!(Beginning::of(&[told, b"\xFF12345678"].concat()).is_empty);
        // What a module keeps there is not passed over.
        let unknown = Beginning::of(&[told, b"\xF7\x01\xFE\x00\xFB\x01\x00"].concat());
        assert_eq!((unknown.keys, unknown.is_empty), (None, false));
        let mut dated = 0;
        for cut in 0..=told.len() {
            let found = Beginning::of(&told[..cut]);
            assert_eq!((found.keys, found.is_empty), (None, false));
            dated += usize::from(found.saved_at().is_some());
        }
        assert_eq!(dated, b"\xFA\x08aof-base\xC0\x00".len() + 1);
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        let mut checksum = Digest::new(CrcAlgorithm::Crc64Redis);
        checksum.update(b"123456789");
        assert_eq!(checksum.finalize(), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn whole_files_come_out_as_they_are_and_without_a_mark() {
        for head in [b"REDIS0011", b"VALKEY080"] {
            for count in [0, 1, 30, 31, 40, 49, 100, 70_000, 200_000] {
                let bytes = file(head, count);
                for piece in [1, 7, 49, 100_000] {
                    if count > 1000 && piece < 49 {
                        continue;
                    }
                    assert_eq!(read(&bytes, piece).expect("whole"), bytes, "{count} by {piece}");
                    let marked = [&bytes, MARK].concat();
                    assert_eq!(read(&marked, piece).expect("whole"), bytes, "{count} by {piece}");
                }
            }
        }
    }

    #[test]
    fn files_without_checksum_are_taken() {
        let mut bytes = file(b"REDIS0009", 100);
        let end = bytes.len() - 8;
        bytes[end..].fill(0);
        assert_eq!(read(&bytes, 11).expect("whole"), bytes);
        assert_eq!(read(&[&bytes, MARK].concat(), 11).expect("whole"), bytes);
    }

    #[test]
    fn what_is_cut_off_or_changed_or_something_else_is_an_error() {
        let bytes = file(b"REDIS0011", 200);
        let mut count = 0;
        for end in 0..bytes.len() {
            read(&bytes[..end], 64).expect_err("cut off");
            let mut flipped = bytes.clone();
            flipped[end] ^= 0x20;
            // A version is any number.
            if !(5..9).contains(&end) {
                read(&flipped, 64).expect_err("flipped");
            }
            count += 2;
        }
        for end in 1..MARK.len() {
            read(&[&bytes, &MARK[..end]].concat(), 64).expect_err("half a mark");
            count += 1;
        }
        read(&[&bytes, MARK, b"x"].concat(), 64).expect_err("more");
        let error = read(b"NOAUTH Authentication required.\nmore", 64).expect_err("an answer");
        assert!(format!("{error:?}").contains("NOAUTH"), "{error:?}");
        assert!(count > 400, "{count} bad files");
    }
}
