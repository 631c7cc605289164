//! Objects as files on a server that speaks SFTP, reached by the system's `ssh`.
//!
//! What must hold:
//! 1. A name appears by one step, over a file that is complete, and that is synced if the server offers
//!    `fsync@openssh.com` (`creation`). The step is a second link (`hardlink@openssh.com`), of many exactly one; where
//!    the server makes none it is a rename after a look, and creation is not called atomic.
//! 2. After `barrier` the folders of what was put, listed or read are synced as well, as far as the server syncs
//!    folders, which no text promises and OpenSSH on Unix does. A server without the extension promises nothing.
//! 3. How one is let in is the affair of `ssh`: its configuration, keys, agent and known hosts are as its user has them,
//!    and what it asks, it asks on the terminal. It ends with the storage; when it ends earlier, the next call starts it
//!    again.
//! 4. Only regular files are objects; anything else in an object's place is damage. Folders that lead to it are not
//!    looked at one by one, as they are on a local disk.

mod connection;
mod creation;
mod errors;
mod folders;
mod operations;
mod packet;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::process::Command;

use self::connection::Connection;
use self::creation::Links;
use self::operations::Server;
use self::packet::FileKind;
use super::local::durability::FailedSync;
use super::location::{RemoteLocation, Service};
use super::remote::RemoteOptions;
use super::remote::caller::Caller;
use super::remote::errors::{Attempt, Failure};
use super::remote::listing::visit_in_order;
use super::remote::services::no_class;
use super::remote::timing::RealTimer;
use super::remote::transport::Purpose;
use super::{Body, Capabilities, Listed, ObjectName, Storage, Stray, Traffic, refusal};
use crate::base::{Error, ErrorKind, Result, Wrap};

/// Folders that are synced at the same time.
const FOLDERS_AT_A_TIME: usize = 16;

/// Objects on a server that speaks SFTP.
pub struct Sftp {
    caller: Caller,
    program: OsString,
    arguments: Vec<OsString>,
    withheld: Vec<String>,
    host: String,
    /// What stands before an object's name in its path: empty, or it ends with a slash.
    prefix: String,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    links: Links,
    /// Paths of folders whose names may not be durable yet.
    unsynced: Mutex<BTreeSet<String>>,
    folders_cannot_be_synced: AtomicBool,
    failed_sync: FailedSync,
}

impl fmt::Debug for Sftp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sftp").field("location", &self.caller.shown).finish_non_exhaustive()
    }
}

