//! Where how much differs, on one screen.
//!
//! What must hold: the rows together are all changes, each in one row; what differs most is told most closely.

use std::collections::BTreeMap;

use packstone::base::monitor::show_path;
use packstone::base::size;
use packstone::ops::diff::{Change, Modifier};
use packstone::ops::find::SoughtKind;

use super::paths;
use crate::table::{self, Column};

/// Most rows.
const ROWS_MAX: usize = 16;
/// Signs of the longest bar.
const BAR_SIGNS: u64 = 20;

const COLUMNS: [Column; 5] = [
    Column::Right("Added"),
    Column::Right("Removed"),
    Column::Right("Paths"),
    Column::Left("Where"),
    Column::Left(""),
];

/// A range of changes below one directory, or a single one.
struct Row<'c> {
    /// In order of paths.
    changes: Vec<&'c Change>,
    /// Names that all of their paths begin with.
    depth: usize,
    added: u64,
    removed: u64,
}

impl<'c> Row<'c> {
    fn new(changes: Vec<&'c Change>) -> Self {
        let sum = |bytes: fn(&Change) -> u64| {
            changes.iter().fold(0_u64, |sum, change| sum.saturating_add(bytes(change)))
        };
        let (added, removed) = (sum(|change| change.added_bytes), sum(|change| change.removed_bytes));
        let all: Vec<Vec<&[u8]>> = changes.iter().map(|change| names(change)).collect();
        let first = all.first().cloned().unwrap_or_default();
        let depth = all.iter().fold(first.len(), |depth, names| {
            names.iter().zip(&first).take(depth).take_while(|(name, first)| name == first).count()
        });
        Self { changes, depth, added, removed }
    }

    /// The same changes by the next name of their paths; none if it is one already.
    fn parts(&self) -> Vec<Row<'c>> {
        if self.changes.len() < 2 {
            return Vec::new();
        }
        let mut parts: BTreeMap<Option<&[u8]>, Vec<&'c Change>> = BTreeMap::new();
        for change in &self.changes {
            parts.entry(names(change).get(self.depth).copied()).or_default().push(change);
        }
        if parts.len() < 2 { Vec::new() } else { parts.into_values().map(Row::new).collect() }
    }

    fn weight(&self) -> (u64, usize) {
        (self.added.saturating_add(self.removed), self.changes.len())
    }

    fn place(&self) -> String {
        let [only] = self.changes.as_slice() else {
            let first = self.changes.first().map(|change| names(change)).unwrap_or_default();
            let names = first.get(..self.depth).unwrap_or_default();
            let path: Vec<u8> = names.iter().flat_map(|name| [b"/".as_slice(), name].concat()).collect();
            return format!("{}/", show_path(&path));
        };
        let slash = only.item().filter(|item| item.kind == SoughtKind::Directory).map_or("", |_| "/");
        let path = only.item().map(|item| show_path(&item.path)).unwrap_or_default();
        format!("{:<2} {path}{slash}", only.modifier.sign())
    }
}

fn names(change: &Change) -> Vec<&[u8]> {
    let path = change.item().map(|item| item.path.as_slice()).unwrap_or_default();
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// The lines of a table; none if nothing differs.
pub(super) fn lines(changes: &[Change]) -> Vec<String> {
    if changes.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![Row::new(changes.iter().collect())];
    let mut whole: Vec<Row<'_>> = Vec::new();
    // What weighs most is taken apart, for as long as there is room.
    while let Some(heaviest) = (0..rows.len()).max_by_key(|number| rows.get(*number).map(Row::weight)) {
        let row = rows.swap_remove(heaviest);
        let parts = row.parts();
        let has_room = rows.len() + whole.len() + parts.len() <= ROWS_MAX;
        if parts.is_empty() || !has_room { whole.push(row) } else { rows.extend(parts) }
    }
    whole.sort_by_key(|row| std::cmp::Reverse(row.weight()));
    let most = whole.iter().map(|row| row.weight().0).max().unwrap_or_default().max(1);
    let cells: Vec<[String; 5]> = whole
        .iter()
        .map(|row| {
            let bytes = |bytes: u64| if bytes == 0 { String::new() } else { size::show(bytes) };
            let count = row.changes.len().to_string();
            [bytes(row.added), bytes(row.removed), count, row.place(), bar(row, most)]
        })
        .collect();
    let mut lines = table::lines(&COLUMNS, &cells);
    let moved = changes.iter().filter(|change| change.modifier == Modifier::Moved).count();
    if moved > 0 {
        lines.push(format!("{} moved", paths(moved)));
    }
    lines
}

fn bar(row: &Row<'_>, most: u64) -> String {
    let signs = |bytes: u64| {
        let signs = u128::from(bytes) * u128::from(BAR_SIGNS) / u128::from(most);
        let signs = usize::try_from(signs).unwrap_or_default();
        if bytes > 0 { signs.max(1) } else { 0 }
    };
    format!("{}{}", "+".repeat(signs(row.added)), "-".repeat(signs(row.removed)))
}

#[cfg(test)]
mod tests {
    use packstone::ops::diff::Item;

    use super::*;

    fn change(path: &str, added_bytes: u64, removed_bytes: u64) -> Change {
        let item = Item { path: path.as_bytes().to_vec(), kind: SoughtKind::File, size: added_bytes };
        Change { modifier: Modifier::Content, before: None, after: Some(item), added_bytes, removed_bytes }
    }

    #[test]
    fn what_differs_most_is_told_most_closely() {
        let mut changes: Vec<Change> =
            (0..40).map(|number| change(&format!("/srv/many/{number:02}"), 1, 0)).collect();
        changes.push(change("/srv/one", 1000, 500));
        changes.push(change("/var/log/a", 0, 100));
        let expected = [
            " Added  Removed  Paths  Where",
            "1000 B    500 B      1  M  /srv/one    +++++++++++++------",
            "          100 B      1  M  /var/log/a  -",
            "  40 B              40  /srv/many/     +",
        ];
        assert_eq!(lines(&changes), expected);
        assert_eq!(lines(&[]), [""; 0]);
    }
}
