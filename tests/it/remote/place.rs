//! Places on the servers of the tests, each empty and nobody else's.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use packstone::storage::location::Location;
use packstone::storage::remote::{Credentials, Remote, RemoteOptions};
use zeroize::Zeroizing;

use crate::support::http::ask;
use crate::support::need::{Server, server};

/// Who may use the servers of the tests; `scripts/test` tells them so.
const USER: &str = "packstone";
const PASSWORD: &str = "packstone-secret";
/// The same as the services that sign with it want it: base64.
const KEY: &str = "cGFja3N0b25lLXNlY3JldA==";
/// The bucket that `scripts/test` makes where nobody can make one without a signature.
const BUCKET: &str = "packstone-tests";

/// An empty place on a server.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which server.
    pub server: Server,
    /// `host:port` of the server.
    pub address: String,
    /// The bucket; of WebDAV the folder above.
    pub bucket: String,
    prefix: String,
}

impl Place {
    /// A new place. Without the server, says that `skipped` is not tested here.
    pub fn new(server_kind: Server, skipped: &str) -> Option<Self> {
        Self::prepared(server_kind, skipped, &[])
    }

    /// The same in a bucket that is made with these headers.
    pub fn prepared(server_kind: Server, skipped: &str, headers: &[(&str, &str)]) -> Option<Self> {
        let address = server(server_kind, skipped)?;
        let token = format!("{:016x}", getrandom::u64().expect("random numbers"));
        let mut bucket = BUCKET.to_owned();
        if server_kind == Server::S3 {
            bucket = format!("tests-{token}");
            let made = ask(&address, &format!("PUT /{bucket}"), headers, "");
            assert_eq!(made.status(), 200, "{made:?}");
        }
        Some(Self { server: server_kind, address, bucket, prefix: format!("place {token}/ö+&") })
    }

    /// Another place beside it.
    pub fn beside(&self, name: &str) -> Self {
        Self { prefix: format!("{}/{name}", self.prefix), ..self.clone() }
    }

    /// The storage there.
    pub fn open(&self) -> Arc<Remote> {
        self.open_by(&self.address, Duration::from_secs(10))
    }

    /// The place as a user names it, by way of an address.
    pub fn location(&self, address: &str) -> String {
        let Self { bucket, prefix, .. } = self;
        match self.server {
            Server::S3 | Server::S3WithoutConditions => format!("s3:http://{address}/{bucket}/{prefix}"),
            Server::Webdav => format!("webdav:http://{address}/{bucket}/{prefix}"),
            #[cfg(feature = "azure")]
            Server::Azure => format!("azure:{bucket}/{prefix}?endpoint=http://{address}/{USER}"),
        }
    }

    /// The program, told of the place and of what opens it; it keeps what it likes below `home`, and is quiet.
    pub fn program(&self, home: &Path, key_file: &Path) -> Command {
        let mut command = self.program_by(&self.address, home, key_file);
        command.arg("--quiet");
        command
    }

    /// The same by way of another address, and not quiet.
    pub fn program_by(&self, address: &str, home: &Path, key_file: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command
            .env_clear()
            .env("HOME", home)
            .envs([("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", PASSWORD)])
            .envs([("WEBDAV_USER", USER), ("WEBDAV_PASSWORD", PASSWORD)])
            .envs([("AZURE_ACCOUNT_NAME", USER), ("AZURE_ACCOUNT_KEY", KEY)])
            .args(["--repository", &self.location(address), "--key-file"])
            .arg(key_file)
            .stdin(Stdio::null());
        command
    }

    /// The storage there, by way of another address, tried for so long.
    pub fn open_by(&self, address: &str, patience: Duration) -> Arc<Remote> {
        self.open_with(address, patience, RemoteOptions::default())
    }

    /// The same, in another way than the usual.
    pub fn open_with(&self, address: &str, patience: Duration, usual: RemoteOptions) -> Arc<Remote> {
        let text = self.location(address);
        let Ok(Location::Remote(location)) = Location::parse(text.as_bytes()) else { panic!("{text}") };
        let known = |name| {
            let value = match name {
                "AWS_ACCESS_KEY_ID" | "WEBDAV_USER" | "AZURE_ACCOUNT_NAME" => USER,
                "AWS_SECRET_ACCESS_KEY" | "WEBDAV_PASSWORD" => PASSWORD,
                "AZURE_ACCOUNT_KEY" => KEY,
                _ => return Ok(None),
            };
            Ok(Some(Zeroizing::new(value.to_owned())))
        };
        let options = RemoteOptions {
            credentials: Credentials::gather(known).expect("credentials"),
            patience,
            first_wait: Duration::from_millis(1),
            ..usual
        };
        Arc::new(Remote::open(&location, &options).expect("a storage"))
    }
}
