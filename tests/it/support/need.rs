//! What tests may need beside the machine itself, and where they find it.
//!
//! What must hold: the answer depends on the environment alone, so that a test either runs whole or says that it is
//! skipped; nothing is installed or started here (`scripts/test` does that).

use std::path::PathBuf;
use std::process::{Command, Stdio};

pub use super::skip::is_full;
use super::skip::skip;

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where they are")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The one seed that a test of many seeds is to repeat, if one is given.
pub fn seed() -> Option<u64> {
    variable("PACKSTONE_TEST_SEED").map(|text| text.parse().expect("PACKSTONE_TEST_SEED is a number"))
}

/// Where cargo keeps the sources of this program's dependencies: real files on every machine that can build it.
pub fn cargo_home() -> Option<PathBuf> {
    variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cargo")))
}

/// The folder with the socket of a PostgreSQL server that tests may use as they like, as user `postgres`. Without one,
/// says that `skipped` is not tested here.
pub fn postgres(skipped: &str) -> Option<String> {
    let host = variable("PACKSTONE_TEST_PGHOST");
    if host.is_none() {
        skip("PostgreSQL", skipped);
    }
    host
}

/// A server of the tests behind which there are objects.
#[cfg(all(feature = "s3", feature = "webdav"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// S3 with all conditions.
    S3,
    /// S3 that takes no notice of conditions.
    S3WithoutConditions,
    /// WebDAV.
    Webdav,
    /// Azure's object storage.
    #[cfg(feature = "azure")]
    Azure,
}

#[cfg(all(feature = "s3", feature = "webdav"))]
impl Server {
    /// Whether of many creators of one name exactly one succeeds.
    pub fn creates_atomically(self) -> bool {
        match self {
            Self::S3 => true,
            Self::S3WithoutConditions | Self::Webdav => false,
            #[cfg(feature = "azure")]
            Self::Azure => true,
        }
    }
}

/// The address of a server, as `host:port`, on which tests may do as they like. Without one, says that `skipped` is not
/// tested here.
#[cfg(all(feature = "s3", feature = "webdav"))]
pub fn server(server: Server, skipped: &str) -> Option<String> {
    let (name, need) = match server {
        Server::S3 => ("PACKSTONE_TEST_S3", "a server for S3"),
        Server::S3WithoutConditions => {
            ("PACKSTONE_TEST_S3_WITHOUT_CONDITIONS", "a server for S3 without conditions")
        }
        Server::Webdav => ("PACKSTONE_TEST_WEBDAV", "a server for WebDAV"),
        #[cfg(feature = "azure")]
        Server::Azure => ("PACKSTONE_TEST_AZURE", "a server for Azure"),
    };
    let address = variable(name);
    if address.is_none() {
        skip(need, skipped);
    }
    address
}

/// Whether a program can be run, and says by its exit code that all is well.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Says what is not tested here because of what is missing.
fn or_skip(is_there: bool, need: &str, skipped: &str) -> bool {
    if !is_there {
        skip(need, skipped);
    }
    is_there
}

/// Whether a program is installed. If not, says that `skipped` is not tested here.
pub fn has_program(name: &str, skipped: &str) -> bool {
    or_skip(succeeds(name, &["--version"]), name, skipped)
}

/// Whether strace is installed and may trace. If not, says that `skipped` is not tested here.
pub fn can_trace(skipped: &str) -> bool {
    let traced = succeeds("strace", &["-f", "-c", "-o", "/dev/null", "true"]);
    or_skip(traced, "strace, and leave to trace", skipped)
}

/// Whether this process may mount by FUSE. If not, says that `skipped` is not tested here.
pub fn can_mount(skipped: &str) -> bool {
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    let can =
        device.is_ok() && rustix::process::geteuid().is_root() && succeeds("unshare", &["--mount", "true"]);
    or_skip(can, "/dev/fuse, and root with the right to mount", skipped)
}

/// Whether strace can make calls fail that touch one path. If not, says that `skipped` is not tested here.
pub fn can_inject(skipped: &str) -> bool {
    let arguments = ["-qqf", "-o", "/dev/null", "-e", "inject=pread64:error=EIO", "-P", "/nowhere", "true"];
    or_skip(succeeds("strace", &arguments), "strace that makes calls fail, and leave to trace", skipped)
}

/// Whether the programs in `benches/` can make databases. If not, says that `skipped` is not tested here.
pub fn can_make_databases(skipped: &str) -> bool {
    let asked = "import sys; sys.path.insert(0, 'benches'); from measuring import database; \
                 sys.exit(not database.is_there())";
    or_skip(succeeds("python3", &["-B", "-c", asked]), "PostgreSQL with pgbench, and python3", skipped)
}

/// The program that is rclone: the one that the environment names, or the one that is installed. Without one, says that
/// `skipped` is not tested here.
#[cfg(feature = "webdav")]
pub fn rclone(skipped: &str) -> Option<PathBuf> {
    match variable("PACKSTONE_TEST_RCLONE") {
        Some(path) => Some(PathBuf::from(path)),
        None => has_program("rclone", skipped).then(|| PathBuf::from("rclone")),
    }
}
