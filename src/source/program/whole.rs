//! Whether what a program wrote is whole: judged by the bytes themselves, not by the exit code alone.
//!
//! What must hold: all bytes are seen exactly once and in order; nothing of them is kept but a short end; output that
//! is empty is never whole, whatever else is asked of it.

use crate::base::{Error, ErrorKind, Result};
use crate::source::CommandStop;

/// Most of the end that is kept.
const TAIL_BYTES_MAX: usize = 4 << 10;

/// Sees the bytes of a dump as they pass.
pub trait Completeness: Send {
    /// The next bytes.
    fn see(&mut self, bytes: &[u8]);

    /// Asked once, after the last bytes and after the program said that it succeeded: whether that is all.
    fn end(&mut self) -> Result<()>;

    /// Ends what it started itself, when the dump is stopped.
    fn stopper(&self) -> Option<CommandStop> {
        None
    }
}

impl Completeness for Box<dyn Completeness> {
    fn see(&mut self, bytes: &[u8]) {
        (**self).see(bytes);
    }

    fn end(&mut self) -> Result<()> {
        (**self).end()
    }

    fn stopper(&self) -> Option<CommandStop> {
        (**self).stopper()
    }
}

/// Asks for nothing but that there is something, which is asked of every dump.
#[derive(Debug)]
pub struct NotEmpty;

impl Completeness for NotEmpty {
    fn see(&mut self, _bytes: &[u8]) {}

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The last bytes of all that were seen.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let newest = bytes.get(bytes.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default();
        let surplus = (self.bytes.len() + newest.len()).saturating_sub(TAIL_BYTES_MAX);
        self.is_cut |= surplus > 0 || newest.len() < bytes.len();
        self.bytes.drain(..surplus);
        self.bytes.extend_from_slice(newest);
    }

    /// The last bytes, up to 4 KiB.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines of it that are there as a whole, the last one first.
    fn lines_backwards(&self) -> impl Iterator<Item = &[u8]> {
        let first = if self.is_cut { self.bytes.iter().position(|byte| *byte == b'\n') } else { None };
        let whole =
            self.bytes.get(first.map_or(if self.is_cut { self.bytes.len() } else { 0 }, |end| end + 1)..);
        whole.unwrap_or_default().rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
    }
}

/// What the end of a program's output must be.
#[derive(Debug)]
enum Marker {
    /// The last line that counts begins with it.
    Line { beginning: String, passed_over: &'static [&'static str] },
    /// The output itself, white space at the end apart.
    Text(String),
}

/// Asks that the output ends with a marker.
#[derive(Debug)]
pub struct EndsWith {
    /// For messages.
    program: String,
    marker: Marker,
    tail: Tail,
}

impl EndsWith {
    /// The last line must begin with `beginning`. Lines that are empty do not count, nor those that begin with one of
    /// `passed_over`; one of these that ends with a line feed stands for a whole line.
    pub fn line(program: &str, beginning: &str, passed_over: &'static [&'static str]) -> Self {
        let marker = Marker::Line { beginning: beginning.to_owned(), passed_over };
        Self { program: program.to_owned(), marker, tail: Tail::default() }
    }

    /// The output must end with `text`, white space at the end of either apart.
    pub fn text(program: &str, text: &str) -> Self {
        let marker = Marker::Text(text.trim_ascii_end().to_owned());
        Self { program: program.to_owned(), marker, tail: Tail::default() }
    }
}

fn does_not_count(line: &[u8], passed_over: &[&str]) -> bool {
    line.is_empty()
        || passed_over.iter().any(|passed| match passed.strip_suffix('\n') {
            Some(whole) => line == whole.as_bytes(),
            None => line.starts_with(passed.as_bytes()),
        })
}

impl Completeness for EndsWith {
    fn see(&mut self, bytes: &[u8]) {
        self.tail.add(bytes);
    }

    fn end(&mut self) -> Result<()> {
        let (is_whole, part, marker) = match &self.marker {
            Marker::Line { beginning, passed_over } => {
                let last = self.tail.lines_backwards().find(|line| !does_not_count(line, passed_over));
                let is_whole = last.is_some_and(|line| line.starts_with(beginning.as_bytes()));
                (is_whole, "its last line is not", beginning)
            }
            Marker::Text(text) => {
                let is_whole = self.tail.bytes().trim_ascii_end().ends_with(text.as_bytes());
                (is_whole, "it does not end with", text)
            }
        };
        if is_whole {
            return Ok(());
        }
        let message = format!("the output of {} breaks off: {part} {marker:?}", self.program);
        Err(Error::new(ErrorKind::Failed, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(mut judge: EndsWith, text: &str, size: usize) -> Result<()> {
        text.as_bytes().chunks(size).for_each(|piece| judge.see(piece));
        judge.end()
    }

    fn postgres() -> EndsWith {
        EndsWith::line("pg_dump", "-- PostgreSQL database dump complete", &["--\n", "\\unrestrict "])
    }

    #[test]
    fn a_marker_is_found_in_the_last_line_that_counts() {
        let long = "x".repeat(3 * TAIL_BYTES_MAX) + "\n";
        for (text, is_whole) in [
            ("--\n-- PostgreSQL database dump complete\n--\n\n", true),
            ("--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n", true),
            ("-- PostgreSQL database dump complete", true),
            ("-- PostgreSQL database dump comple", false),
            ("-- PostgreSQL database dump complete\n--\nmore\n", false),
            ("--\n\n\n", false),
            ("", false),
            ("a -- PostgreSQL database dump complete\n", false),
            ("-- PostgreSQL database dump complete\n--x\n", false),
        ] {
            for size in [1, 7, 5000] {
                assert_eq!(judge(postgres(), text, size).is_ok(), is_whole, "{text:?}");
                assert_eq!(judge(postgres(), &(long.clone() + text), size).is_ok(), is_whole, "{text:?}");
            }
        }
        let mut error = postgres();
        error.see(b"half");
        let error = error.end().expect_err("half");
        let wanted = r#"the output of pg_dump breaks off: its last line is not "-- PostgreSQL database dump complete""#;
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_line_that_is_cut_is_no_line() {
        let marker = "-- PostgreSQL database dump complete";
        let text = format!("x{marker}{}", " ".repeat(TAIL_BYTES_MAX - marker.len()));
        assert!(judge(postgres(), &text, 1000).is_err());
        assert!(judge(postgres(), &text.replacen('x', "\n", 1), 1000).is_err(), "its beginning was not kept");
        assert!(judge(postgres(), &text.replacen("x--", "x\n--", 1)[..TAIL_BYTES_MAX], 1000).is_ok());
    }

    #[test]
    fn any_text_may_be_the_end() {
        for (text, is_whole) in
            [("all done", true), ("all done \n\n", true), ("done ", true), ("done.", false)]
        {
            assert_eq!(judge(EndsWith::text("tar", "done\n"), text, 3).is_ok(), is_whole, "{text:?}");
        }
        let error = judge(EndsWith::text("tar", "done"), "", 1).expect_err("empty");
        assert_eq!(error.to_string(), "the output of tar breaks off: it does not end with \"done\"");
    }
}
