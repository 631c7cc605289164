//! One pattern of a path: components with wildcards, and `**` for any number of components.
//!
//! What must hold: a component means what Go's `filepath.Match` makes of it, byte for byte; a pattern that this
//! language refuses is refused when it is read, never while a path is looked at; matching takes no memory.

use crate::source::exclude::wildcard::{BadPattern, Wildcard};

/// A pattern that was read.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// Whether it begins at the root directory.
    is_absolute: bool,
    /// Its components, parted where a `**` stands. The first run of an absolute pattern begins at the root; the last
    /// run is empty only if there is no other.
    runs: Vec<Vec<Component>>,
    /// `..` at its beginning, or nothing but `.`: no path has such a component.
    is_hopeless: bool,
}

#[derive(Clone, Debug)]
enum Component {
    Name(Vec<u8>),
    Wildcard(Wildcard),
}

impl Component {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Wildcard(wildcard) => wildcard.matches(name),
        }
    }
}

/// By what the last component of a pattern can be found among many patterns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastComponent<'p> {
    /// It is this name.
    Name(&'p [u8]),
    /// It is `*` and this ending.
    Ending(&'p [u8]),
    /// It must be tried.
    Other,
}

impl Pattern {
    /// Reads a pattern. Doubled and closing slashes and `.` vanish, and `..` takes the component before it away, as in
    /// Go's `filepath.Clean`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let is_absolute = text.starts_with(b"/");
        let mut components: Vec<&[u8]> = Vec::new();
        for component in text.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => match components.last() {
                    Some(last) if *last != b".." => drop(components.pop()),
                    _ if is_absolute => {}
                    _ => components.push(component),
                },
                _ => components.push(component),
            }
        }
        let is_hopeless =
            components.first().is_some_and(|first| *first == b"..") || components.is_empty() && !is_absolute;
        let mut runs = vec![Vec::new()];
        for component in components {
            if component == b"**" {
                runs.push(Vec::new());
            } else if let Some(run) = runs.last_mut() {
                run.push(match component.iter().any(|byte| b"*?[]\\".contains(byte)) {
                    true => Component::Wildcard(Wildcard::parse(component)?),
                    false => Component::Name(component.to_vec()),
                });
            }
        }
        // What a path has below the last component is matched in any case.
        while runs.len() > 1 && runs.last().is_some_and(Vec::is_empty) {
            runs.pop();
        }
        Ok(Self { is_absolute, runs, is_hopeless })
    }

    /// Says by what it can be found.
    pub(super) fn last_component(&self) -> LastComponent<'_> {
        match self.runs.last().and_then(|run| run.last()) {
            Some(Component::Name(name)) => LastComponent::Name(name),
            Some(Component::Wildcard(wildcard)) => {
                wildcard.as_ending().map_or(LastComponent::Other, LastComponent::Ending)
            }
            None => LastComponent::Other,
        }
    }

    /// Whether it matches a path, given by the directories above and the name, so that its last component is the name.
    /// A pattern matches whatever lies below such a path, too.
    pub(super) fn ends_at(&self, above: &[Vec<u8>], name: &[u8]) -> bool {
        let Some((last, earlier)) = self.runs.split_last() else { return false };
        let Some((end, before_end)) = last.split_last() else { return !self.is_hopeless };
        if self.is_hopeless || !end.matches(name) {
            return false;
        }
        let Some(start) = above.len().checked_sub(before_end.len()) else { return false };
        let Some((mut rest, directories)) = above.split_at_checked(start) else { return false };
        if !matches_run(before_end, directories) {
            return false;
        }
        let Some((first, middle)) = earlier.split_first() else {
            return !self.is_absolute || rest.is_empty();
        };
        if self.is_absolute {
            match rest.split_at_checked(first.len()) {
                Some((begin, after)) if matches_run(first, begin) => rest = after,
                _ => return false,
            }
        } else if !skip_past(first, &mut rest) {
            return false;
        }
        middle.iter().all(|run| skip_past(run, &mut rest))
    }

    /// Whether it matches a path or one of the directories above it.
    pub(super) fn matches(&self, path: &[Vec<u8>]) -> bool {
        let mut places = (0..path.len()).filter_map(|length| path.split_at_checked(length));
        places.any(|(above, rest)| rest.first().is_some_and(|name| self.ends_at(above, name)))
    }

    /// Whether it can match something in a directory or below it, which matches none of it itself.
    pub(super) fn can_match_below(&self, directory: &[Vec<u8>]) -> bool {
        let Some((first, others)) = self.runs.split_first().filter(|_| self.is_absolute) else {
            return !self.is_hopeless;
        };
        let length = first.len().min(directory.len());
        let has_room = directory.len() < first.len() || !others.is_empty() || first.is_empty();
        let begins = first.get(..length).zip(directory.get(..length));
        has_room && begins.is_some_and(|(begin, names)| matches_run(begin, names))
    }
}

fn matches_run(run: &[Component], names: &[Vec<u8>]) -> bool {
    // From the end, where paths differ.
    run.iter().zip(names).rev().all(|(component, name)| component.matches(name))
}

/// Finds a run where it first stands, and goes on behind it. The first place is as good as any: it leaves the most.
fn skip_past(run: &[Component], rest: &mut &[Vec<u8>]) -> bool {
    if run.is_empty() {
        return true;
    }
    let found = rest.windows(run.len()).position(|names| matches_run(run, names));
    match found.and_then(|position| rest.get(position + run.len()..)) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
