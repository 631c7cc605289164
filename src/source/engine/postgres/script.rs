//! Reads a script for psql as it passes, statement by statement, so that single ones can be changed or left out.
//!
//! What must hold: what is not changed passes byte for byte; data of tables, texts, bodies of functions and comments
//! are never taken for statements; of a script of any length only one statement is held, and a long one not at all.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;

use super::server::as_text;
use crate::base::Result;

/// Longest statement that is looked at; what is to be changed is far shorter.
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stays as it is.
    Keep,
    /// It is left out.
    Drop,
    /// It becomes another.
    Replace(Vec<u8>),
}

/// Where the reader is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In a statement or between two.
    Statement,
    /// In a command of psql's own, which ends with its line.
    Command,
    LineComment,
    /// How many lie in each other.
    Comment(usize),
    /// A text in which a backslash means something, or not.
    Text {
        is_escaped: bool,
        after_backslash: bool,
    },
    Identifier,
    /// After `$`, in what may be the tag of a text.
    Tag(Vec<u8>),
    /// In the text of a tag; the last bytes, as many as the tag has.
    Tagged {
        tag: Vec<u8>,
        last: VecDeque<u8>,
    },
    /// Rows of a table, which end with the line `\.`; of the current line so much, if it can still be that one.
    Rows(Option<Vec<u8>>),
}

/// Passes a script on; each statement, without what stands before it, is first judged.
pub struct Script<W, F> {
    output: W,
    judge: F,
    state: State,
    /// What stands before the statement, and the statement so far.
    held: Vec<u8>,
    /// Where in it the statement begins, if it has begun.
    start: Option<usize>,
    /// The statement is too long to be held: it passes.
    is_passing: bool,
    /// The last bytes.
    before: [u8; 2],
    /// Whether a backslash meant something in the last text, which a doubled sign continues.
    is_escaped: bool,
}

impl<W: Write, F: FnMut(&[u8]) -> Result<Edit>> Script<W, F> {
    /// Passes on to `output` what `judge` says.
    pub fn new(output: W, judge: F) -> Self {
        let (held, before) = (Vec::new(), [b'\n'; 2]);
        let (start, is_passing, is_escaped) = (None, false, false);
        Self { output, judge, state: State::Statement, held, start, is_passing, before, is_escaped }
    }

    /// Passes on what is left.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.end_statement()?;
        self.output.flush()
    }

    fn end_statement(&mut self) -> std::io::Result<()> {
        let (before, statement) = self.held.split_at(self.start.unwrap_or(self.held.len()));
        self.output.write_all(before)?;
        self.state = State::Statement;
        if self.is_passing || statement.is_empty() {
            self.output.write_all(statement)?;
        } else {
            match (self.judge)(statement).map_err(std::io::Error::other)? {
                Edit::Keep => self.output.write_all(statement)?,
                Edit::Drop => {}
                Edit::Replace(other) => self.output.write_all(&other)?,
            }
            if statement.starts_with(b"COPY ") && statement.ends_with(b" FROM stdin;") {
                // The line of the statement itself ends first.
                self.state = State::Rows(None);
            }
        }
        self.held.clear();
        self.start = None;
        self.is_passing = false;
        Ok(())
    }

    /// Takes rows of a table up to the end of a line; gives how many bytes that were.
    fn take_row(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|position| position + 1);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.output.write_all(line)?;
        if let State::Rows(so_far) = &mut self.state {
            if let Some(known) = so_far {
                known.extend_from_slice(line.get(..line.len().min(4)).unwrap_or_default());
                if matches!(known.as_slice(), b"\\.\n" | b"\\.\r\n") {
                    self.state = State::Statement;
                    return Ok(line.len());
                }
                if known.len() > 3 {
                    *so_far = None;
                }
            }
            if end.is_some() {
                *so_far = Some(Vec::new());
            }
        }
        Ok(line.len())
    }

    fn take(&mut self, byte: u8) -> std::io::Result<()> {
        let [_, last] = self.before;
        let state = std::mem::replace(&mut self.state, State::Statement);
        self.state = match state {
            State::Statement => self.in_statement(byte),
            State::LineComment if byte == b'\n' => State::Statement,
            State::Comment(depth) => match (last, byte) {
                (b'*', b'/') if depth == 1 => State::Statement,
                (b'*', b'/') => State::Comment(depth - 1),
                (b'/', b'*') => State::Comment(depth + 1),
                _ => State::Comment(depth),
            },
            State::Text { after_backslash: false, .. } if byte == b'\'' => State::Statement,
            State::Text { is_escaped, after_backslash } => {
                let after_backslash = is_escaped && byte == b'\\' && !after_backslash;
                State::Text { is_escaped, after_backslash }
            }
            State::Identifier if byte == b'"' => State::Statement,
            State::Tag(mut tag) if byte == b'$' || is_word(byte) => {
                tag.push(byte);
                if byte == b'$' { State::Tagged { tag, last: VecDeque::new() } } else { State::Tag(tag) }
            }
            State::Tag(_) => self.in_statement(byte),
            State::Tagged { tag, mut last } => {
                last.push_back(byte);
                if last.len() > tag.len() {
                    last.pop_front();
                }
                if byte == b'$' && last.iter().eq(&tag) {
                    State::Statement
                } else {
                    State::Tagged { tag, last }
                }
            }
            same => same,
        };
        self.before = [last, byte];
        self.held.push(byte);
        if self.state == State::Command && byte == b'\n' || self.state == State::Statement && byte == b';' {
            return self.end_statement();
        }
        if self.held.len() >= STATEMENT_BYTES_MAX {
            self.is_passing = true;
            self.output.write_all(&std::mem::take(&mut self.held))?;
            self.start = Some(0);
        }
        Ok(())
    }

    /// A byte that is in no comment and no text: what it makes of those that follow.
    fn in_statement(&mut self, byte: u8) -> State {
        let [before_last, last] = self.before;
        let begins_comment = matches!((last, byte), (b'-', b'-') | (b'/', b'*'));
        if begins_comment {
            // Its first sign was taken for a statement.
            if self.start.is_some_and(|start| start + 1 == self.held.len()) {
                self.start = None;
            }
            return if byte == b'-' { State::LineComment } else { State::Comment(1) };
        }
        let begins = self.start.is_none();
        if begins && byte.is_ascii_whitespace() {
            return State::Statement;
        }
        self.start.get_or_insert(self.held.len());
        match byte {
            b'\\' if begins => State::Command,
            b'\'' => {
                if last != b'\'' {
                    self.is_escaped = matches!(last, b'e' | b'E') && !is_word(before_last);
                }
                State::Text { is_escaped: self.is_escaped, after_backslash: false }
            }
            b'"' => State::Identifier,
            b'$' if !is_word(last) => State::Tag(vec![b'$']),
            _ => State::Statement,
        }
    }
}

