//! What a snapshot is known to hold as a whole, so that what it lacks there was not there.
//!
//! What must hold: where it cannot be told why something is not in the snapshot, it counts as left out of it.

use crate::format::snapshot::{Snapshot, SourceOutcome};
use crate::source::{GivenPattern, Patterns};

/// What was backed up, and how well.
pub(super) struct Wholeness {
    /// The paths of which all was read. What is above them holds only what leads there.
    whole: Vec<Vec<u8>>,
    /// Those of which something could not be read.
    partial: Vec<Vec<u8>>,
    /// What patterns left out; none if they cannot be read.
    left_out: Option<Patterns>,
}

/// What is known of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All that was in it is in the snapshot, but for what was left out.
    Whole,
    /// It only leads to what was backed up.
    Above,
    /// It belongs to this path, of which something could not be read.
    Partial(Vec<u8>),
    /// The patterns of the backup cannot be read, so that nothing is known of what they left out.
    Unreadable,
}

impl Wholeness {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let is_complete = |path: &Vec<u8>| {
            let mut of_path = snapshot.sources.iter().filter(|source| source.path == *path).peekable();
            of_path.peek().is_some()
                && of_path.all(|source| source.outcome == SourceOutcome::Complete && source.findings == 0)
        };
        let (whole, partial) = snapshot.paths.iter().cloned().partition(is_complete);
        Self { whole, partial, left_out: left_out(&snapshot.excludes) }
    }

    /// Whether all of it was read.
    pub(super) const fn is_complete(&self) -> bool {
        self.partial.is_empty()
    }

    /// What is known of a directory.
    pub(super) fn known(&self, path: &[u8]) -> Known {
        if let Some(source) = self.partial.iter().find(|source| is_within(path, source)) {
            return Known::Partial(source.clone());
        }
        if !self.whole.iter().any(|source| is_within(path, source)) {
            return Known::Above;
        }
        if self.left_out.is_none() { Known::Unreadable } else { Known::Whole }
    }

    /// Whether what is not in the snapshot may have been there and was left out, or leads to what may.
    pub(super) fn is_left_out(&self, path: &[u8]) -> bool {
        let Some(patterns) = &self.left_out else { return true };
        let is_partial = |source: &Vec<u8>| is_within(path, source) || is_within(source, path);
        patterns.rule_for(path).is_some() || self.partial.iter().any(is_partial)
    }
}

fn is_within(path: &[u8], source: &[u8]) -> bool {
    let source = source.strip_suffix(b"/").unwrap_or(source);
    path.strip_prefix(source).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What may have been left out. What was taken back in is not known to be, and which patterns ignored the case is not
/// stored, so that each counts in both ways. None if one cannot be read, or may not be as it was given.
fn left_out(texts: &[String]) -> Option<Patterns> {
    let texts = texts.iter().filter(|text| !text.starts_with('!'));
    let mut given = Vec::new();
    for text in texts {
        if may_be_escaped(text.as_bytes()) {
            return None;
        }
        for ignores_case in [false, true] {
            let text = text.clone().into_bytes();
            given.push(GivenPattern { text, ignores_case, origin: "the backup".into() });
        }
    }
    Patterns::new(given).ok()
}

/// Whether a pattern may stand for one with bytes that are no text, of which only how they are shown is stored.
fn may_be_escaped(text: &[u8]) -> bool {
    text.windows(4).any(|four| {
        matches!(four, [b'\\', b'x', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(whole: &[&str], partial: &[&str], excludes: &[&str]) -> Wholeness {
        let paths = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let texts: Vec<String> = excludes.iter().map(|text| (*text).to_owned()).collect();
        Wholeness { whole: paths(whole), partial: paths(partial), left_out: left_out(&texts) }
    }

    #[test]
    fn only_what_is_below_a_complete_source_is_whole() {
        let wholeness = of(&["/a", "/c/"], &["/b", "/a/bad"], &[]);
        for (path, known) in [
            ("/", Known::Above),
            ("/a", Known::Whole),
            ("/a/x", Known::Whole),
            ("/ab", Known::Above),
            ("/c/d", Known::Whole),
            ("/b/x", Known::Partial(b"/b".to_vec())),
            ("/a/bad/x", Known::Partial(b"/a/bad".to_vec())),
        ] {
            assert_eq!(wholeness.known(path.as_bytes()), known, "{path}");
        }
        assert!(wholeness.is_left_out(b"/a/bad") && wholeness.is_left_out(b"/b/x"));
        assert!(!wholeness.is_left_out(b"/a/badly"));
        assert!(!wholeness.is_complete() && of(&["/a"], &[], &[]).is_complete());
        assert!(of(&["/"], &[], &[]).known(b"/x") == Known::Whole);
    }

    #[test]
    fn patterns_keep_more_than_they_left_out_and_never_less() {
        let wholeness = of(&["/"], &[], &["*.tmp", "!keep.tmp", "[^a].c", "/B/*"]);
        for path in ["/x.tmp", "/x.TMP", "/keep.tmp", "/d.tmp/below", "/A.c", "/b.c", "/b/c", "/B/c"] {
            assert!(wholeness.is_left_out(path.as_bytes()), "{path}");
        }
        assert!(!wholeness.is_left_out(b"/a.c") && !wholeness.is_left_out(b"/x"));
    }

    #[test]
    fn where_a_pattern_cannot_be_read_everything_counts_as_left_out() {
        for pattern in ["[a", "name\\xff"] {
            let wholeness = of(&["/"], &[], &["*.o", pattern]);
            assert_eq!(wholeness.known(b"/x"), Known::Unreadable, "{pattern}");
            assert!(wholeness.is_left_out(b"/x"), "{pattern}");
        }
        assert_eq!(of(&["/"], &[], &["!\\xff"]).known(b"/x"), Known::Whole);
    }
}
