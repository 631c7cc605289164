//! ChromaDB's folder as a unit: its SQLite database, and the folders of its vector indexes, of one moment.

/// A folder of ChromaDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chroma {
    /// The absolute path of the folder with `chroma.sqlite3`.
    pub path: String,
    /// As for SQLite.
    pub scratch: Option<std::path::PathBuf>,
    /// As for SQLite.
    pub memory_bytes: u64,
    /// A container that is paused for the moment of copying.
    pub paused_container: Option<super::Container>,
}