impl Sftp {
    /// Prepares the connection to a server; nothing is started. `Usage` for a location of another service.
    pub fn open(location: &RemoteLocation, options: &RemoteOptions) -> Result<Self> {
        let Service::Sftp { user, host, port, is_absolute } = &location.service else {
            return Err(Error::new(ErrorKind::Usage, format!("{location} is not reached by SFTP")));
        };
        no_class(options.storage_class.as_deref())?;
        let (program, first) = match options.ssh_command.split_first() {
            Some((program, first)) => (program.clone(), first),
            None => ("ssh".into(), [].as_slice()),
        };
        let mut arguments = first.to_vec();
        if let Some(port) = port {
            arguments.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = user {
            arguments.extend(["-l".into(), user.into()]);
        }
        // An address in brackets is one only to those who read addresses.
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        arguments.extend([bare_host.into(), "-s".into(), "sftp".into()]);
        let root = if *is_absolute { "/" } else { "" };
        let prefix = match location.path.as_str() {
            "" => root.to_owned(),
            path => format!("{root}{path}/"),
        };
        Ok(Self {
            caller: Caller::start(location.to_string(), options, Box::new(RealTimer::start()))?,
            program,
            arguments,
            withheld: options.withheld.clone(),
            host: host.clone(),
            prefix,
            connection: tokio::sync::Mutex::default(),
            links: Links::default(),
            unsynced: Mutex::default(),
            folders_cannot_be_synced: AtomicBool::new(false),
            failed_sync: FailedSync::default(),
        })
    }

    /// The path of an object or a folder on the server.
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a call on a connection, again on another one if it breaks.
    fn call<T>(&self, purpose: Purpose, mut work: impl AsyncFnMut(Server<'_>) -> Attempt<T>) -> Result<T> {
        self.caller.run(purpose, async {
            self.caller
                .try_often(async || {
                    let connection = self.connected().await?;
                    work(Server { connection: &connection, wire: &self.caller.wire }).await
                })
                .await
        })
    }

    /// The connection, a new one if there is none that works.
    async fn connected(&self) -> Attempt<Arc<Connection>> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        *held = None;
        self.caller.wire.counted.request(Purpose::Other);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for name in &self.withheld {
            command.env_remove(name);
        }
        let connection = Arc::new(Connection::open(command, &self.host).await?);
        *held = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Opens an object that is a regular file, and gives its size in bytes.
    async fn open_object(&self, server: Server<'_>, name: &ObjectName) -> Attempt<(Bytes, u64)> {
        let path = self.path(name.as_str());
        // To open what is no regular file could take for ever.
        let found = server.look(&path).await?.ok_or_else(|| Failure::lasting(refusal::not_found(name)))?;
        let size_bytes = match (found.kind(), found.size_bytes) {
            (FileKind::Regular | FileKind::Unknown, Some(size_bytes)) => size_bytes,
            _ => return Err(Failure::lasting(not_regular(name))),
        };
        match server.open_to_read(&path).await {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => {
                Err(Failure::lasting(refusal::not_found(name)))
            }
            other => other.map(|handle| (handle, size_bytes)),
        }
    }

    /// Reads an object: `range_of` gives offset and length of what is wanted of so many bytes.
    fn read(&self, name: &ObjectName, range_of: impl Fn(u64) -> Result<(u64, usize)>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let outcome = self.call(Purpose::Get, async |server| {
            let (handle, size_bytes) = self.open_object(server, name).await?;
            let read = match range_of(size_bytes) {
                Err(error) => Err(Failure::lasting(error)),
                Ok((offset, length)) => {
                    make_room(&mut bytes, name, length)?;
                    let read = server.read(&handle, offset, length, &mut bytes).await;
                    read.and_then(|()| match bytes.len() == length {
                        true => Ok(()),
                        false => {
                            let end = offset + bytes.len() as u64;
                            Err(Failure::lasting(refusal::too_short(name, end, offset, length)))
                        }
                    })
                }
            };
            server.release(&handle).await;
            read
        });
        if let Some(folder) = name.split_last().0.filter(|_| outcome.is_ok()) {
            self.remember_folder(folder);
        }
        match outcome {
            Err(error) if [ErrorKind::NotFound, ErrorKind::Damaged].contains(&error.kind()) => Err(error),
            other => other.wrap(|| format!("cannot read object {name}")).map(|()| bytes),
        }
    }

    fn remove(&self, name: &ObjectName) -> Result<()> {
        let path = self.path(name.as_str());
        let mut is_uncertain = false;
        self.call(Purpose::Delete, async |server| match server.remove(Purpose::Delete, &path).await {
            // It was an attempt before.
            Err(failure) if failure.error.kind() == ErrorKind::NotFound && is_uncertain => Ok(()),
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => {
                Err(Failure::lasting(refusal::not_found(name)))
            }
            Err(failure) => {
                is_uncertain |= failure.may_pass;
                if !failure.may_pass
                    && let Some(found) = server.look(&path).await?
                    && found.kind() == FileKind::Folder
                {
                    return Err(Failure::lasting(not_regular(name)));
                }
                Err(failure)
            }
            Ok(()) => {
                self.remove_empty(server, name).await;
                Ok(())
            }
        })
    }

    /// Names in a folder, and it itself, are to be made durable by the next barrier.
    fn remember_folder(&self, folder: &str) {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(folder).filter(|folder| !folder.is_empty());
        while let Some(folder) = next {
            unsynced.insert(self.path(folder));
            next = folder.rsplit_once('/').map(|(above, _)| above);
        }
        unsynced.insert(self.path("."));
    }

    /// A folder was made in this one, which may be above the root.
    fn remember_path(&self, path: &str) {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }

    /// Makes the names in folders durable, as far as the server does that.
    async fn sync_folders(&self, server: Server<'_>, paths: &BTreeSet<String>) -> Attempt<()> {
        if !server.connection.extensions.sync || self.folders_cannot_be_synced.load(Ordering::Relaxed) {
            return Ok(());
        }
        let syncs = paths.iter().map(async |path| self.sync_folder(server, path).await);
        futures::stream::iter(syncs).buffer_unordered(FOLDERS_AT_A_TIME).try_collect().await
    }

    async fn sync_folder(&self, server: Server<'_>, path: &str) -> Attempt<()> {
        let handle = match server.open_to_read(path).await {
            Ok(handle) => handle,
            Err(failure) if failure.may_pass => return Err(failure),
            // It was removed with its last object.
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) => {
                self.folders_cannot_be_synced.store(true, Ordering::Relaxed);
                return Ok(());
            }
        };
        let synced = match server.sync(&handle).await {
            Err(failure) if failure.error.kind() == ErrorKind::Unsupported => {
                self.folders_cannot_be_synced.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other.map_err(|failure| self.remember_failed_sync(failure)),
        };
        server.release(&handle).await;
        synced
    }
}

fn make_room(bytes: &mut Vec<u8>, name: &ObjectName, length: usize) -> Attempt<()> {
    bytes.try_reserve_exact(length.saturating_sub(bytes.len())).map_err(|cause| {
        let message = format!("no memory for {length} bytes of object {name}");
        Failure::lasting(Error::caused(ErrorKind::Failed, message, cause))
    })
}

fn not_regular(name: &ObjectName) -> Error {
    Error::damaged(format!("object {name} is not a regular file"))
}

impl Drop for Sftp {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.get_mut().take().and_then(Arc::into_inner) {
            self.caller.run(Purpose::Other, connection.close());
        }
    }
}

impl Storage for Sftp {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.create(name, body)
    }

