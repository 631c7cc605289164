//! A dump of one database on its way into a database of another name.
//!
//! What must hold: only the lines are changed that name the database as the one to work in, set what it is written in, or
//! number rows by one of its sequences. Rows are never taken for such a line: a line feed in a text is written as `\n`.

use std::io::Write;

use super::identifier;

/// What such lines begin with, and what stands before the name that is changed.
///
/// `ALTER DATABASE` stands around triggers, routines and events that were made when the database was written in another
/// way. The last ones are columns of a table, whose sequence is always named with its database.
const MEANT: [(&str, &str); 4] = [
    ("CREATE DATABASE ", " "),
    ("USE ", " "),
    ("ALTER DATABASE ", "ALTER DATABASE "),
    ("  `", " DEFAULT nextval("),
];
/// Longer than any of them.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Passes a dump on, in which one database becomes another.
pub(super) struct Rename<W> {
    output: W,
    old: String,
    new: String,
    /// The beginning of a line that may be meant.
    line: Vec<u8>,
    /// The rest of this line is not looked at.
    is_passing: bool,
}

impl<W: Write> Rename<W> {
    pub(super) fn new(output: W, old: &str, new: &str) -> Self {
        let (old, new) = (identifier(old), identifier(new));
        Self { output, old, new, line: Vec::new(), is_passing: false }
    }

    /// Passes on what is left.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        self.end_line()?;
        self.output.flush()
    }

    fn end_line(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).ok();
        let named = text.and_then(|text| {
            let (_, before) = MEANT.iter().find(|(beginning, _)| text.starts_with(beginning))?;
            let (first, rest) = text.split_once(&format!("{before}{}", self.old))?;
            Some((first, before, rest))
        });
        match named {
            Some((first, before, rest)) => write!(self.output, "{first}{before}{}{rest}", self.new),
            None => self.output.write_all(&line),
        }
    }
}

/// Whether a line can be one of them, as far as it is known.
fn may_be_meant(line: &[u8]) -> bool {
    MEANT.iter().map(|(beginning, _)| beginning.as_bytes()).any(|beginning| {
        let length = beginning.len().min(line.len());
        line.get(..length) == beginning.get(..length)
    })
}

impl<W: Write> Write for Rename<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.is_passing {
                self.output.write_all(piece)?;
            } else {
                self.line.extend_from_slice(piece);
                self.is_passing = !may_be_meant(&self.line) || self.line.len() > LINE_BYTES_MAX;
                if ends || self.is_passing {
                    self.end_line()?;
                }
            }
            if ends {
                self.is_passing = false;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_name_the_database_are_changed() {
        let dump = "-- x\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ `a``b` /*!40100 DEFAULT */;\n\nUSE `a``b`;\nINSERT\n\
                    USE `other`;\nU\nINSERT INTO t VALUES ('USE `a``b`;');\n\
                    ALTER DATABASE `a``b` CHARACTER SET latin1 COLLATE latin1_swedish_ci ;\n  `a``b` int,\n\
                    \x20 `n` int DEFAULT nextval(`a``b`.`numbers`),\n  `m` int DEFAULT nextval(`a``bc`.`a``b`),\n\
                    ALTER DATABASE `a``b` CHARACTER SET utf8mb4 ;;\nSELECT 'ALTER DATABASE `a``b`';\nUSE `a``b`;";
        let wanted = [
            ("USE `a``b`;\nI", "USE `c`;\nI"),
            ("*/ `a``b` /", "*/ `c` /"),
            ("\nALTER DATABASE `a``b` ", "\nALTER DATABASE `c` "),
            ("nextval(`a``b`.", "nextval(`c`."),
        ];
        let wanted = wanted.iter().fold(dump.to_owned(), |text, (old, new)| text.replace(old, new));
        let wanted = wanted.strip_suffix("USE `a``b`;").expect("the end").to_owned() + "USE `c`;";
        for size in [1, 3, 1000] {
            let mut output = Vec::new();
            let mut rename = Rename::new(&mut output, "a`b", "c");
            dump.as_bytes().chunks(size).for_each(|piece| rename.write_all(piece).expect("written"));
            rename.finish().expect("written");
            assert_eq!(String::from_utf8(output).expect("text"), wanted);
        }
    }
}
