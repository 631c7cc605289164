//! One component of a pattern with wildcards, in the language of Go's `filepath.Match`.
//!
//! What must hold: every text is either refused when it is read or matches any name without failing; where the language
//! speaks of characters, bytes that are no UTF-8 count as one character each.

use std::fmt;

/// A component with wildcards.
#[derive(Clone, Debug)]
pub(in crate::source) struct Wildcard(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Any number of bytes.
    Star,
    /// One character.
    One,
    /// One character that is, or is not, in one of these ranges.
    Class { is_negated: bool, ranges: Vec<(char, char)> },
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Why a component is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// A `[` without its `]`.
    OpenClass,
    /// A `[]` or `[^]`, or a `-` or `]` where a character of a class must stand.
    BadClass,
    /// A backslash without a character behind it.
    LoneBackslash,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OpenClass => "a \"[\" has no \"]\" within its component (write \"\\[\" for the character)",
            Self::BadClass => {
                "between \"[\" and \"]\" stand characters and ranges as a-z (write \"\\-\" and \"\\]\" for the \
                 characters)"
            }
            Self::LoneBackslash => "a backslash at the end of a component has nothing to escape",
        })
    }
}

impl std::error::Error for BadPattern {}

impl Wildcard {
    /// Reads a component.
    pub(in crate::source) fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            let literal = match first {
                b'*' => {
                    if tokens.last() != Some(&Token::Star) {
                        tokens.push(Token::Star);
                    }
                    continue;
                }
                b'?' => {
                    tokens.push(Token::One);
                    continue;
                }
                b'[' => {
                    tokens.push(class(&mut rest)?);
                    continue;
                }
                b'\\' => {
                    let (escaped, after) = rest.split_first().ok_or(BadPattern::LoneBackslash)?;
                    rest = after;
                    escaped
                }
                literal => literal,
            };
            match tokens.last_mut() {
                Some(Token::Bytes(bytes)) => bytes.push(*literal),
                _ => tokens.push(Token::Bytes(vec![*literal])),
            }
        }
        Ok(Self(tokens))
    }

    /// The ending, if any name with this ending matches and no other.
    pub(super) fn as_ending(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [Token::Star, Token::Bytes(ending)] => Some(ending),
            _ => None,
        }
    }

    /// Whether a name matches as a whole.
    pub(in crate::source) fn matches(&self, name: &[u8]) -> bool {
        match self.0.as_slice() {
            [Token::Star] => return true,
            [.., Token::Bytes(ending)] if !name.ends_with(ending) => return false,
            _ => {}
        }
        let mut tokens = self.0.as_slice();
        let mut rest = name;
        // What to go on with if the last star takes one byte more.
        let mut retry: Option<(&[Token], &[u8])> = None;
        loop {
            match tokens.split_first() {
                None if rest.is_empty() => return true,
                Some((Token::Star, after)) => {
                    if after.is_empty() {
                        return true;
                    }
                    tokens = after;
                    retry = Some((after, rest));
                    continue;
                }
                Some((token, after)) => {
                    if let Some(next) = token.take(rest) {
                        (tokens, rest) = (after, next);
                        continue;
                    }
                }
                None => {}
            }
            let Some((after_star, begin)) = retry else { return false };
            let Some((_, next)) = begin.split_first() else { return false };
            (tokens, rest) = (after_star, next);
            retry = Some((after_star, next));
        }
    }
}

impl Token {
    /// What is left of a name behind this token; `None` if the name does not begin with it.
    fn take<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        match self {
            Self::Star => Some(name),
            Self::Bytes(bytes) => name.strip_prefix(bytes.as_slice()),
            Self::One => first_character(name).map(|(_, after)| after),
            Self::Class { is_negated, ranges } => {
                let (character, after) = first_character(name)?;
                let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                (is_in != *is_negated).then_some(after)
            }
        }
    }
}

/// Reads a class behind its `[`.
fn class(rest: &mut &[u8]) -> Result<Token, BadPattern> {
    let is_negated = rest.strip_prefix(b"^").inspect(|after| *rest = after).is_some();
    let mut ranges = Vec::new();
    loop {
        if let (Some(after), false) = (rest.strip_prefix(b"]"), ranges.is_empty()) {
            *rest = after;
            return Ok(Token::Class { is_negated, ranges });
        }
        let low = class_character(rest)?;
        let high = match rest.strip_prefix(b"-") {
            Some(after) => {
                *rest = after;
                class_character(rest)?
            }
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut &[u8]) -> Result<char, BadPattern> {
    match rest.first() {
        None => return Err(BadPattern::OpenClass),
        Some(b'-' | b']') => return Err(BadPattern::BadClass),
        Some(b'\\') => {
            *rest = rest.get(1..).unwrap_or_default();
            if rest.is_empty() {
                return Err(BadPattern::LoneBackslash);
            }
        }
        Some(_) => {}
    }
    let (character, after) = first_character(rest).ok_or(BadPattern::OpenClass)?;
    if character == char::REPLACEMENT_CHARACTER && rest.len() == after.len() + 1 {
        // A byte that is no UTF-8 has no place among characters.
        return Err(BadPattern::BadClass);
    }
    *rest = after;
    Ok(character)
}

/// The first character of a name and what is behind it; a byte that is no UTF-8 is one that stands for all such.
pub(super) fn first_character(name: &[u8]) -> Option<(char, &[u8])> {
    let (first, after) = name.split_first()?;
    if first.is_ascii() {
        return Some((char::from(*first), after));
    }
    let length = match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let decoded = name.split_at_checked(length).and_then(|(bytes, after)| {
        let mut characters = std::str::from_utf8(bytes).ok()?.chars();
        characters.next().map(|character| (character, after))
    });
    Some(decoded.unwrap_or((char::REPLACEMENT_CHARACTER, after)))
}
