//! Redis and Valkey: the server's data as an RDB file, or its append-only files.

use super::Access;

/// How the data are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `redis-cli --rdb -`: as a replica gets them.
    #[default]
    Stream,
    /// `BGSAVE`, awaited by `LASTSAVE`, then the server's RDB file.
    Save,
    /// The append-only files, as the manifest names them.
    AppendOnly,
}

/// A Redis or Valkey server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// How it is reached.
    pub access: Access,
    /// How its data are had.
    pub method: Method,
    /// The server's data folder as this machine sees it, where that is not what the server says.
    pub folder: Option<String>,
    /// What stops the server before its data are put back, as `["systemctl", "stop", "redis-server"]`.
    pub stop_command: Vec<String>,
    /// What starts it afterwards.
    pub start_command: Vec<String>,
}
