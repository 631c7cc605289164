//! Tables for people: columns under their titles.

/// On which side the cells of a column begin, and its title.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) => title,
        }
    }

    fn align(self, cell: &str, width: usize) -> String {
        match self {
            Self::Left(_) => format!("{cell:<width$}"),
            Self::Right(_) => format!("{cell:>width$}"),
        }
    }
}

/// The lines of a table, titles first; each row has a cell for each column.
pub fn lines<R: AsRef<[String]>>(columns: &[Column], rows: &[R]) -> Vec<String> {
    let titles: Vec<String> = columns.iter().map(|column| column.title().to_owned()).collect();
    let all = || std::iter::once(titles.as_slice()).chain(rows.iter().map(AsRef::as_ref));
    let mut widths = vec![0; columns.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String]| {
        let cells = columns.iter().zip(row).zip(&widths);
        let cells: Vec<String> = cells.map(|((column, cell), width)| column.align(cell, *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::Column::{Left, Right};
    use super::lines;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["städte", "1.0 MiB", "c"]), row(["a", "", "longer"]), row(["", "12 B", ""])];
        let expected =
            ["One        Size  T", "städte  1.0 MiB  c", "a                longer", "           12 B"];
        assert_eq!(lines(&[Left("One"), Right("Size"), Left("T")], &rows), expected);
    }
}
