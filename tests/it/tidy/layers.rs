//! The table of layers in ARCHITECTURE.md, and what modules use.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::code::{File, Part, line_of, only, tests_start};

/// The module of the program, which uses the library by its name.
const PROGRAM: &str = "cli";
/// The name of the library.
const LIBRARY: &str = "packstone";

struct Row {
    layer: u32,
    responsibility: String,
    may_use: BTreeSet<String>,
}

/// The table of layers.
pub struct Layers {
    rows: BTreeMap<String, Row>,
}

impl Layers {
    /// Reads the table from the document that holds it.
    pub fn parse(document: &File) -> Result<Self, String> {
        const HEAD: &str = "| layer | module | it is responsible for | may use |";
        let mut lines = document.text.lines().skip_while(|line| *line != HEAD);
        lines.next().ok_or_else(|| format!("{}: no table {HEAD}", document.path))?;
        let mut rows = BTreeMap::new();
        for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [layer, module, responsibility, may_use] = cells.as_slice() else {
                return Err(format!("{}: {line}", document.path));
            };
            let names = may_use.split(',').map(|name| name.trim().trim_matches('`').to_owned());
            let row = Row {
                layer: layer.parse().map_err(|_| format!("{}: {line}", document.path))?,
                responsibility: (*responsibility).to_owned(),
                may_use: names.filter(|name| name != "nothing").collect(),
            };
            let name = module.trim_matches('`').to_owned();
            if rows.insert(name.clone(), row).is_some() {
                return Err(format!("{}: two rows for {name}", document.path));
            }
        }
        Ok(Self { rows })
    }

    /// Rows that allow what is not below them.
    pub fn upward(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (module, row) in &self.rows {
            for used in &row.may_use {
                let is_below = self.rows.get(used).is_some_and(|below| below.layer < row.layer);
                if !is_below {
                    violations
                        .push(format!("ARCHITECTURE.md: {module} may use {used}, which is no layer below"));
                }
            }
        }
        violations
    }

    /// Modules without a row, rows without a module.
    pub fn unmatched(&self, files: &[File]) -> Vec<String> {
        let there: BTreeSet<&str> = files.iter().filter_map(|file| module_of(&file.path)).collect();
        let rows: BTreeSet<&str> = self.rows.keys().map(String::as_str).collect();
        let without_row =
            there.difference(&rows).map(|module| format!("src: {module} has no row in ARCHITECTURE.md"));
        let without_module =
            rows.difference(&there).map(|row| format!("ARCHITECTURE.md: there is no module {row}"));
        without_row.chain(without_module).collect()
    }

    /// Uses that no row allows.
    pub fn violations(&self, files: &[File]) -> Vec<String> {
        let mut violations = Vec::new();
        for file in files {
            let Some(module) = module_of(&file.path) else { continue };
            let Some(row) = self.rows.get(module) else { continue };
            let code = only(&file.text, &[Part::Code]);
            let root = if module == PROGRAM { LIBRARY } else { "crate" };
            for (used, position) in first_names(&code, root) {
                if used != module && !row.may_use.contains(&used) {
                    let allowed = row.may_use.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    violations.push(format!(
                        "{}:{}: {module} uses {used}, but may use only [{allowed}], because it is responsible for: {}",
                        file.path,
                        line_of(&code, position),
                        row.responsibility,
                    ));
                }
            }
            for position in escapes(file, &code) {
                let line = line_of(&code, position);
                violations.push(format!(
                    "{}:{line}: super:: leaves the module {module}; other modules are named from crate::, so that \
                     the table can be held against them",
                    file.path
                ));
            }
        }
        violations
    }
}

/// The module to which a source file belongs; the root of the library belongs to none.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first)).filter(|module| *module != "lib")
}

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where paths begin with `root::` and where they go on after it, in code without comments and literals.
fn paths(code: &str, root: &str) -> Vec<(usize, usize)> {
    let found = code.match_indices(root).filter_map(|(start, _)| {
        let after = code[start + root.len()..].trim_start().strip_prefix("::")?;
        let before = code[..start].trim_end();
        let begins = !code[..start].ends_with(is_part_of_name) && !before.ends_with("::");
        begins.then_some((start, code.len() - after.trim_start().len()))
    });
    found.collect()
}

fn name_at(code: &str) -> String {
    code.chars().take_while(|character| is_part_of_name(*character)).collect()
}

