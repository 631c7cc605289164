//! Reads the chapters of the specification: tables and rules.

use crate::support::code::{File, files, line_of};

/// A table of the specification.
#[derive(Clone, Debug)]
pub struct Table {
    /// File and line of its head.
    pub place: String,
    /// The name before it, as in "Table `header`, 96 bytes:" and "Map `node`:"; empty if there is none.
    pub name: String,
    /// The number of bytes before it.
    pub bytes: Option<usize>,
    /// Heads of its columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The cell of a row below this head.
    pub fn cell<'a>(&self, row: &'a [String], column: &str) -> &'a str {
        let position = self.columns.iter().position(|found| found == column);
        &row[position.unwrap_or_else(|| panic!("{}: no column {column}", self.place))]
    }
}

/// The chapters in order.
pub fn chapters() -> Vec<File> {
    files("format-spec", ".md")
}

/// All tables of a chapter.
pub fn tables(chapter: &File) -> Vec<Table> {
    let lines: Vec<&str> = chapter.text.lines().collect();
    let mut tables = Vec::new();
    for (number, pair) in lines.windows(2).enumerate() {
        if !(pair[0].starts_with('|') && pair[1].starts_with("|---")) {
            continue;
        }
        let before = lines[..number].iter().rev().find(|line| !line.is_empty()).copied().unwrap_or_default();
        let (name, bytes) = title(before);
        let rows = lines[number + 2..].iter().take_while(|line| line.starts_with('|'));
        tables.push(Table {
            place: format!("{}:{}", chapter.path, number + 1),
            name,
            bytes,
            columns: cells(pair[0]),
            rows: rows.map(|line| cells(line)).collect(),
        });
    }
    for table in &tables {
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{}: {row:?}", table.place);
        }
    }
    tables
}

/// All tables that begin with these columns.
pub fn tables_of(columns: &[&str]) -> Vec<Table> {
    let all = chapters().into_iter().flat_map(|chapter| tables(&chapter));
    all.filter(|table| table.columns.iter().map(String::as_str).eq(columns.iter().copied())).collect()
}

fn title(line: &str) -> (String, Option<usize>) {
    let Some(rest) = line.strip_prefix("Table `").or_else(|| line.strip_prefix("Map `")) else {
        return (String::new(), None);
    };
    let (name, rest) = rest.split_once('`').expect("a closing quote");
    let bytes = rest.strip_prefix(", ").and_then(|rest| rest.strip_suffix(" bytes:"));
    (name.to_owned(), bytes.map(|bytes| bytes.parse().expect("a number of bytes")))
}

fn cells(line: &str) -> Vec<String> {
    // A bar within a cell is written `\|`.
    let line = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
    line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// Rules that a chapter lays down, as "- **NODE-2**: …": (rule, place).
pub fn rules(chapter: &File) -> Vec<(String, String)> {
    let mut rules = Vec::new();
    for (number, line) in chapter.text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("- **") {
            let (rule, _) = rest.split_once("**: ").unwrap_or_else(|| panic!("{}: {line}", chapter.path));
            rules.push((rule.to_owned(), format!("{}:{}", chapter.path, number + 1)));
        }
    }
    rules
}

/// Everything in a text that looks like the number of a rule: (rule, line).
pub fn rule_numbers(text: &str) -> Vec<(String, usize)> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
    let mut found = Vec::new();
    let mut position = 0;
    for word in text.split_inclusive(|c: char| !is_part(c)) {
        let token = word.trim_end_matches(|c: char| !is_part(c));
        if is_rule_number(token) {
            found.push((token.to_owned(), line_of(text, position)));
        }
        position += word.len();
    }
    found
}

fn is_rule_number(token: &str) -> bool {
    let Some((letters, digits)) = token.split_once('-') else { return false };
    // Names of standards look alike.
    !["UTF", "RFC", "SHA"].contains(&letters)
        && letters.len() >= 3
        && letters.bytes().all(|byte| byte.is_ascii_uppercase())
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_rules_are_read() {
        let text = "Table `x`, 12 bytes:\n\n| offset | size |\n|---|---|\n| 0 | 4 |\n| 4 | a \\| b |\n\n- **ABC-1**: no.\n";
        let chapter = File { path: "a.md".into(), text: text.into() };
        let tables = tables(&chapter);
        assert_eq!(tables.len(), 1);
        assert_eq!((tables[0].name.as_str(), tables[0].bytes), ("x", Some(12)));
        assert_eq!(tables[0].rows, [["0", "4"], ["4", "a | b"]]);
        assert_eq!(tables[0].cell(&tables[0].rows[0], "size"), "4");
        assert_eq!(rules(&chapter), [("ABC-1".to_owned(), "a.md:8".to_owned())]);
    }

    #[test]
    fn numbers_of_rules_are_found_and_nothing_else_is() {
        let found = rule_numbers("\"CBOR-1\" UTF-8 (NODE-12).\nX-1 abc-2 PACK- SEAL-4");
        let found: Vec<_> = found.iter().map(|(rule, line)| (rule.as_str(), *line)).collect();
        assert_eq!(found, [("CBOR-1", 1), ("NODE-12", 1), ("SEAL-4", 2)]);
    }
}
