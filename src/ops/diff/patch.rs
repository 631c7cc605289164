//! How the lines of one text differ from those of another, as a unified patch.
//!
//! What must hold: the patch makes the first text the second, byte for byte, whatever its lines hold; size and time are
//! bounded.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use crate::base::clock::deadline;
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Monitor, Result, size};
use crate::format::node::NodeKind;
use crate::ops::diff::Place;
use crate::ops::dump::dump_file;
use crate::ops::list::path_components;
use crate::ops::local::LocalFile;
use crate::repository::Repository;
use crate::tree::Tree;

/// Longest text of which a patch is made.
pub const PATCH_BYTES_MAX: u64 = 4 << 20;
/// Lines that are the same, shown around those that differ.
const CONTEXT_LINES: usize = 3;
/// After so long the rest of what differs is taken as replaced, which is right, but not short.
const SECONDS_MAX: Duration = Duration::from_secs(5);

/// How two files differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Not at all.
    Same,
    /// At least one of them is no text.
    Binary,
    /// The lines of a unified patch without its head.
    Text(Vec<u8>),
}

/// Compares two stored files.
pub fn patch(
    repository: &Repository,
    one: Place<'_>,
    other: Place<'_>,
    monitor: &dyn Monitor,
) -> Result<Patch> {
    let [one, other] = [stored(repository, one, monitor)?, stored(repository, other, monitor)?];
    Ok(of_texts(&one, &other))
}

/// Compares a stored file with one of this machine.
pub fn patch_live(
    repository: &Repository,
    one: Place<'_>,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<Patch> {
    let one = stored(repository, one, monitor)?;
    let file = LocalFile::open(path)?;
    check_size(file.stat.size, path.as_os_str().as_encoded_bytes())?;
    Ok(of_texts(&one, &file.read_all()?))
}

fn check_size(bytes: u64, path: &[u8]) -> Result<()> {
    if bytes <= PATCH_BYTES_MAX {
        return Ok(());
    }
    let (shown, found, most) = (show_path(path), size::show(bytes), size::show(PATCH_BYTES_MAX));
    Err(Error::new(ErrorKind::Usage, format!("{shown} has {found}; a patch is made of {most} at most")))
}

fn stored(repository: &Repository, place: Place<'_>, monitor: &dyn Monitor) -> Result<Vec<u8>> {
    let path = place.path.unwrap_or_default();
    let components = path_components(path)?;
    let is_no_file = || {
        let message = format!("{} is no regular file in the snapshot", show_path(path));
        Error::new(ErrorKind::Usage, message)
    };
    if components.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "a patch is made of two files, each with its path"));
    }
    let reader = repository.reader()?;
    let entry = Tree::new(&reader).lookup(&place.snapshot.snapshot.tree, &components)?;
    let NodeKind::Regular(regular) = &entry.node.kind else { return Err(is_no_file()) };
    check_size(regular.size, path)?;
    let mut bytes = Vec::new();
    dump_file(repository, place.snapshot, path, &mut bytes, monitor)?;
    Ok(bytes)
}

fn of_texts(one: &[u8], other: &[u8]) -> Patch {
    if one == other {
        return Patch::Same;
    }
    if one.contains(&0) || other.contains(&0) {
        return Patch::Binary;
    }
    let [one, other] =
        [one, other].map(|text| text.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>());
    let operations =
        capture_diff_slices_deadline(Algorithm::Myers, &one, &other, Some(deadline(SECONDS_MAX)));
    let mut text = Vec::new();
    for group in group_diff_ops(operations, CONTEXT_LINES) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old = first.old_range().start..last.old_range().end;
        let new = first.new_range().start..last.new_range().end;
        text.extend_from_slice(format!("@@ -{} +{} @@\n", span(&old), span(&new)).as_bytes());
        for operation in &group {
            let is_same = matches!(operation, DiffOp::Equal { .. });
            let (old_sign, new_lines) = if is_same { (b' ', 0..0) } else { (b'-', operation.new_range()) };
            add_lines(&mut text, old_sign, one.get(operation.old_range()));
            add_lines(&mut text, b'+', other.get(new_lines));
        }
    }
    Patch::Text(text)
}

/// Lines as the head of a group counts them: from 1, and without their number if that is 1.
fn span(lines: &Range<usize>) -> String {
    match lines.len() {
        // Of none, the line before them is named.
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn add_lines(text: &mut Vec<u8>, sign: u8, lines: Option<&[&[u8]]>) {
    for line in lines.unwrap_or_default() {
        text.push(sign);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(one: &str, other: &str) -> String {
        match of_texts(one.as_bytes(), other.as_bytes()) {
            Patch::Text(text) => String::from_utf8(text).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn lines_that_differ_stand_between_lines_that_do_not() {
        let one = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let other = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten";
        let expected =
            "@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n\\ No newline at end of file\n";
        assert_eq!(text(one, other), expected);
        assert_eq!(text("", "a\n"), "@@ -0,0 +1 @@\n+a\n");
        assert_eq!(text("a\n", ""), "@@ -1 +0,0 @@\n-a\n");
        assert_eq!(text("a", "a\n"), "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
        assert_eq!(text("a", "a"), "Same");
        assert_eq!(text("a\0", "a"), "Binary");
    }
}
