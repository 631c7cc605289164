//! Patterns of what is looked for: the language of what is left out, turned round.
//!
//! What must hold: a pattern means here what it means in `--exclude`, but that it matches a path itself and not what lies
//! below it, for which it ends with `/**`; a directory is passed over only if nothing below it can match.

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::source::exclude::components;
use crate::source::exclude::pattern::Pattern;
use crate::source::exclude::rules::lower;

/// What is looked for. The default, without patterns, is everything.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    patterns: Vec<SoughtPattern>,
    ignores_case: bool,
}

#[derive(Clone, Debug)]
struct SoughtPattern {
    pattern: Pattern,
    /// It ended with `/**`: all below what it matches is meant, and not that itself.
    is_below: bool,
}

impl Sought {
    /// Reads patterns of any bytes, of which one must match. `Usage` if one cannot be read.
    pub fn new(texts: &[impl AsRef<[u8]>], ignores_case: bool) -> Result<Self> {
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            let text = text.as_ref();
            let shown = || show_path(text);
            if text.is_empty() {
                return Err(Error::new(ErrorKind::Usage, "an empty pattern matches nothing"));
            }
            let lowered = if ignores_case { lower(text) } else { text.to_vec() };
            let before = lowered.strip_suffix(b"/**").filter(|before| !before.is_empty());
            let pattern = Pattern::parse(before.unwrap_or(&lowered)).map_err(|bad| {
                let message = format!("the pattern \"{}\" cannot be read", shown());
                Error::caused(ErrorKind::Usage, message, bad)
            })?;
            patterns.push(SoughtPattern { pattern, is_below: before.is_some() });
        }
        Ok(Self { patterns, ignores_case })
    }

    /// Judges the names in a directory, given by its absolute path.
    pub fn in_directory(&self, path: &[u8]) -> SoughtIn<'_> {
        let above = if self.ignores_case { components(&lower(path)) } else { components(path) };
        let is_below_match = |sought: &&SoughtPattern| sought.is_below && sought.pattern.matches(&above);
        let is_all = self.patterns.is_empty() || self.patterns.iter().any(|sought| is_below_match(&sought));
        SoughtIn { sought: self, above, is_all }
    }
}

/// Judges the names in one directory.
#[derive(Debug)]
pub struct SoughtIn<'s> {
    sought: &'s Sought,
    above: Vec<Vec<u8>>,
    is_all: bool,
}

impl SoughtIn<'_> {
    /// Whether what stands under a name is looked for.
    pub fn matches(&self, name: &[u8]) -> bool {
        let lowered;
        let name = match self.sought.ignores_case {
            true => {
                lowered = lower(name);
                &lowered
            }
            false => name,
        };
        let mut patterns = self.sought.patterns.iter().filter(|sought| !sought.is_below);
        self.is_all || patterns.any(|sought| sought.pattern.ends_at(&self.above, name))
    }

    /// Whether something in this directory or below it can be looked for.
    pub fn can_match(&self) -> bool {
        let mut patterns = self.sought.patterns.iter();
        self.is_all || patterns.any(|sought| sought.pattern.can_match_below(&self.above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let sought = Sought::new(&[pattern], false).unwrap();
        let (directory, name) = path.rsplit_once('/').unwrap();
        sought.in_directory(directory.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn a_pattern_matches_a_path_itself() {
        for (pattern, path) in [
            ("hosts", "/etc/hosts"),
            ("*.conf", "/etc/a/b.conf"),
            ("etc/*", "/etc/hosts"),
            ("/etc/hosts", "/etc/hosts"),
            ("/**/hosts", "/etc/hosts"),
            ("/srv/**/c", "/srv/a/b/c"),
            ("/etc/**", "/etc/hosts"),
            ("/etc/**", "/etc/a/b"),
            ("a/**", "/x/a/b/c"),
            ("**", "/x"),
            ("/**", "/x/y"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("etc", "/etc/hosts"),
            ("hosts", "/etc/hosts.bak"),
            ("/hosts", "/etc/hosts"),
            ("/etc/**", "/etc"),
            ("a/**", "/x/a"),
            ("HOSTS", "/etc/hosts"),
            ("/srv/*/c", "/srv/a/b/c"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn capital_letters_can_be_passed_over() {
        let sought = Sought::new(&["/ETC/[A-H]osts", "Ä*"], true).unwrap();
        assert!(sought.in_directory(b"/Etc").matches(b"HOSTS"));
        assert!(sought.in_directory(b"/x").matches("ärger".as_bytes()));
        assert!(!sought.in_directory(b"/x").matches(b"hosts"));
    }

    #[test]
    fn a_directory_is_passed_over_only_where_nothing_can_match() {
        let can = |pattern: &str, path: &str| {
            Sought::new(&[pattern], false).unwrap().in_directory(path.as_bytes()).can_match()
        };
        for (pattern, path) in [
            ("hosts", "/any/where"),
            ("/etc/hosts", ""),
            ("/etc/hosts", "/etc"),
            ("/e*/ssh/x", "/etc/ssh"),
            ("/srv/**/c", "/srv"),
            ("/srv/**/c", "/srv/deep/deeper"),
            ("/srv/**", "/srv/deep/deeper"),
            ("/**/c", "/x"),
            ("/srv/a/**", "/srv"),
        ] {
            assert!(can(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/etc/hosts", "/home"),
            ("/etc/hosts", "/etc/ssh"),
            ("/e*/ssh/x", "/etc/ssl"),
            ("/srv/**/c", "/home/x"),
            ("/srv/**", "/home"),
            ("/srv/a/**", "/srv/b"),
        ] {
            assert!(!can(pattern, path), "{pattern} {path}");
        }
        assert!(Sought::default().in_directory(b"/x").can_match());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in ["[", "a\\", ""] {
            assert_eq!(Sought::new(&[bad], false).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
