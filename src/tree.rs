//! Stored trees: building the pages of a directory, reading them again, finding a path.
//!
//! What must hold: the same entries always give the same pages; a reader refuses pages that do not fit the entry that
//! named them, and stops where a tree holds more than its snapshot says.

mod build;
mod common;
mod compare;
mod content;
mod content_map;
mod hurt;
mod inspect;
mod list;
mod mark;
mod pages;
mod read;
mod walk;

pub use build::{DirectoryBuilder, Joined, Member};
pub use common::mark_common;
pub use compare::{Differences, Pair};
pub use content::{LastBundles, same_content, same_version};
pub use content_map::{ContentMap, ListEntries, Piece};
pub use hurt::{Hurt, HurtBy, SHOWN_MAX, find_hurt};
pub use inspect::{Inspected, TreeCounts, TreeDamage, inspect};
pub use list::ListBuilder;
pub use mark::{Problem, mark_reachable};
pub use pages::{OpenedPage, PageRef, StoredPage, find_in_pages};
pub use read::{BundlePlace, DirectoryEntries, Entry, Tree, XattrValues};
pub(crate) use read::{check_length, leaf_entries};
pub use walk::{Budget, Walk, WalkItem};

#[cfg(test)]
mod tests;
