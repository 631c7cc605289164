//! A listing in another order than that of the tree.
//!
//! What must hold: what the order does not tell apart stays as the tree has it; all of it is in memory.

use clap::ValueEnum;
use packstone::base::Result;
use packstone::format::node::Node;

/// What a listing is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// Names, parents first
    Name,
    /// Size
    Size,
    /// Time of the last change of the content
    #[value(alias = "mtime")]
    Time,
    /// Time of the last change of content or metadata
    Ctime,
    /// What follows the last dot of a name
    Extension,
}

/// A listing that is sorted when all of it is there.
#[derive(Debug)]
pub struct Sorted {
    by: SortBy,
    is_reversed: bool,
    entries: Vec<(Box<[u8]>, Node)>,
}

impl Sorted {
    /// An empty one.
    pub const fn new(by: SortBy, is_reversed: bool) -> Self {
        Self { by, is_reversed, entries: Vec::new() }
    }

    /// Adds an entry, in the order of the tree.
    pub fn add(&mut self, path: &[u8], node: &Node) {
        self.entries.push((path.into(), node.clone()));
    }

    /// Calls `visit` with each entry in order.
    pub fn each(mut self, visit: &mut dyn FnMut(&[u8], &Node) -> Result<()>) -> Result<()> {
        match self.by {
            SortBy::Name => {}
            SortBy::Size => self.entries.sort_by_key(|(_, node)| node.size()),
            SortBy::Time => self.entries.sort_by_key(|(_, node)| node.metadata.mtime),
            SortBy::Ctime => self.entries.sort_by_key(|(_, node)| node.metadata.ctime),
            SortBy::Extension => {
                self.entries.sort_by(|(_, one), (_, other)| extension(&one.name).cmp(extension(&other.name)));
            }
        }
        if self.is_reversed {
            self.entries.reverse();
        }
        self.entries.iter().try_for_each(|(path, node)| visit(path, node))
    }
}

/// What follows the last dot of a name that does not begin with it.
fn extension(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|position| *position > 0);
    dot.and_then(|position| name.get(position + 1..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::Timestamp;
    use packstone::format::node::{Content, Metadata, NodeKind, Regular};

    #[test]
    fn entries_are_sorted_and_the_rest_stays() {
        let names = |by, is_reversed| {
            let mut sorted = Sorted::new(by, is_reversed);
            for (name, size, seconds) in [("a.z", 3, 5), ("b", 1, 9), (".c", 3, 1), ("d.a.b", 2, 5)] {
                let content = Content::Empty;
                let regular = Regular { size, content, extents: None, changed_while_read: false };
                let mtime = Timestamp { seconds, nanoseconds: 0 };
                let metadata = Metadata { mtime, ctime: Timestamp::default(), ..Metadata::default() };
                let (name, kind) = (name.as_bytes().to_vec(), NodeKind::Regular(regular));
                let node = Node { name, kind, metadata, xattrs: Vec::new(), kept: Vec::new() };
                sorted.add(&node.name.clone(), &node);
            }
            let mut names = Vec::new();
            let mut visit = |path: &[u8], _: &Node| {
                names.push(String::from_utf8_lossy(path).into_owned());
                Ok(())
            };
            sorted.each(&mut visit).expect("visited");
            names.join(" ")
        };
        assert_eq!(names(SortBy::Name, false), "a.z b .c d.a.b");
        assert_eq!(names(SortBy::Name, true), "d.a.b .c b a.z");
        assert_eq!(names(SortBy::Size, false), "b d.a.b a.z .c");
        assert_eq!(names(SortBy::Time, false), ".c a.z d.a.b b");
        assert_eq!(names(SortBy::Time, true), "b d.a.b a.z .c");
        assert_eq!(names(SortBy::Ctime, false), "a.z b .c d.a.b");
        assert_eq!(names(SortBy::Extension, false), "b .c d.a.b a.z");
    }
}
