//! A dump of one database on its way into the database that was made for it, which may have another name.
//!
//! What must hold: nothing of it reaches another database. Only the lines are changed that name the database as the one to
//! work in, set what it is written in, or number rows by one of its sequences; a line that names it in a way that is not
//! known ends the load before it is passed on; none that drops a database is. Rows are never taken for such a line: a line
//! feed in a text is written as `\n`.

use std::io::{Error, Result, Write};

use super::identifier;

/// What such lines begin with, and what stands before the name that is changed.
///
/// `ALTER DATABASE` stands around triggers, routines and events that were made when the database was written in another
/// way. The last ones are columns of a table, whose sequence is always named with its database.
const MEANT: [(&str, &str); 4] = [(CREATE, " "), (USE, " "), (ALTER, ALTER), ("  `", " DEFAULT nextval(")];
const CREATE: &str = "CREATE DATABASE ";
const USE: &str = "USE ";
const ALTER: &str = "ALTER DATABASE ";
/// What a dump was given by `--add-drop-database`. There is nothing to be dropped: the database was made just now.
const DROP: [&str; 2] = ["/*!40000 DROP DATABASE ", "DROP DATABASE "];
/// Begins and ends what is made of many lines, as a routine, whose text may begin with anything.
const DELIMITER: &str = "DELIMITER ";
const USUAL_DELIMITER: &str = "DELIMITER ;";
/// What may stand before the database is named.
const HARMLESS: [&str; 4] = ["--", "/*!", "/*M!", "SET "];
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
    /// A line has named the new database as the one to work in.
    is_inside: bool,
    /// Within a routine, a trigger or an event.
    is_body: bool,
}

impl<W: Write> Rename<W> {
    pub(super) fn new(output: W, old: &str, new: &str) -> Self {
        // Under its own name it may be named in any way.
        let is_inside = old == new;
        let (old, new) = (identifier(old), identifier(new));
        Self { output, old, new, line: Vec::new(), is_passing: false, is_inside, is_body: false }
    }

    /// Passes on what is left.
    pub(super) fn finish(mut self) -> Result<()> {
        self.end_line()?;
        self.output.flush()
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.starts_with(DELIMITER.as_bytes()) {
            self.is_body = line.trim_ascii_end() != USUAL_DELIMITER.as_bytes();
        }
        if !self.is_body && DROP.iter().any(|word| line.starts_with(word.as_bytes())) {
            return Ok(());
        }
        let text = std::str::from_utf8(&line).ok();
        let renamed = text.and_then(|text| self.renamed(text));
        let begins = |word: &str| line.starts_with(word.as_bytes());
        if !self.is_body {
            let is_named = self.old == self.new || renamed.is_some();
            let is_harmless = line.trim_ascii().is_empty() || HARMLESS.iter().any(|word| begins(word));
            let names_one = [CREATE, USE, ALTER].iter().any(|word| begins(word));
            if names_one && !is_named || !names_one && !is_harmless && !self.is_inside {
                let shown = String::from_utf8_lossy(&line).trim_end().chars().take(80).collect::<String>();
                return Err(Error::other(format!(
                    "the dump does not name the database {} as it must, to get another name: {shown}",
                    self.old
                )));
            }
            self.is_inside |= begins(USE);
            if let Some(rest) = renamed.as_deref().or(text).and_then(|text| text.strip_prefix(CREATE)) {
                return self.output.write_all(alteration(rest).as_bytes());
            }
        }
        self.output.write_all(renamed.as_deref().map_or(&line, str::as_bytes))
    }

    /// A line with the new name, if it is one of those that are meant.
    fn renamed(&self, text: &str) -> Option<String> {
        let (beginning, before) = MEANT.iter().find(|(beginning, _)| text.starts_with(beginning))?;
        if self.is_body && [CREATE, USE].contains(beginning) {
            return None;
        }
        let (first, rest) = text.split_once(&format!("{before}{}", self.old))?;
        Some(format!("{first}{before}{}{rest}", self.new))
    }

    /// Whether a line must be seen to its end, as far as it is known.
    fn is_held(&self, line: &[u8]) -> bool {
        let mut beginnings = MEANT.iter().map(|(beginning, _)| *beginning).chain(DROP).chain([DELIMITER]);
        !self.is_inside
            || beginnings.any(|beginning| {
                let length = beginning.len().min(line.len());
                line.get(..length) == beginning.as_bytes().get(..length)
            })
    }
}

/// What follows `CREATE DATABASE`, for one that is there by now: it gets what it was made with.
fn alteration(rest: &str) -> String {
    let is_unasked = "/*!32312 IF NOT EXISTS*/ ";
    match rest.strip_prefix(is_unasked) {
        Some(rest) if rest.contains(" /*!") => format!("{ALTER}{rest}"),
        _ => format!("{CREATE}{rest}"),
    }
}

