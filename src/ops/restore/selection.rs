//! Which parts of a snapshot are restored.
//!
//! What must hold: a path is judged as it stands in the snapshot, wherever it is restored to; what lies below an
//! excluded directory is never restored; a directory is passed over unread only if no pattern can match below it.

use crate::source::exclude::Rule;
use crate::source::exclude::{GivenPattern, Patterns};

/// What of a snapshot is restored.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// Everything.
    #[default]
    All,
    /// What a pattern matches, and the directories that lead there.
    Include(Patterns),
    /// What no pattern matches.
    Exclude(Patterns),
}

impl Selection {
    /// Whether the object at an absolute path is wanted for itself. Where it is all the same, the path is not asked for.
    pub(super) fn wants_at(&self, path: impl FnOnce() -> Vec<u8>) -> bool {
        matches!(self, Self::All) || self.wants(&path())
    }

    /// Whether the object at an absolute path is wanted for itself.
    pub(super) fn wants(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Include(patterns) => patterns.rule_for(path).is_some(),
            Self::Exclude(_) => self.leaves_out(path).is_none(),
        }
    }

    /// The rule that leaves out an absolute path, if one does.
    pub(super) fn leaves_out(&self, path: &[u8]) -> Option<&Rule> {
        match self {
            Self::All | Self::Include(_) => None,
            Self::Exclude(patterns) => patterns.rule_for(path),
        }
    }

    /// Whether something below a directory may be wanted; `is_wanted` says whether the directory itself is.
    pub(super) fn may_want_below(&self, path: &[u8], is_wanted: bool) -> bool {
        match self {
            Self::All => true,
            Self::Exclude(_) => is_wanted,
            Self::Include(patterns) => {
                is_wanted || patterns.given().any(|pattern| may_match_below(pattern, path))
            }
        }
    }
}

/// False only if no path below a directory can match. Components with wildcards count as matching all.
fn may_match_below(pattern: &GivenPattern, directory: &[u8]) -> bool {
    let Some(anchored) = pattern.text.strip_prefix(b"/") else { return true };
    let wanted = anchored.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    // These stand for no name, and others do not stand where their names do.
    if wanted.clone().any(|part| part == b"." || part == b"..") {
        return true;
    }
    let names = directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    for (wanted, name) in wanted.zip(names) {
        if wanted.iter().any(|byte| b"*?[\\".contains(byte)) {
            // Two stars stand for any number of components, so that those behind them may be anywhere.
            if wanted == b"**" {
                return true;
            }
            continue;
        }
        let is_same = match pattern.ignores_case && !(wanted.is_ascii() && name.is_ascii()) {
            true => true,
            false if pattern.ignores_case => wanted.eq_ignore_ascii_case(name),
            false => wanted == name,
        };
        if !is_same {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str, ignores_case: bool) -> GivenPattern {
        GivenPattern { text: text.into(), ignores_case, origin: "--include".into() }
    }

    #[test]
    fn only_directories_that_can_hold_a_match_are_read() {
        let may = |text, directory: &str| may_match_below(&given(text, false), directory.as_bytes());
        assert!(may("*.txt", "/a/b"));
        assert!(may("/a/b/c", "/a"));
        assert!(may("/a/b/c", "/a/b"));
        assert!(may("/a/b", "/a/b/c/d"), "below a match everything matches");
        assert!(!may("/a/b/c", "/a/x"));
        assert!(!may("/a/b/c", "/x"));
        assert!(may("/*/b", "/x/b") && may("/*/b", "/x") && !may("/*/b", "/x/c"));
        assert!(may("/a/**/z", "/a/b/c/d") && !may("/a/**/z", "/b"));
        assert!(may("/a\\b", "/ab"));
        assert!(may("/a/./b/c", "/a/b") && may("/x/../a/b", "/a") && may("/a/x/../b/c", "/a/b"));
        assert!(!may("/A", "/a"));
        let may = |text, directory: &str| may_match_below(&given(text, true), directory.as_bytes());
        assert!(may("/A/b", "/a") && !may("/A/b", "/b"));
        assert!(may("/Ä/b", "/ä"));
    }

    #[test]
    fn a_directory_that_is_excluded_is_never_entered() {
        let exclude =
            Selection::Exclude(Patterns::new(vec![given("/a/b", false), given("!c", false)]).unwrap());
        assert!(exclude.wants(b"/a") && !exclude.wants(b"/a/b"));
        assert!(!exclude.may_want_below(b"/a/b", false));
        let include = Selection::Include(Patterns::new(vec![given("/a/b", false)]).unwrap());
        assert!(!include.wants(b"/a") && include.may_want_below(b"/a", false));
        assert!(include.wants(b"/a/b/c/d") && !include.may_want_below(b"/x", false));
    }
}
