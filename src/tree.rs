//! Stored trees: building the pages of a directory, reading them again, finding a path.
//!
//! What must hold: the same entries always give the same pages; a reader refuses pages that do not fit the entry that
//! named them, and stops where a tree holds more than its snapshot says.

mod build;
mod common;
mod hurt;
mod inspect;
mod list;
mod mark;
mod read;
mod walk;

pub use build::{DirectoryBuilder, Joined, Member};
pub use common::mark_common;
pub use hurt::{Hurt, HurtBy, SHOWN_MAX, find_hurt};
pub use inspect::{Inspected, TreeCounts, TreeDamage, inspect};
pub use list::ListBuilder;
pub use mark::{Problem, mark_reachable};
pub use read::{BundlePlace, DirectoryEntries, Entry, Tree, XattrValues};
pub(crate) use read::{check_length, leaf_entries};
pub use walk::{Budget, Walk, WalkItem};

#[cfg(test)]
mod tests;
