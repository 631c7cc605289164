//! Creating objects on the server.
//!
//! What must hold: a file is complete, and synced where the server can, before it gets its name, by a second link, which
//! fails if the name is taken. Where there are no links it is renamed after a look, by the request that does not replace;
//! then creation is not atomic. After a creation of which nobody knows what became of it, the object is read back:
//! identical bytes are ours.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::Sftp;
use super::operations::Server;
use super::packet::PIECE_BYTES;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::name::{UNFINISHED_FOLDER, unfinished_name};
use crate::storage::remote::errors::{Attempt, Failure};
use crate::storage::remote::transport::Purpose;
use crate::storage::{Body, ObjectName, body_bytes, refusal};

/// So often a put makes its folder anew when deletes keep removing it.
const PUBLISH_ATTEMPTS_MAX: usize = 100;

/// Whether the server makes links.
#[derive(Debug, Default)]
pub(super) struct Links(AtomicU8);

impl Links {
    const WORK: u8 = 1;
    const FAIL: u8 = 2;

    /// They were seen not to work.
    pub(super) fn fail(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::FAIL
    }

    /// They were seen to work.
    pub(super) fn work(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::WORK
    }

    fn remember(&self, seen: u8) {
        self.0.store(seen, Ordering::Release);
    }
}

/// What became of a file that is complete.
enum Published {
    Yes,
    /// The name is taken.
    Taken,
}

impl Sftp {
    pub(super) fn create(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.failed_sync.check()?;
        let pieces = pieces(body);
        let mut is_uncertain = false;
        let mut left_over: Option<String> = None;
        let created = self.call(Purpose::Put, async |server| {
            if let Some(path) = &left_over {
                let _ = server.remove(Purpose::Other, path).await;
            }
            if is_uncertain {
                match self.is_stored(server, name, &pieces).await? {
                    Some(true) => return Ok(()),
                    Some(false) => return Err(Failure::lasting(refusal::taken(name))),
                    None => {}
                }
            }
            let unfinished = unfinished_name().map_err(Failure::lasting)?;
            let path = self.path(&format!("{UNFINISHED_FOLDER}/{unfinished}"));
            let outcome = self.write_and_publish(server, &path, name, &pieces, &mut is_uncertain).await;
            let outcome = match outcome {
                Err(failure) => Err(self.find_reason(server, failure).await),
                done => done,
            };
            // Without a connection it stays, until the next one or a sweep.
            let removed = server.remove(Purpose::Other, &path).await;
            left_over = removed.is_err().then_some(path);
            outcome
        });
        if created.is_ok() {
            self.remember_folder(name.split_last().0.unwrap_or_default());
        }
        // What is not there is a part of the way, not the object.
        created
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => error.of_kind(ErrorKind::Failed),
                _ => error,
            })
            .wrap(|| format!("cannot write object {name}"))
    }

    /// That there is no space has no status of its own in the protocol.
    async fn find_reason(&self, server: Server<'_>, failure: Failure) -> Failure {
        if failure.may_pass || failure.error.kind() != ErrorKind::Failed {
            return failure;
        }
        let Ok(Some(space)) = server.space(&self.path(".")).await else { return failure };
        if space.free_bytes >= PIECE_BYTES as u64 && space.free_files != Some(0) {
            return failure;
        }
        let message = "no space is left on the server";
        Failure { error: failure.error.while_doing(message).of_kind(ErrorKind::OutOfSpace), ..failure }
    }

    async fn write_and_publish(
        &self,
        server: Server<'_>,
        path: &str,
        name: &ObjectName,
        pieces: &[Bytes],
        is_uncertain: &mut bool,
    ) -> Attempt<()> {
        let handle = match server.create(path).await {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => {
                self.make_folder(server, UNFINISHED_FOLDER).await?;
                server.create(path).await
            }
            other => other,
        }?;
        if let Err(failure) = self.write_and_sync(server, &handle, pieces).await {
            let failure = self.find_reason(server, failure).await;
            // While it is open it takes its space, removed or not.
            server.release(&handle).await;
            return Err(failure);
        }
        server.close(&handle).await?;
        for _ in 0..PUBLISH_ATTEMPTS_MAX {
            match self.publish(server, path, name).await {
                Ok(Published::Yes) => return Ok(()),
                Ok(Published::Taken) if *is_uncertain => {
                    return match self.is_stored(server, name, pieces).await? {
                        Some(true) => Ok(()),
                        _ => Err(Failure::lasting(refusal::taken(name))),
                    };
                }
                Ok(Published::Taken) => return Err(Failure::lasting(refusal::taken(name))),
                // Its folder is not there, or the file itself.
                Err(failure) if failure.error.kind() == ErrorKind::NotFound => {
                    if server.look(path).await?.is_none() {
                        let message = "its unfinished file was removed by somebody else";
                        return Err(Failure::lasting(Error::new(ErrorKind::Failed, message)));
                    }
                    match name.split_last().0 {
                        Some(folder) => self.make_folder(server, folder).await?,
                        None => return Err(failure),
                    }
                }
                Err(failure) => {
                    *is_uncertain |= failure.may_pass;
                    return Err(failure);
                }
            }
        }
        let message = format!("its folder was removed {PUBLISH_ATTEMPTS_MAX} times");
        Err(Failure::lasting(Error::new(ErrorKind::Failed, message)))
    }

    async fn write_and_sync(&self, server: Server<'_>, handle: &Bytes, pieces: &[Bytes]) -> Attempt<()> {
        server.write(handle, pieces).await?;
        if server.connection.extensions.sync {
            let synced = server.sync(handle).await;
            synced.map_err(|failure| self.remember_failed_sync(failure))?;
        }
        Ok(())
    }

    /// Gives a complete file its name.
    async fn publish(&self, server: Server<'_>, path: &str, name: &ObjectName) -> Attempt<Published> {
        let target = self.path(name.as_str());
        if self.has_links(server) {
            let failure = match server.link(path, &target).await {
                Ok(()) => {
                    self.links.remember(Links::WORK);
                    return Ok(Published::Yes);
                }
                Err(failure) => failure,
            };
            if failure.may_pass || failure.error.kind() == ErrorKind::NotFound {
                return Err(failure);
            }
            // That a name is taken has no status of its own.
            if server.look(&target).await?.is_some() {
                return Ok(Published::Taken);
            }
            if self.links.work() {
                return Err(failure);
            }
            self.links.remember(Links::FAIL);
        }
        if server.look(&target).await?.is_some() {
            return Ok(Published::Taken);
        }
        match server.rename(path, &target).await {
            Ok(()) => Ok(Published::Yes),
            Err(failure) if failure.may_pass || failure.error.kind() == ErrorKind::NotFound => Err(failure),
            Err(failure) => match server.look(&target).await? {
                Some(_) => Ok(Published::Taken),
                None => Err(failure),
            },
        }
    }

    /// Whether objects are published by a second link.
    pub(super) fn has_links(&self, server: Server<'_>) -> bool {
        server.connection.extensions.hard_link && !self.links.fail()
    }

    /// Whether exactly these bytes are stored under a name; nothing if none are.
    async fn is_stored(
        &self,
        server: Server<'_>,
        name: &ObjectName,
        pieces: &[Bytes],
    ) -> Attempt<Option<bool>> {
        let length = pieces.iter().map(Bytes::len).sum();
        let (handle, size_bytes) = match self.open_object(server, name).await {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(failure) if failure.error.kind() == ErrorKind::Damaged => return Ok(Some(false)),
            other => other?,
        };
        let mut bytes = Vec::new();
        if size_bytes == length as u64 {
            server.read(&handle, 0, length, &mut bytes).await?;
        }
        server.release(&handle).await;
        Ok(Some(size_bytes == length as u64 && pieces.iter().flatten().eq(&bytes)))
    }

    /// As `Storage::prove_create`.
    pub(super) fn prove(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        let [first, second, truth] = bodies;
        let has_links = || self.call(Purpose::Other, async |server| Ok(self.has_links(server)));
        if !has_links()? {
            return self.create(name, truth).map(|()| false);
        }
        self.create(name, first)?;
        // Whether the file system behind the server makes them shows now.
        if !has_links()? {
            return self.replace(name, truth).map(|()| false);
        }
        match self.create(name, second) {
            Err(error) if error.kind() == ErrorKind::Exists => Ok(true),
            // Then what is there is the second.
            Ok(()) => self.replace(name, truth).map(|()| false),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.remove(name)?;
        self.create(name, body)
    }

    /// After a sync that failed nothing more is put.
    pub(super) fn remember_failed_sync(&self, failure: Failure) -> Failure {
        if failure.may_pass {
            return failure;
        }
        let message = format!("syncing failed: {}", failure.error);
        let failed = self.failed_sync.remember(Err(Error::new(ErrorKind::Failed, message)));
        Failure::lasting(failed.err().unwrap_or(failure.error))
    }
}