/// The first name of every path below a root, with where it stands; of `root::{a::b, c}` both a and c.
pub fn first_names(code: &str, root: &str) -> Vec<(String, usize)> {
    let mut names = Vec::new();
    for (start, after) in paths(code, root) {
        if !code[after..].starts_with('{') {
            names.push((name_at(&code[after..]), start));
            continue;
        }
        let (mut depth, mut is_first) = (0, false);
        for (offset, character) in code[after..].char_indices() {
            let position = after + offset;
            match character {
                '{' => {
                    depth += 1;
                    is_first |= depth == 1;
                }
                '}' => depth -= 1,
                ',' => is_first |= depth == 1,
                other if is_first && !other.is_whitespace() => {
                    names.push((name_at(&code[position..]), position));
                    is_first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// Where `super::` is chained as far as the root of the crate.
fn escapes(file: &File, code: &str) -> Vec<usize> {
    let depth = file.path.matches('/').count();
    let tests = tests_start(file);
    let mut found = Vec::new();
    for (start, after) in paths(code, "super") {
        let mut chain = 1;
        let mut rest = &code[after..];
        while let Some(next) =
            rest.strip_prefix("super").and_then(|next| next.trim_start().strip_prefix("::"))
        {
            chain += 1;
            rest = next.trim_start();
        }
        // Within the unit tests of the file there is one module more to leave.
        let inside = if tests > 0 && start >= tests { depth + 1 } else { depth };
        if chain >= inside {
            found.push(start);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\n| layer | module | it is responsible for | may use |\n|---|---|---|---|\n\
        | 0 | `low` | little | nothing |\n| 1 | `high` | much | `low` |\n| 2 | `cli` | the program | `high` |\n\nend\n";

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    fn layers(table: &str) -> Layers {
        Layers::parse(&file("ARCHITECTURE.md", table)).expect("a good table")
    }

    fn one(path: &str, text: &str) -> Vec<String> {
        layers(TABLE).violations(&[file(path, text)])
    }

    #[test]
    fn what_a_row_does_not_allow_is_a_violation() {
        let violations = one("src/low/a.rs", "//! x\nuse crate::low::b;\nuse crate::high::c;\n");
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("src/low/a.rs:3: low uses high, "), "{violations:?}");
        assert!(violations[0].contains("little"), "{violations:?}");
        for bad in [
            "use crate::{low::{a, b}, high::c};",
            "use crate::{\n    low,\n    high,\n};",
            "pub use crate :: high;",
            "fn f() { crate::high::g() }",
            "use crate::unknown;",
            "use super::high;",
        ] {
            assert_eq!(one("src/low.rs", bad).len(), 1, "{bad}");
        }
        assert_eq!(one("src/low/a/b.rs", "use super::super::super::high;").len(), 1);
        assert_eq!(one("src/low.rs", "\n#[cfg(test)]\nmod tests {\n use super::super::high;\n}").len(), 1);
        assert_eq!(one("src/cli/main.rs", "use packstone::low;").len(), 1);
        assert_eq!(one("src/cli.rs", "use packstone::{high, low};").len(), 1);
    }

    #[test]
    fn what_a_row_allows_is_none() {
        for good in [
            "use crate::{high::a, low::b};",
            "// use crate::cli;\n/* crate::cli */ let a = \"crate::cli\";",
            "use mycrate::cli; use other::crate::cli;",
            "pub(crate) fn f() {} use std::super_::cli;",
            "\n#[cfg(test)]\nmod tests {\n use super::*;\n}",
        ] {
            assert_eq!(one("src/high.rs", good), [""; 0], "{good}");
        }
        assert_eq!(one("src/high/a.rs", "use super::b;"), [""; 0]);
        assert_eq!(one("src/cli/main.rs", "use crate::render; use packstone::high::a;"), [""; 0]);
        assert_eq!(one("src/lib.rs", "pub use crate::low::a;"), [""; 0]);
    }

    #[test]
    fn rows_and_modules_belong_together() {
        let all = ["src/lib.rs", "src/low.rs", "src/high/a.rs", "src/cli/main.rs"].map(|path| file(path, ""));
        assert_eq!(layers(TABLE).unmatched(&all), [""; 0]);
        assert_eq!(layers(TABLE).unmatched(&all[..3]), ["ARCHITECTURE.md: there is no module cli"]);
        let more = [all.as_slice(), &[file("src/more.rs", "")]].concat();
        assert_eq!(layers(TABLE).unmatched(&more), ["src: more has no row in ARCHITECTURE.md"]);
    }

    #[test]
    fn a_table_that_leads_upward_or_is_none_is_refused() {
        assert_eq!(layers(TABLE).upward(), [""; 0]);
        for (from, to) in [
            ("much | `low`", "much | `cli`"),
            ("much | `low`", "much | `high`"),
            ("| nothing |", "| `who` |"),
        ] {
            assert_eq!(layers(&TABLE.replace(from, to)).upward().len(), 1, "{to}");
        }
        for (from, to) in [
            ("| layer |", "| level |"),
            ("| 0 |", "| zero |"),
            ("`low` |", "`low` | | |"),
            ("`high` | much", "`low` | much"),
        ] {
            assert!(Layers::parse(&file("ARCHITECTURE.md", &TABLE.replacen(from, to, 1))).is_err(), "{to}");
        }
    }
}
