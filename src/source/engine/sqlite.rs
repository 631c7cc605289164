//! SQLite: copies by its online backup interface, right while others write.

/// SQLite databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sqlite {
    /// Absolute paths and patterns of their files, expanded when it is dumped.
    pub paths: Vec<String>,
    /// Where a copy that does not fit the memory is put together, as an unnamed file.
    pub scratch: Option<std::path::PathBuf>,
    /// Copies up to this size are put together in memory.
    pub memory_bytes: u64,
}
