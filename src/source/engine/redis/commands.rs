//! Where an append-only file can be cut, so that what is before is whole.
//!
//! What must hold: what is given ends behind a whole command, and behind the end of a transaction if one was begun; what
//! is no append-only file is an error, unless only its last command is not written to its end yet.

use std::io::{BufRead, ErrorKind as Io, Read};

use crc_fast::{CrcAlgorithm, Digest};

use crate::base::{Error, Result};

/// Longest line of a head: a number, or the time of what follows.
const LINE_BYTES_MAX: u64 = 1 << 10;
/// What the file begins with if its first part is an RDB file.
const PREAMBLES: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
/// The byte at the end of an RDB file, before its checksum.
const LAST: u8 = 0xFF;

/// How many bytes from the start are whole.
pub(super) fn whole_bytes(file: impl BufRead) -> Result<u64> {
    let mut commands = Commands { file, position: 0 };
    let mut whole = commands.skip_preamble()?;
    let mut in_transaction = false;
    while let Some(word) = commands.next()? {
        in_transaction = match word.to_ascii_uppercase().as_slice() {
            b"MULTI" => true,
            b"EXEC" | b"DISCARD" => false,
            _ => in_transaction,
        };
        if !in_transaction {
            whole = commands.position;
        }
    }
    Ok(whole)
}

struct Commands<R> {
    file: R,
    position: u64,
}

impl<R: BufRead> Commands<R> {
    /// Passes over an RDB file at the start; gives its length. Its end is where its checksum stands: nothing else tells
    /// it but reading all types of values that there are.
    fn skip_preamble(&mut self) -> Result<u64> {
        let start = self.file.fill_buf().map_err(unreadable)?;
        if !PREAMBLES.iter().any(|preamble| start.starts_with(preamble)) {
            return Ok(0);
        }
        let mut checksum = Digest::new(CrcAlgorithm::Crc64Redis);
        // The bytes that follow on the last 0xFF bytes, each with the checksum up to it.
        let mut open: Vec<(u64, u64)> = Vec::new();
        let mut last = [0; 8];
        loop {
            let piece = self.file.fill_buf().map_err(unreadable)?;
            if piece.is_empty() {
                return Err(Error::damaged("its first part, an RDB file, has no end"));
            }
            let mut count = 0;
            let mut end = None;
            for part in piece.split_inclusive(|byte| *byte == LAST) {
                // Between two of them, only those that are not decided yet look at single bytes.
                for byte in part {
                    count += 1;
                    last.rotate_left(1);
                    last[7] = *byte;
                    let position = self.position + count as u64;
                    if open.first().is_some_and(|(at, _)| at + 8 == position) {
                        let (_, wanted) = open.remove(0);
                        if wanted == u64::from_le_bytes(last) {
                            end = Some(count);
                            break;
                        }
                    }
                }
                if end.is_some() {
                    break;
                }
                checksum.update(part);
                if part.last() == Some(&LAST) {
                    open.push((self.position + count as u64, checksum.finalize()));
                }
            }
            self.file.consume(count);
            self.position += count as u64;
            if end.is_some() {
                return Ok(self.position);
            }
        }
    }

    /// The first word of the next command, all of which is passed over; `None` if there is no whole one.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let count = loop {
            match self.line()? {
                None => return Ok(None),
                // When what follows was written.
                Some(line) if line.starts_with(b"#") => {}
                Some(line) => break number(&line, b'*').ok_or_else(|| self.wrong())?,
            }
        };
        let mut first = Vec::new();
        for index in 0..count {
            let Some(line) = self.line()? else { return Ok(None) };
            let length = number(&line, b'$').ok_or_else(|| self.wrong())?;
            let kept = if index == 0 { &mut first } else { &mut Vec::new() };
            if !self.skip(length, kept)? {
                return Ok(None);
            }
        }
        Ok(Some(first))
    }

    /// The next line, without its end; `None` if it is not there as a whole.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.file).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable)?;
        self.position += line.len() as u64;
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(Some(text.to_vec())),
            None if (line.len() as u64) < LINE_BYTES_MAX && !line.ends_with(b"\n") => Ok(None),
            None => Err(self.wrong()),
        }
    }

    /// Passes over a word and its end, keeping a few of its bytes; false if it is not there as a whole.
    fn skip(&mut self, length: u64, kept: &mut Vec<u8>) -> Result<bool> {
        const KEPT_BYTES: u64 = 16;
        let mut word = (&mut self.file).take(length);
        word.by_ref().take(KEPT_BYTES).read_to_end(kept).map_err(unreadable)?;
        let mut read = kept.len() as u64;
        read += std::io::copy(&mut word, &mut std::io::sink()).map_err(unreadable)?;
        self.position += read;
        let mut end = [0; 2];
        if read < length {
            return Ok(false);
        }
        match self.file.read_exact(&mut end) {
            Err(error) if error.kind() == Io::UnexpectedEof => Ok(false),
            Err(error) => Err(unreadable(error)),
            Ok(()) if end == *b"\r\n" => {
                self.position += 2;
                Ok(true)
            }
            Ok(()) => Err(self.wrong()),
        }
    }

    fn wrong(&self) -> Error {
        Error::damaged(format!("the append-only file is damaged before its byte {}", self.position))
    }
}

fn unreadable(cause: std::io::Error) -> Error {
    Error::system("cannot read the append-only file", cause)
}

fn number(line: &[u8], mark: u8) -> Option<u64> {
    let digits = line.strip_prefix(&[mark])?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n*3\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
    const TIME: &[u8] = b"#TS:1628217470\r\n";

    fn whole(bytes: &[u8]) -> Result<u64> {
        let lengths = [1, 7, 8192].map(|size| whole_bytes(BufReader::with_capacity(size.max(8), bytes)));
        let [one, seven, many] = lengths;
        assert_eq!(one.as_ref().ok(), seven.as_ref().ok());
        assert_eq!(one.as_ref().ok(), many.as_ref().ok());
        many
    }

    #[test]
    fn files_are_cut_behind_what_is_whole() {
        let all = [TIME, SET, TIME, MULTI, SET, SET, EXEC, SET].concat();
        let places =
            [0, TIME.len() + SET.len(), 2 * TIME.len() + MULTI.len() + 3 * SET.len() + EXEC.len(), all.len()];
        for end in 0..=all.len() {
            let wanted = places.iter().rev().find(|place| **place <= end).expect("one");
            assert_eq!(whole(&all[..end]).expect("cut"), *wanted as u64, "{end}");
        }
    }

    #[test]
    fn an_rdb_file_at_the_start_is_passed_over() {
        let mut bytes = b"REDIS0011".to_vec();
        bytes.extend([0xFF, 1, 2, 0xFF, 0xFF, 9]);
        bytes.extend([7; 100]);
        bytes.push(0xFF);
        let mut checksum = Digest::new(CrcAlgorithm::Crc64Redis);
        checksum.update(&bytes);
        bytes.extend(checksum.finalize().to_le_bytes());
        let preamble = bytes.len();
        assert_eq!(whole(&bytes).expect("whole"), preamble as u64);
        bytes.extend(SET);
        assert_eq!(whole(&bytes).expect("whole"), bytes.len() as u64);
        assert_eq!(whole(&bytes[..bytes.len() - 1]).expect("whole"), preamble as u64);
        whole(&bytes[..preamble - 1]).expect_err("no end");
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        for bad in [b"SET a b\r\n".as_slice(), b"*1\n$4\r\nEXEC\r\n", b"*1\r\n$4\r\nEXECxx", b"*x\r\n"] {
            whole(&[SET, bad].concat()).expect_err("damaged");
        }
    }
}
