//! Patterns in their order: the last one that matches a path decides, and one that begins with `!` decides for it.
//!
//! What must hold: a path below one that a pattern matches is matched by it, too, so that whoever walks a tree asks of
//! each name only which patterns end there and carries on what was found above; a path costs no look at the patterns
//! whose last component is another name or another ending.

use std::collections::HashMap;
use std::fmt;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::source::exclude::GivenPattern;
use crate::source::exclude::pattern::{LastComponent, Pattern};

/// A pattern that leaves out what it matches, or with `!` takes it back in.
#[derive(Clone, Debug)]
pub struct Rule {
    given: GivenPattern,
    is_negated: bool,
    pattern: Pattern,
}

impl Rule {
    /// As the user gave it.
    pub const fn given(&self) -> &GivenPattern {
        &self.given
    }
}

/// Names the pattern and where it stands, as `pattern "*.tmp" of --exclude-file rules line 3`.
impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "pattern \"{}\" of {}", show_path(&self.given.text), self.given.origin)
    }
}

/// Rules in their order, and ways to find those that can match a name.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleList {
    rules: Vec<Rule>,
    /// Positions of rules, in ascending order, by the name that is their last component.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    /// The same by the ending behind a `*` that is their last component.
    by_ending: HashMap<Vec<u8>, Vec<usize>>,
    /// Lengths of these endings.
    ending_lengths: Vec<usize>,
    /// The rest.
    others: Vec<usize>,
    has_negated: bool,
}

impl RuleList {
    pub(super) fn new(given: Vec<GivenPattern>) -> Result<Self> {
        let mut list = Self::default();
        // An empty pattern matches nothing.
        for given in given.into_iter().filter(|given| !given.text.is_empty()) {
            list.push(rule(given)?);
        }
        Ok(list)
    }

    fn push(&mut self, rule: Rule) {
        let position = self.rules.len();
        match rule.pattern.last_component() {
            LastComponent::Name(name) => self.by_name.entry(name.to_vec()).or_default().push(position),
            LastComponent::Ending(ending) => {
                if !self.ending_lengths.contains(&ending.len()) {
                    self.ending_lengths.push(ending.len());
                }
                self.by_ending.entry(ending.to_vec()).or_default().push(position);
            }
            LastComponent::Other => self.others.push(position),
        }
        self.has_negated |= rule.is_negated;
        self.rules.push(rule);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any rule takes something back in.
    pub(super) const fn has_negated(&self) -> bool {
        self.has_negated
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The position of the last rule that matches a path, given by the directories above and the name, if `inherited` is
    /// that of the directory which holds it.
    pub(super) fn last_match(
        &self,
        above: &[Vec<u8>],
        name: &[u8],
        inherited: Option<usize>,
    ) -> Option<usize> {
        let mut last = inherited;
        let mut consider = |positions: &[usize]| {
            for position in positions.iter().rev() {
                if last.is_some_and(|last| last >= *position) {
                    return;
                }
                if self.rules.get(*position).is_some_and(|rule| rule.pattern.ends_at(above, name)) {
                    last = Some(*position);
                    return;
                }
            }
        };
        if !self.by_name.is_empty() {
            self.by_name.get(name).into_iter().for_each(|positions| consider(positions));
        }
        for length in &self.ending_lengths {
            let start = name.len().checked_sub(*length);
            let ending = start.and_then(|start| name.get(start..)).and_then(|end| self.by_ending.get(end));
            ending.into_iter().for_each(|positions| consider(positions));
        }
        consider(&self.others);
        last
    }

    /// The same of a path of which nothing is known.
    pub(super) fn last_match_of_all(&self, path: &[Vec<u8>]) -> Option<usize> {
        let parts = (0..path.len()).filter_map(|length| path.split_at_checked(length));
        parts.fold(None, |inherited, (above, rest)| {
            rest.first().map_or(inherited, |name| self.last_match(above, name, inherited))
        })
    }

    /// The rule at a position, if it leaves out what it matches.
    pub(super) fn excluding(&self, position: Option<usize>) -> Option<&Rule> {
        self.rules.get(position?).filter(|rule| !rule.is_negated)
    }
}

fn rule(given: GivenPattern) -> Result<Rule> {
    let text = if given.ignores_case { lower(&given.text) } else { given.text.clone() };
    let negated = text.strip_prefix(b"!");
    match Pattern::parse(negated.unwrap_or(&text)) {
        Ok(pattern) => Ok(Rule { is_negated: negated.is_some(), pattern, given }),
        Err(bad) => {
            let shown = show_path(&given.text);
            let message = format!("the pattern \"{shown}\" of {} cannot be read", given.origin);
            Err(Error::caused(ErrorKind::Usage, message, bad))
        }
    }
}

/// In small letters, character by character; bytes that are no UTF-8 stay as they are.
pub(super) fn lower(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut lowered = Vec::with_capacity(text.len());
    for part in text.utf8_chunks() {
        for character in part.valid().chars() {
            // The one letter that would become two (İ) becomes the first of them.
            let small = character.to_lowercase().next().unwrap_or(character);
            lowered.extend_from_slice(small.encode_utf8(&mut [0; 4]).as_bytes());
        }
        lowered.extend_from_slice(part.invalid());
    }
    lowered
}
