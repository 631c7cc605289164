//! The user's folders as the XDG Base Directory Specification names them.
//!
//! What must hold: a path from the environment counts only if it is absolute, as that specification demands.

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// A kind of folder.
#[derive(Clone, Copy, Debug)]
pub enum Folder {
    /// What can be made again.
    Cache,
    /// What the user sets.
    Config,
    /// What the user's programs keep.
    Data,
    /// What they remember of what they did.
    State,
}

impl Folder {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Cache => ("XDG_CACHE_HOME", ".cache"),
            Self::Config => ("XDG_CONFIG_HOME", ".config"),
            Self::Data => ("XDG_DATA_HOME", ".local/share"),
            Self::State => ("XDG_STATE_HOME", ".local/state"),
        }
    }

    /// This program's part of the folder below a home.
    pub fn below(self, home: &Path) -> PathBuf {
        home.join(self.names().1).join("packstone")
    }

    /// This program's part of the folder; `None` if the environment names no home.
    pub fn of_program(self, environment: &Environment) -> Option<PathBuf> {
        let (variable, _) = self.names();
        let absolute = |name: &str| environment.get(name).map(Path::new).filter(|path| path.is_absolute());
        let folder = match absolute(variable) {
            Some(folder) => folder.to_owned(),
            None => return Some(self.below(absolute("HOME")?)),
        };
        Some(folder.join("packstone"))
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;
    use crate::environment::tests::environment;

    #[test]
    fn folders_lie_where_the_specification_says() {
        let of = |folder: Folder, variables: &[(&str, &str)]| {
            folder.of_program(&environment(variables)).map(|path| path.display().to_string())
        };
        let home = ("HOME", "/h");
        assert_eq!(of(Folder::Data, &[home]).as_deref(), Some("/h/.local/share/packstone"));
        assert_eq!(of(Folder::Config, &[home]).as_deref(), Some("/h/.config/packstone"));
        assert_eq!(of(Folder::Cache, &[home]).as_deref(), Some("/h/.cache/packstone"));
        assert_eq!(of(Folder::Data, &[("XDG_DATA_HOME", "/d")]).as_deref(), Some("/d/packstone"));
        let relative = [("XDG_CACHE_HOME", "c"), home];
        assert_eq!(of(Folder::Cache, &relative).as_deref(), Some("/h/.cache/packstone"));
        assert_eq!(of(Folder::Cache, &[("HOME", "h")]), None);
        assert_eq!(of(Folder::Config, &[]), None);
    }
}