    fn prove_create(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        self.prove(name, bodies)
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.read(name, |size_bytes| {
            if size_bytes > size_bytes_max {
                return Err(refusal::too_large(name, size_bytes, size_bytes_max));
            }
            // A file of more bytes than a `usize` counts fails to be allocated.
            Ok((0, usize::try_from(size_bytes).unwrap_or(usize::MAX)))
        })
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.read(name, |size_bytes| match offset.checked_add(length as u64) {
            Some(end) if end <= size_bytes => Ok((offset, length)),
            _ => Err(refusal::too_short(name, size_bytes, offset, length)),
        })
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        // What is no name cannot be the beginning of one.
        let Some(folder) = ObjectName::parse(folder) else { return Ok(()) };
        if !self.has_folder(&folder)? {
            return Ok(());
        }
        visit_in_order(&|folder| self.entries(folder), &format!("{folder}/"), start_after, visit)
    }

    fn strays(&self, folders: &[&str], visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
        self.visit_strays(folders, visit).wrap(|| format!("cannot look through {}", self.location()))
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        match self.remove(name) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::Damaged].contains(&error.kind()) => Err(error),
            other => other.wrap(|| format!("cannot delete object {name}")),
        }
    }

    fn barrier(&self) -> Result<()> {
        self.failed_sync.check()?;
        let paths = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        if paths.is_empty() {
            return Ok(());
        }
        let synced = self.call(Purpose::Other, async |server| self.sync_folders(server, &paths).await);
        // A barrier that failed is final, whatever the reason.
        self.failed_sync
            .remember(synced)
            .wrap(|| format!("cannot make the objects in {} durable", self.location()))
    }

    fn capabilities(&self) -> Capabilities {
        // Whether the file system behind the server makes links shows when it is asked for one.
        let has_links = self.call(Purpose::Other, async |server| Ok(self.has_links(server)));
        let atomic_create = match has_links {
            Ok(false) => Some(false),
            Ok(true) if self.links.work() => Some(true),
            _ => None,
        };
        Capabilities { atomic_create }
    }

    fn parallel_calls(&self) -> usize {
        self.caller.wire.connections
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.caller.wire.counted.traffic())
    }

    fn location(&self) -> String {
        self.caller.shown.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::location::Location;

    fn opened(text: &str, ssh_command: &[&str]) -> Sftp {
        let Location::Remote(location) = Location::parse(text.as_bytes()).unwrap() else { panic!("{text}") };
        let ssh_command = ssh_command.iter().map(OsString::from).collect();
        Sftp::open(&location, &RemoteOptions { ssh_command, ..RemoteOptions::default() }).unwrap()
    }

    #[test]
    fn ssh_is_asked_for_its_subsystem_and_nothing_is_set_for_it() {
        let called = |sftp: Sftp| {
            let arguments = sftp.arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
            [sftp.program.to_string_lossy().into_owned()]
                .into_iter()
                .chain(arguments)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(called(opened("sftp:h:x", &[])), "ssh h -s sftp");
        assert_eq!(called(opened("sftp://u@h:22/x", &["ssh", "-F", "f"])), "ssh -F f -p 22 -l u h -s sftp");
        assert_eq!(called(opened("sftp://[::1]:22/x", &[])), "ssh -p 22 ::1 -s sftp");
    }

    #[test]
    fn a_path_begins_where_the_location_says() {
        let path = |text| opened(text, &[]).path("packs/00/a");
        assert_eq!(path("sftp:h:"), "packs/00/a");
        assert_eq!(path("sftp:h:x/y"), "x/y/packs/00/a");
        assert_eq!(path("sftp:h:/x"), "/x/packs/00/a");
        assert_eq!(path("sftp:h:/"), "/packs/00/a");
    }
}
