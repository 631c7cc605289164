//! The first line of newer dumps, by which their own client closes its sandbox, left out on the way.
//!
//! What must hold: nothing else is left out; clients that do not know the line stop at it, and those that do are told by
//! an argument instead.

use std::io::Write;

/// What the line begins with: `/*M!999999\- enable the sandbox mode */`.
const BEGINNING: &[u8] = b"/*M!999999\\-";

/// Passes a dump on without that line.
pub(super) struct WithoutSandbox<W> {
    output: W,
    state: State,
}

enum State {
    /// The first bytes, which may be those of the line.
    Begins(Vec<u8>),
    /// The line is left out up to its end.
    Skips,
    Passes,
}

impl<W: Write> WithoutSandbox<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, state: State::Begins(Vec::new()) }
    }

    /// Passes on what is left.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        if let State::Begins(held) = &self.state {
            self.output.write_all(held)?;
        }
        self.output.flush()
    }
}

impl<W: Write> Write for WithoutSandbox<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.state {
            State::Passes => self.output.write(bytes),
            State::Begins(held) => {
                let room = BEGINNING.len().saturating_sub(held.len()).min(bytes.len());
                held.extend_from_slice(bytes.get(..room).unwrap_or_default());
                if held.as_slice() == BEGINNING {
                    self.state = State::Skips;
                } else if !BEGINNING.starts_with(held) {
                    let held = std::mem::take(held);
                    self.state = State::Passes;
                    self.output.write_all(&held)?;
                }
                Ok(room)
            }
            State::Skips => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                if end.is_some() {
                    self.state = State::Passes;
                }
                Ok(end.map_or(bytes.len(), |end| end + 1))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_line_at_the_beginning_is_left_out() {
        let line = "/*M!999999\\- enable the sandbox mode */ \n";
        let twice = format!("-- x\n{line}");
        for (dump, wanted) in [
            (format!("{line}-- x\n{line}"), twice.as_str()),
            (twice.clone(), twice.as_str()),
            (line.to_owned(), ""),
            ("/*M!99".to_owned(), "/*M!99"),
            ("/*M!100000 x */\n".to_owned(), "/*M!100000 x */\n"),
            (String::new(), ""),
        ] {
            for size in [1, 3, 1000] {
                let mut output = Vec::new();
                let mut without = WithoutSandbox::new(&mut output);
                dump.as_bytes().chunks(size).for_each(|piece| without.write_all(piece).expect("written"));
                without.finish().expect("written");
                assert_eq!(String::from_utf8(output).expect("text"), wanted);
            }
        }
    }
}
