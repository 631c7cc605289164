//! Where the sources of a job stand in its snapshots, as far as the text says it: patterns are expanded by runs alone.
//!
//! What must hold: two sources never claim one place, and none lies in another, but for dumps in the root; it is told
//! where the later of the two stands.

use std::path::{Path, PathBuf};

use crate::ops::backup::{DUMPS_FOLDER, check_places};

/// The places of the sources that were read.
#[derive(Default)]
pub(super) struct Places {
    /// Paths, and the sources that name them.
    paths: Vec<(String, String)>,
    /// Sources whose dumps stand below `/dumps`.
    dumps: Vec<String>,
}

impl Places {
    /// Adds a path of a source. Says why it cannot stand beside another one.
    pub(super) fn add_path(&mut self, path: &str, source: &str) -> Result<(), String> {
        if path.contains(['*', '?', '[', '\\']) {
            return Ok(());
        }
        let of_other = self.paths.iter().find_map(|(other, of)| {
            let why = conflict(other, path)?;
            Some(if of == source { why } else { format!("{why}; {other} stands in the source {of}") })
        });
        let of_dumps =
            || self.dumps.iter().find(|name| is_of_dump(path, name)).map(|name| of_dump(path, name));
        let result = of_other.or_else(of_dumps).map_or(Ok(()), Err);
        self.paths.push((path.to_owned(), source.to_owned()));
        result
    }

    /// Adds a source whose dumps stand below `/dumps`. Says which path stands in the way.
    pub(super) fn add_dumps(&mut self, source: &str) -> Result<(), String> {
        self.dumps.push(source.to_owned());
        let clash = self.paths.iter().find(|(path, _)| is_of_dump(path, source));
        clash.map_or(Ok(()), |(path, _)| Err(of_dump(path, source)))
    }
}

/// Why two paths cannot be sources of one job.
fn conflict(one: &str, other: &str) -> Option<String> {
    let paths = [one, other].map(PathBuf::from);
    crate::source::plan(&paths, Path::new("/")).err().map(|error| error.to_string())
}

fn is_of_dump(path: &str, source: &str) -> bool {
    check_places(&[PathBuf::from(path)], &[source]).is_err()
}

fn of_dump(path: &str, source: &str) -> String {
    format!(
        "{path} is where snapshots have the dumps of the source {source}, in {DUMPS_FOLDER}: rename the folder, or give it \
         a job of its own"
    )
}
