//! The kinds of databases and programs that are known: what is said of each in a configuration, how it is dumped and,
//! side by side, how it is put back.
//!
//! What must hold: a password reaches a client only by ways that no other user can read, never by its arguments; what
//! broke off is never taken for whole, whatever the exit code.

pub mod chroma;
pub mod command;
mod file_name;
mod later;
pub mod mariadb;
pub mod mongodb;
pub mod options;
mod place;
pub mod postgres;
mod rdb;
pub mod redis;
pub mod sqlite;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use chroma::Chroma;
pub use command::AnyCommand;
pub use mariadb::Mariadb;
pub use mongodb::Mongodb;
pub use postgres::Postgres;
pub use redis::Redis;
pub use sqlite::Sqlite;

use crate::source::dump::{Dump, Dumps, Engine, Feed, LoadOptions, LoadPlan, LoadStep, OpenDump, StoredDump};
use crate::source::listener::Listener;

/// A secret that is given to a client. It is wiped when the last one who has it lets go.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<Zeroizing<String>>);

impl Password {
    /// Takes a secret.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(Arc::new(text))
    }

    /// The secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

/// Where a client runs and how it reaches its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The container in which the clients run, so that their version fits; `None`: on this machine.
    pub container: Option<Container>,
    /// The user of this machine as whom the clients run, for servers that know users of the system; only for root. In a
    /// container, a user of the container.
    pub run_as: Option<String>,
    /// The server's name or address, or the folder of its socket.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The socket itself, for clients that want its path.
    pub socket: Option<String>,
    /// The server's user.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<Password>,
    /// The variable of the container that holds the password, as `MARIADB_ROOT_PASSWORD`.
    pub container_password: Option<String>,
    /// The folder with the clients of this machine; `None`: wherever they are found.
    pub programs: Option<String>,
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name or id.
    pub name: String,
    /// The program that reaches it: `docker` or `podman`.
    pub program: String,
}

/// Which databases of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// All that are there when it is dumped.
    All,
    /// These.
    Named(Vec<String>),
}