impl<W: Write> Write for Rename<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if self.is_passing {
                self.output.write_all(piece)?;
            } else {
                self.line.extend_from_slice(piece);
                self.is_passing = !self.is_held(&self.line) || self.line.len() > LINE_BYTES_MAX;
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

    fn flush(&mut self) -> Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(
        dump: &str,
        names: (&str, &str),
        size: usize,
    ) -> std::result::Result<String, (String, String)> {
        let mut output = Vec::new();
        let mut rename = Rename::new(&mut output, names.0, names.1);
        let written = dump.as_bytes().chunks(size).try_for_each(|piece| rename.write_all(piece));
        let done = written.and_then(|()| rename.finish());
        let output = String::from_utf8(output).expect("text");
        done.map(|()| output.clone()).map_err(|error| (error.to_string(), output))
    }

    const SIZES: [usize; 3] = [1, 3, 1000];

    #[test]
    fn only_the_lines_that_name_the_database_are_changed() {
        let dump = "-- x\n/*!40000 DROP DATABASE IF EXISTS `a``b`*/;\n\n\
                    DROP DATABASE x;\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ `a``b` /*!40100 DEFAULT */;\n\nUSE `a``b`;\nINSERT\n\
                    U\nINSERT INTO t VALUES ('USE `a``b`;');\nDELIMITER ;;\nUSE this\nDROP\n\
                    /*!40000 DROP DATABASE x*/\nCREATE DATABASE `a``b`\nDELIMITER ;\n\
                    ALTER DATABASE `a``b` CHARACTER SET latin1 COLLATE latin1_swedish_ci ;\n  `a``b` int,\n\
                    \x20 `n` int DEFAULT nextval(`a``b`.`numbers`),\n  `m` int DEFAULT nextval(`a``bc`.`a``b`),\n\
                    DELIMITER ;;\nALTER DATABASE `a``b` CHARACTER SET utf8mb4 ;;\nDELIMITER ;\n\
                    SELECT 'ALTER DATABASE `a``b`';\nUSE `a``b`;";
        let wanted = [
            ("/*!40000 DROP DATABASE IF EXISTS `a``b`*/;\n", ""),
            ("DROP DATABASE x;\n", ""),
            ("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a``b` /", "ALTER DATABASE `c` /"),
            ("USE `a``b`;\nI", "USE `c`;\nI"),
            ("\nALTER DATABASE `a``b` ", "\nALTER DATABASE `c` "),
            ("nextval(`a``b`.", "nextval(`c`."),
        ];
        let wanted = wanted.iter().fold(dump.to_owned(), |text, (old, new)| text.replace(old, new));
        let wanted = wanted.strip_suffix("USE `a``b`;").expect("the end").to_owned() + "USE `c`;";
        for size in SIZES {
            assert_eq!(through(dump, ("a`b", "c"), size), Ok(wanted.clone()));
            assert_eq!(through(dump, ("a`b", "a`b"), size), Ok(wanted.replace("`c`", "`a``b`")));
        }
    }

    #[test]
    fn what_would_reach_another_database_is_not_passed_on() {
        let begins = "-- x\n/*!40000 DROP DATABASE IF EXISTS shop*/;\n/*!40101 SET NAMES utf8mb4 */;\n";
        let passed = "-- x\n/*!40101 SET NAMES utf8mb4 */;\n";
        for line in [
            "USE shop;",
            "USE \"shop\";",
            "USE `other`;",
            "CREATE DATABASE /*!32312 IF NOT EXISTS*/ shop;",
            "ALTER DATABASE shop CHARACTER SET latin1 ;",
            "DROP TABLE IF EXISTS `t`;",
            "INSERT INTO `t` VALUES (1);",
        ] {
            for size in SIZES {
                let dump = format!("{begins}{line}\nINSERT INTO `t` VALUES (2);\n");
                let (error, output) = through(&dump, ("shop", "copy"), size).expect_err(line);
                assert!(error.contains(line) && output == passed, "{error}: {output}");
            }
        }
        // Later, too; and under its own name it may be named in any way.
        let later = "USE `shop`;\nDROP TABLE `t`;\nUSE shop;\nDROP TABLE `t`;\n";
        let (_, output) = through(later, ("shop", "copy"), 3).expect_err("another name");
        assert_eq!(output, "USE `copy`;\nDROP TABLE `t`;\n");
        assert_eq!(through(later, ("shop", "shop"), 3), Ok(later.to_owned()));
        assert_eq!(through(begins, ("shop", "shop"), 3), Ok(passed.to_owned()));
    }
}
