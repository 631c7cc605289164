//! Redis and Valkey: the server's data as an RDB file, or its append-only files.
//!
//! What must hold: an RDB file counts only if its own end and checksum say so, whatever the client said; a save is awaited
//! by what the server says of it; append-only files are given up to a moment at which all that they hold is whole.

mod append_only;
mod attempt;
mod client;
mod commands;
mod load;
mod proof;
mod running;
mod save;
mod waiting;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::rdb::Rdb;
use super::{Access, Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, OpenDump, StoredDump};
use crate::base::{Error, ErrorKind, Result};
use crate::source::program::NotEmpty;

use client::{Client, Server};
use running::is_here;

/// The name of the dump that is an RDB file.
const RDB: &str = "dump.rdb";
/// What cannot be done if a dump fails.
const FAILED: &str = "cannot dump the data of the Redis server";

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

/// How a client encrypts its connection: files in PEM, where the client runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that are trusted; `None`: those of the system.
    pub ca_file: Option<String>,
    /// The client's own certificate.
    pub certificate_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
}

/// A Redis or Valkey server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// How it is reached.
    pub access: Access,
    /// How the connection is encrypted, if it is.
    pub tls: Option<Tls>,
    /// How its data are had.
    pub method: Method,
    /// The server's data folder as this machine sees it, where that is not what the server says.
    pub folder: Option<String>,
    /// What stops the server before its data are put back, as `["systemctl", "stop", "redis-server"]`.
    pub stop_command: Vec<String>,
    /// What starts it afterwards.
    pub start_command: Vec<String>,
}

impl Engine for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let client = Client::find(self, listener)?;
        let server = client.server()?;
        let name = server.shown();
        let (how, dumps) = match self.method {
            Method::Stream => (format!("RDB stream of one moment ({name})"), vec![self.stream(client)]),
            Method::Save => (format!("RDB file of one moment, by BGSAVE ({name})"), vec![self.save(client)?]),
            Method::AppendOnly => {
                let dumps = append_only::dumps(&client, &server, &self.files_folder(&client)?)?;
                (format!("append-only files up to one moment ({name})"), dumps)
            }
        };
        Ok(Dumps { consistency: how, dumps, problems: Vec::new(), end: None })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        load::plan(self, stored, options, listener)
    }
}

impl Redis {
    fn stream(&self, client: Client) -> Dump {
        let open = move || {
            let program = client.program()?.arguments(["--rdb", "-"]);
            let dump = checked(program.open(FAILED, NotEmpty)?);
            let end = dump.end;
            Ok(OpenDump { end: Box::new(move || end().map_err(explain_refusal)), ..dump })
        };
        Dump { name: RDB.to_owned(), metadata: None, open: Box::new(open) }
    }

    fn save(&self, client: Client) -> Result<Dump> {
        let is_read_there = self.folder.is_none() && self.access.container.is_some();
        let folder = if is_read_there { None } else { Some(self.files_folder(&client)?) };
        let open = move || Ok(checked(save::open(client, folder)));
        Ok(Dump { name: RDB.to_owned(), metadata: None, open: Box::new(open) })
    }

    /// The server's data folder as this machine sees it. What a server says of it counts only on its own machine.
    fn files_folder(&self, client: &Client) -> Result<PathBuf> {
        if let Some(folder) = &self.folder {
            return Ok(PathBuf::from(folder));
        }
        let where_it_is = match (&self.access.container, &self.access.host) {
            (Some(_), _) => "the server runs in a container".to_owned(),
            (None, Some(host)) if !is_here(&self.access) => {
                format!("the server {host} runs on another machine")
            }
            _ => return client.folder(),
        };
        let message =
            format!("{where_it_is}: its data folder, as this machine sees it, must be named (folder)");
        Err(Error::new(ErrorKind::Usage, message))
    }
}

/// Says what a user must be allowed who is refused what replicas get.
fn explain_refusal(error: Error) -> Error {
    let lines = error.chain();
    let is_refused = |line: &String| line.contains("NOPERM") && line.contains("SYNC");
    if !lines.iter().any(is_refused) {
        return error;
    }
    let sentence =
        "this user may not get the data as a replica does: ACL SETUSER … +psync +sync +replconf +ping";
    Error::new(ErrorKind::Denied, lines.join(": ")).while_doing(sentence)
}

/// The bytes of an RDB file that must be whole.
fn checked(dump: OpenDump) -> OpenDump {
    let failure = Arc::new(Mutex::new(None));
    let (kept, end) = (Arc::clone(&failure), dump.end);
    let reader = Rdb::new(dump.reader, move |error| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    });
    OpenDump {
        reader: Box::new(reader),
        end: Box::new(move || {
            let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            let ended = end();
            match failure {
                // Why it broke off, if the client knows; else that it did.
                Some((error, true)) => ended.and(Err(error)),
                Some((error, false)) => Err(error),
                None => ended,
            }
        }),
        stop: dump.stop,
    }
}

/// The version of a server that has its append-only files in a folder of their own.
const MULTI_PART: u32 = 7;

impl Server {
    /// Whether the append-only files are many, in a folder.
    fn is_multi_part(&self) -> bool {
        self.major() >= MULTI_PART
    }
}
