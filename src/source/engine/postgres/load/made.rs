//! Which database a load made: what it may drop again, whoever else makes one of the same name.
//!
//! What must hold: it is known by its number, and only once the statement that makes it has succeeded.

use std::io::{BufRead, BufReader, Error as IoError, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::server::literal;
use crate::base::{Error, Result, Wrap};

/// Begins the line that tells the number.
const MADE: &str = "packstone-made ";
/// Longest line that is looked at as one.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Where a dump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into a database that it makes.
    New,
    /// Into an empty one, in which it makes nothing.
    Empty,
}

/// The number of the database that a load made, once it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Made(Arc<Mutex<Option<String>>>);

impl Made {
    /// The number, if the database was made.
    pub fn oid(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The statement that makes a database, and one that tells its number.
    pub fn told(statement: &[u8], name: &str) -> Vec<u8> {
        let question = format!(
            "\nSELECT '{MADE}' || oid FROM pg_catalog.pg_database WHERE datname = {};",
            literal(name)
        );
        [statement, question.as_bytes()].concat()
    }

    /// Reads what psql prints, to its end.
    pub fn read(&self, output: &mut dyn Read) -> Result<()> {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let read = output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.or_else(of_program)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line);
            let number = line.split_once(MADE).and_then(|(_, number)| number.trim().parse::<u32>().ok());
            if let Some(number) = number {
                // Later ones are what the dump itself prints.
                let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                made.get_or_insert(number.to_string());
            }
        }
    }
}

/// That the program failed, in its own words.
fn of_program(error: IoError) -> Result<usize> {
    match error.downcast::<Error>() {
        Ok(error) => Err(error),
        Err(error) => Err(error).wrap(|| "cannot read the output of psql"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_told_by_the_first_line_of_its_kind() {
        let made = Made::default();
        made.read(&mut &b" set_config \n------------\n \n(1 row)\n\n"[..]).expect("it is read");
        assert_eq!(made.oid(), None);
        made.read(&mut &b"  ?column?\n-----\n packstone-made 16400\n(1 row)\n packstone-made 1\n"[..])
            .expect("it is read");
        assert_eq!(made.oid().as_deref(), Some("16400"));
        let told = String::from_utf8(Made::told(b"CREATE DATABASE \"it's\";", "it's")).expect("text");
        let question = "SELECT 'packstone-made ' || oid FROM pg_catalog.pg_database WHERE datname = 'it''s';";
        assert_eq!(told, format!("CREATE DATABASE \"it's\";\n{question}"));
    }
}
