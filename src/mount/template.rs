//! Where snapshots stand in a mount: patterns of paths, with restic's signs.
//!
//! What must hold: whatever a snapshot says of itself, its path has as many components as its pattern, none of which leads
//! elsewhere; a pattern that could not tell two snapshots apart is refused.

use std::str::FromStr;

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::{Error, ErrorKind};
use crate::repository::SnapshotEntry;

/// A pattern of paths: `%i` is the short id, `%I` the whole, `%u` the user, `%h` the host, `%t` each of the tags, `%j` the
/// job, `%T` the time, `%%` a percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    components: Vec<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    ShortId,
    Id,
    User,
    Host,
    Tag,
    Job,
    Time,
}

/// The patterns of a mount for which none were given.
pub const PATH_TEMPLATES: [&str; 5] = ["ids/%i", "snapshots/%T", "hosts/%h/%T", "tags/%t/%T", "jobs/%j/%T"];

impl FromStr for PathTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Usage, format!("path template {text:?}: {why}"));
        let mut components = Vec::new();
        for component in text.split('/').filter(|component| !component.is_empty()) {
            if component == "." || component == ".." {
                return Err(refused("no component can be . or .."));
            }
            components.push(parts(component).map_err(|why| refused(&why))?);
        }
        let tells_apart = |part: &Part| matches!(part, Part::ShortId | Part::Id | Part::Time);
        if !components.last().is_some_and(|last| last.iter().any(tells_apart)) {
            return Err(refused("its last component needs %i, %I or %T"));
        }
        Ok(Self { components })
    }
}

fn parts(component: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut characters = component.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let part = match characters.next() {
            Some('i') => Part::ShortId,
            Some('I') => Part::Id,
            Some('u') => Part::User,
            Some('h') => Part::Host,
            Some('t') => Part::Tag,
            Some('j') => Part::Job,
            Some('T') => Part::Time,
            Some('%') => {
                text.push('%');
                continue;
            }
            Some(other) => {
                return Err(format!("%{other} stands for nothing; known are %i %I %u %h %t %j %T %%"));
            }
            None => return Err("a percent sign at its end".to_owned()),
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

impl PathTemplate {
    /// The components before the first that depends on a snapshot: directories that are there without any.
    pub(super) fn fixed(&self) -> Vec<Vec<u8>> {
        let text = |parts: &Vec<Part>| match parts.as_slice() {
            [Part::Text(text)] => Some(component(text)),
            _ => None,
        };
        let last = self.components.len().saturating_sub(1);
        self.components.iter().take(last).map_while(text).collect()
    }

    /// Whether its last component is made of the time, so that the newest one can be named.
    pub(super) fn ends_in_time(&self) -> bool {
        self.components.last().is_some_and(|last| last.contains(&Part::Time))
    }

    /// The paths of a snapshot: one for each tag where a tag is asked for, none where what is asked for is absent.
    pub(super) fn paths(&self, entry: &SnapshotEntry, time: &str) -> Vec<Vec<Vec<u8>>> {
        let snapshot = &entry.snapshot;
        let asks = |part: &Part| self.components.iter().flatten().any(|asked| asked == part);
        if asks(&Part::Job) && snapshot.job.is_none() {
            return Vec::new();
        }
        let tags: Vec<&str> = match asks(&Part::Tag) {
            true => snapshot.tags.iter().map(String::as_str).collect(),
            false => vec![""],
        };
        let written = |parts: &Vec<Part>, tag: &str| {
            let written: String = parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::ShortId => entry.id.short(),
                    Part::Id => entry.id.hex(),
                    Part::User => snapshot.user.clone().unwrap_or_default(),
                    Part::Host => snapshot.host.clone(),
                    Part::Tag => tag.to_owned(),
                    Part::Job => snapshot.job.clone().unwrap_or_default(),
                    Part::Time => time.to_owned(),
                })
                .collect();
            component(&written)
        };
        let path = |tag: &&str| self.components.iter().map(|parts| written(parts, tag)).collect();
        tags.iter().map(path).collect()
    }
}

/// What can stand as one component, as like `text` as may be.
fn component(text: &str) -> Vec<u8> {
    let mut written = text.replace(['/', '\0'], "_");
    if written.is_empty() || written == "." || written == ".." {
        written = format!("_{written}");
    }
    // Room for what tells equal ones apart.
    let mut end = written.len().min(NAME_BYTES_MAX - 8);
    while !written.is_char_boundary(end) {
        end -= 1;
    }
    written.truncate(end);
    written.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ContentName, SessionId};
    use crate::format::snapshot::tests::snapshot;

    fn entry() -> SnapshotEntry {
        let mut snapshot = snapshot();
        snapshot.host = "web/1".into();
        snapshot.user = Some("..".into());
        snapshot.tags = vec!["a".into(), "b c".into()];
        snapshot.job = None;
        SnapshotEntry { id: SessionId([0x1a; 16]), stored_hash: ContentName([1; 32]), snapshot }
    }

    fn paths(template: &str) -> Vec<String> {
        let template: PathTemplate = template.parse().expect("a template");
        let shown = |path: &Vec<Vec<u8>>| String::from_utf8(path.join(&b'/')).expect("text");
        template.paths(&entry(), "2026-01-31").iter().map(shown).collect()
    }

    #[test]
    fn signs_stand_for_what_a_snapshot_says() {
        assert_eq!(paths("ids/%i"), ["ids/1a1a1a1a"]);
        assert_eq!(paths("/x//%I/"), [format!("x/{}", "1a".repeat(16))]);
        assert_eq!(paths("%h %u/100%%/%T!"), ["web_1 ../100%/2026-01-31!"]);
        assert_eq!(paths("%u/%T"), ["_../2026-01-31"]);
        assert_eq!(paths("tags/%t/%T"), ["tags/a/2026-01-31", "tags/b c/2026-01-31"]);
        assert!(paths("jobs/%j/%T").is_empty());
    }

    #[test]
    fn directories_that_need_no_snapshot_are_known() {
        let fixed = |text: &str| text.parse::<PathTemplate>().expect("a template").fixed();
        assert_eq!(fixed("a/b/%h/c/%T"), [b"a".to_vec(), b"b".to_vec()]);
        assert!(fixed("%T").is_empty());
        for template in PATH_TEMPLATES {
            assert_eq!(fixed(template).len(), 1, "{template}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_used_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "needs %i, %I or %T"),
            ("hosts/%h", "needs %i, %I or %T"),
            ("%T/x", "needs %i, %I or %T"),
            ("a/../%T", "no component can be"),
            ("%x/%T", "%x stands for nothing"),
            ("%T%", "at its end"),
        ] {
            let error = text.parse::<PathTemplate>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let long = component(&"ä".repeat(300));
        assert!(long.len() <= NAME_BYTES_MAX - 8 && String::from_utf8(long).is_ok());
        assert_eq!(component(""), b"_");
    }
}