/// A body in pieces of the size that is written at a time.
fn pieces(body: &Body) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(usize::try_from(body_bytes(body)).unwrap_or(0) / PIECE_BYTES + 1);
    // Slices that are too small to go by themselves.
    let mut gathered = Vec::new();
    for slice in body {
        let mut rest = slice.clone();
        while !rest.is_empty() {
            if gathered.is_empty() && rest.len() >= PIECE_BYTES {
                pieces.push(rest.split_to(PIECE_BYTES));
                continue;
            }
            let part = rest.split_to(rest.len().min(PIECE_BYTES - gathered.len()));
            gathered.extend_from_slice(&part);
            if gathered.len() == PIECE_BYTES {
                pieces.push(Bytes::from(std::mem::take(&mut gathered)));
            }
        }
    }
    if !gathered.is_empty() {
        pieces.push(Bytes::from(gathered));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_full_but_the_last_and_the_same_bytes() {
        let content: Vec<u8> = (0..=250).cycle().take(5 * PIECE_BYTES + 77).collect();
        for cuts in [vec![], vec![1], vec![PIECE_BYTES], vec![10, 20, PIECE_BYTES + 5, 3 * PIECE_BYTES + 9]] {
            let bounds: Vec<usize> = [0].into_iter().chain(cuts).chain([content.len()]).collect();
            let body: Vec<Bytes> =
                bounds.windows(2).map(|pair| Bytes::copy_from_slice(&content[pair[0]..pair[1]])).collect();
            let pieces = pieces(&body);
            let (last, full) = pieces.split_last().unwrap();
            assert!(full.iter().all(|piece| piece.len() == PIECE_BYTES) && last.len() == 77);
            assert_eq!(pieces.concat(), content);
        }
        assert_eq!(pieces(&[Bytes::new()]), Vec::<Bytes>::new());
    }
}
