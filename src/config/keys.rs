//! Every key that a configuration may have, by the table in which it stands.
//!
//! What must hold: this list is what is read, what is documented in `docs/configuration.md`, and from what the nearest
//! right key is taken; a key stands in it if and only if something reads it.

/// The keys at the top.
pub(super) const TOP: &[&str] = &["repository", "job"];

/// Those of `[repository.NAME]`.
pub(super) const REPOSITORY: &[&str] = &[
    "url",
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "key-file",
    "key-credential",
    "limit-upload",
    "limit-download",
    "connections",
    "retry-for",
    "storage-class",
    "ca-file",
    "tls-client-cert",
    "memory-limit",
    "cache-dir",
    "cache-size",
];

/// Those of `[job.NAME]`.
pub(super) const JOB: &[&str] = &[
    "repository",
    "schedule",
    "host",
    "tags",
    "description",
    "source",
    "on-failure",
    "time-limit",
    "parallel",
    "exclude",
    "iexclude",
    "exclude-file",
    "iexclude-file",
    "exclude-caches",
    "exclude-if-present",
    "exclude-larger-than",
    "one-file-system",
    "skip-if-unchanged",
    "ignore-ctime",
    "ignore-inode",
    "keep",
    "prune",
    "check",
    "copy",
];

/// Those of `keep`.
pub(super) const KEEP: &[&str] = &[
    "last",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "yearly",
    "within",
    "within-hourly",
    "within-daily",
    "within-weekly",
    "within-monthly",
    "within-quarterly",
    "within-yearly",
    "tags",
];

/// Those of an element of `copy`.
pub(super) const COPY: &[&str] = &["repository", "keep"];

/// Those of a secret that is a table: one of them.
pub(super) const SECRET: &[&str] = &["file", "command", "env", "credential"];

/// Those of a source of paths.
pub(super) const PATH: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "paths",
    "exclude",
    "iexclude",
    "exclude-file",
    "iexclude-file",
    "exclude-caches",
    "exclude-if-present",
    "exclude-larger-than",
    "one-file-system",
];

/// Those of a PostgreSQL server.
pub(super) const POSTGRES: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "time-limit",
    "databases",
    "format",
    "options",
    "host",
    "port",
    "user",
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "container",
    "container-program",
    "container-password",
    "run-as",
    "programs",
];

/// Those of a MariaDB or MySQL server.
pub(super) const MARIADB: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "time-limit",
    "databases",
    "options",
    "host",
    "port",
    "socket",
    "user",
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "container",
    "container-program",
    "container-password",
    "run-as",
    "programs",
];

/// Those of a Redis or Valkey server.
pub(super) const REDIS: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "time-limit",
    "method",
    "folder",
    "stop-command",
    "start-command",
    "tls",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-key-file",
    "host",
    "port",
    "socket",
    "user",
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "container",
    "container-program",
    "container-password",
    "run-as",
    "programs",
];

/// Those of a MongoDB server.
pub(super) const MONGODB: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "time-limit",
    "databases",
    "oplog",
    "authentication-database",
    "options",
    "host",
    "port",
    "user",
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "container",
    "container-program",
    "container-password",
    "run-as",
    "programs",
];

/// Those of SQLite files.
pub(super) const SQLITE: &[&str] = &["type", "name", "on-failure", "time-limit", "paths"];

/// Those of a folder of ChromaDB's.
pub(super) const CHROMADB: &[&str] =
    &["type", "name", "on-failure", "time-limit", "path", "paused-container", "container-program"];

/// Those of a command.
pub(super) const COMMAND: &[&str] = &[
    "type",
    "name",
    "on-failure",
    "time-limit",
    "command",
    "filename",
    "ends-with",
    "environment",
    "restore-command",
    "container",
    "container-program",
    "run-as",
];

/// Every table and its keys, under the titles of `docs/configuration.md`.
pub const SECTIONS: &[(&str, &[&str])] = &[
    ("[repository.NAME]", REPOSITORY),
    ("[job.NAME]", JOB),
    ("keep", KEEP),
    ("copy", COPY),
    ("[[job.NAME.source]]: path", PATH),
    ("[[job.NAME.source]]: postgres", POSTGRES),
    ("[[job.NAME.source]]: mariadb, mysql", MARIADB),
    ("[[job.NAME.source]]: redis, valkey", REDIS),
    ("[[job.NAME.source]]: mongodb", MONGODB),
    ("[[job.NAME.source]]: sqlite", SQLITE),
    ("[[job.NAME.source]]: chromadb", CHROMADB),
    ("[[job.NAME.source]]: command", COMMAND),
    ("environment", SECRET),
];
