//! Redis and Valkey: the server's data as an RDB file, or its append-only files.
//!
//! What must hold: an RDB file counts only if its own end and checksum say so, whatever the client said; a save is awaited
//! by what the server says of it; append-only files are given up to a moment at which all that they hold is whole.

mod append_only;
mod client;
mod commands;
mod load;
mod save;

use std::sync::{Arc, Mutex, PoisonError};

use super::rdb::Rdb;
use super::{Access, Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, OpenDump, StoredDump};
use crate::base::Result;
use crate::source::program::NotEmpty;

use client::{Client, Server};

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

impl Engine for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let client = Client::find(&self.access, listener)?;
        let server = client.server()?;
        let name = server.shown();
        let (how, dumps) = match self.method {
            Method::Stream => (format!("RDB stream of one moment ({name})"), vec![self.stream(client)]),
            Method::Save => (format!("RDB file of one moment, by BGSAVE ({name})"), vec![self.save(client)]),
            Method::AppendOnly => {
                let folder = self.folder.as_deref();
                let dumps = append_only::dumps(&client, &server, folder, self.access.container.is_some())?;
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
            Ok(checked(program.open(FAILED, NotEmpty)?))
        };
        Dump { name: RDB.to_owned(), metadata: None, open: Box::new(open) }
    }

    fn save(&self, client: Client) -> Dump {
        let folder = self.folder.clone();
        let open = move || Ok(checked(save::open(client, folder)));
        Dump { name: RDB.to_owned(), metadata: None, open: Box::new(open) }
    }
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
