//! Which of the known words was probably meant.
//!
//! What must hold: a word is offered only if it is so near that it is more likely a slip than another word.

/// The nearest of some words, if one is near.
pub fn nearest<'w>(wanted: &str, words: &[&'w str]) -> Option<&'w str> {
    let wanted = wanted.to_lowercase().replace('_', "-");
    let mut near: Vec<(usize, &str)> = words
        .iter()
        .map(|word| (distance(&wanted, word), *word))
        .filter(|(distance, word)| distance * 3 <= word.chars().count().max(wanted.chars().count()))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    let parts = || {
        // A word that begins or ends like exactly one known word: `cache` for `cache-size` is a slip, too.
        let mut parts = words.iter().filter(|word| {
            wanted.len() > 2
                && (word.starts_with(&format!("{wanted}-")) || word.ends_with(&format!("-{wanted}")))
        });
        parts.next().filter(|_| parts.next().is_none()).copied()
    };
    near.first().map(|(_, word)| *word).or_else(parts)
}

/// How many letters must be added, taken away, replaced or swapped with their neighbours to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in (1..).zip(one.chars()) {
        let mut current = vec![row];
        for (column, against) in (1..).zip(&other) {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column - 1) + usize::from(letter != *against);
            let mut least = replaced.min(at(&last, column) + 1).min(at(&current, column - 1) + 1);
            if column > 1 && other.get(column - 2) == Some(&letter) && previous == Some(*against) {
                least = least.min(at(&before_last, column - 2) + 1);
            }
            current.push(least);
        }
        previous = Some(letter);
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("databses", "databases", 1),
            ("ulr", "url", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn only_near_words_are_offered() {
        let words = ["databases", "url", "user", "exclude-if-present", "cache-size"];
        for (wanted, expected) in [
            ("databses", Some("databases")),
            ("Databases", Some("databases")),
            ("exclude_if_present", Some("exclude-if-present")),
            ("ulr", Some("url")),
            ("usr", Some("user")),
            ("cache", Some("cache-size")),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, &words), expected, "{wanted}");
        }
    }
}
