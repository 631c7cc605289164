//! What each kind of storage promises here, and with what that was tested.
//!
//! What must hold: what was not tested says so; `docs/storages.md` shows this very table.

/// A kind of storage.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How a location begins, and what stands behind it.
    pub storage: &'static str,
    /// The cargo feature that brings it; none: always there.
    pub feature: &'static str,
    /// How an object comes under its name, so that nobody sees a part of it.
    pub published: &'static str,
    /// Whether of many creators of one name exactly one succeeds.
    pub atomic_create: &'static str,
    /// What survives a loss of power once it was confirmed.
    pub durable: &'static str,
    /// With what the promises were tested.
    pub tested: &'static str,
}

const NOT_TESTED: &str = "not tested";
const PROVEN: &str = "if the service does; proven by each session";
const AS_SERVICE: &str = "as the service promises";

/// All kinds.
pub const TABLE: [Row; 10] = [
    Row {
        storage: "directory",
        feature: "-",
        published: "rename or link",
        atomic_create: "yes; not on file systems without both",
        durable: "yes, synced",
        tested: "ext4, tmpfs",
    },
    Row {
        storage: "s3: with conditions",
        feature: "s3 (default)",
        published: "one request",
        atomic_create: PROVEN,
        durable: AS_SERVICE,
        tested: "moto",
    },
    Row {
        storage: "s3: without conditions",
        feature: "s3 (default)",
        published: "one request",
        atomic_create: "no",
        durable: AS_SERVICE,
        tested: "rclone serve s3",
    },
    Row {
        storage: "sftp:",
        feature: "sftp (default)",
        published: "hard link, else a rename",
        atomic_create: "if the server links; proven by each session",
        durable: "synced, if the server offers it",
        tested: "OpenSSH 9.2",
    },
    Row {
        storage: "webdav:",
        feature: "webdav (default)",
        published: "move",
        atomic_create: "no",
        durable: AS_SERVICE,
        tested: "rclone serve webdav",
    },
    Row {
        storage: "rclone:",
        feature: "webdav (default)",
        published: "move",
        atomic_create: "no",
        durable: AS_SERVICE,
        tested: "rclone 1.75.2: a directory, S3",
    },
    Row {
        storage: "gs:",
        feature: "gcs",
        published: "one request",
        atomic_create: PROVEN,
        durable: AS_SERVICE,
        tested: NOT_TESTED,
    },
    Row {
        storage: "azure:",
        feature: "azure",
        published: "one request",
        atomic_create: PROVEN,
        durable: AS_SERVICE,
        tested: "Azurite 3.35.0",
    },
    Row {
        storage: "b2:",
        feature: "b2",
        published: "one request",
        atomic_create: "no",
        durable: AS_SERVICE,
        tested: NOT_TESTED,
    },
    Row {
        storage: "memory",
        feature: "-",
        published: "at once",
        atomic_create: "yes",
        durable: "no",
        tested: "for tests alone",
    },
];