impl<W: Write, F: FnMut(&[u8]) -> Result<Edit>> Write for Script<W, F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            let taken = match self.state {
                State::Rows(_) => self.take_row(rest)?,
                _ => self.take(*byte).map(|()| 1)?,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// Whether a byte may stand in a name.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word or a name without quotes, in small letters.
    Word(String),
    /// A quoted name, as it is meant.
    Quoted(String),
    /// Anything else.
    Other,
}

impl Token {
    /// Whether it is this word, and no name in quotes.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    /// The name that it is.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Other => None,
        }
    }
}

/// The first parts of a statement, and where they stand.
pub fn tokens(statement: &[u8]) -> Vec<(Token, Range<usize>)> {
    const TOKENS_MAX: usize = 64;
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = statement.get(start..).filter(|rest| !rest.is_empty() && tokens.len() < TOKENS_MAX)
    {
        let length_while =
            |holds: fn(u8) -> bool| rest.iter().position(|byte| !holds(*byte)).unwrap_or(rest.len()).max(1);
        let first = rest.first().copied().unwrap_or_default();
        let (token, length) = match first {
            _ if first.is_ascii_whitespace() => (None, length_while(|byte| byte.is_ascii_whitespace())),
            b'"' => {
                let length = quoted_length(rest);
                let inner = as_text(rest.get(1..length.saturating_sub(1)).unwrap_or_default());
                (Some(Token::Quoted(inner.replace("\"\"", "\""))), length)
            }
            b'\'' => (Some(Token::Other), quoted_length(rest)),
            _ if is_word(first) => {
                let length = length_while(is_word);
                (Some(Token::Word(as_text(rest.get(..length).unwrap_or_default()).to_lowercase())), length)
            }
            _ => (Some(Token::Other), 1),
        };
        if let Some(token) = token {
            tokens.push((token, start..start + length));
        }
        start += length;
    }
    tokens
}

/// The length of what stands in quotes, with them; a doubled sign does not end it.
fn quoted_length(text: &[u8]) -> usize {
    let Some(sign) = text.first() else { return 0 };
    let mut length = 1;
    while let Some(position) = text.get(length..).and_then(|rest| rest.iter().position(|byte| byte == sign)) {
        length += position + 1;
        if text.get(length) != Some(sign) {
            return length;
        }
        length += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests;
