//! Creating objects on a service.
//!
//! What must hold: after a creation of which nobody knows what became of it, the object is read back before anything
//! else is sent: identical bytes are ours. Unless the service was seen to refuse to create what is there, somebody looks
//! first. Where an interrupted upload could be seen, nothing stands under its name before it is complete.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use opendal::{Buffer, Operator};

use super::Remote;
use super::errors::{Attempt, Failure};
use super::services::Publishing;
use super::transport::{Purpose, failed, last_status};
use super::webdav::may_try_again;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::name::{UNFINISHED_FOLDER, unfinished_name};
use crate::storage::{Body, ObjectName, refusal};

/// Of a success that may be none.
const UNCONFIRMED: &str = "the storage says that it wrote the object, and gives no tag of it";

/// Whether the service was seen to refuse to create what is there.
#[derive(Debug, Default)]
pub(super) struct Refuses(AtomicU8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Refused,
    Overwritten,
}

impl Refuses {
    pub(super) fn seen(&self) -> Seen {
        match self.0.load(Ordering::Acquire) {
            1 => Seen::Refused,
            2 => Seen::Overwritten,
            _ => Seen::Nothing,
        }
    }

    fn is(&self, seen: Seen) {
        let value = match seen {
            Seen::Nothing => 0,
            Seen::Refused => 1,
            Seen::Overwritten => 2,
        };
        self.0.store(value, Ordering::Release);
    }
}

impl Remote {
    pub(super) fn put(&self, operator: &Operator, name: &ObjectName, body: &Body) -> Result<()> {
        let content = Buffer::from(body.to_vec());
        let created = self.run(Purpose::Put, async {
            match self.publishing {
                Publishing::Moved => self.create_by_move(operator, name, &content).await,
                _ => self.create(operator, name, &content).await,
            }
        });
        created.wrap(|| format!("cannot write object {name}"))
    }

    async fn create(&self, operator: &Operator, name: &ObjectName, content: &Buffer) -> Result<()> {
        let mut is_uncertain = false;
        self.try_often(async || {
            if is_uncertain && self.has_arrived(name, content).await? {
                return Ok(());
            }
            let outcome = self.create_once(operator, name, content).await;
            match outcome {
                // It may have been an earlier attempt.
                Err(failure) if failure.is_taken() && is_uncertain => {
                    match self.is_stored(name, content).await? {
                        Some(true) => Ok(()),
                        _ => Err(Failure::lasting(refusal::taken(name))),
                    }
                }
                Err(failure) => {
                    is_uncertain |= failure.may_pass;
                    Err(failure)
                }
                Ok(()) => Ok(()),
            }
        })
        .await
    }

    /// One creation by one request, after a look where a refusal cannot be relied upon.
    async fn create_once(&self, operator: &Operator, name: &ObjectName, content: &Buffer) -> Attempt<()> {
        let is_conditional = self.is_conditional();
        if !(is_conditional && self.refuses.seen() == Seen::Refused)
            && self.size_of(name.as_str()).await?.is_some()
        {
            return Err(Failure::lasting(refusal::taken(name)));
        }
        match self.write(operator, name.as_str(), content, is_conditional).await {
            // The service does not know conditions at all.
            Err(failure) if is_conditional && failure.error.kind() == ErrorKind::Unsupported => {
                self.refuses.is(Seen::Overwritten);
                self.write(operator, name.as_str(), content, false).await
            }
            Err(failure) if failure.is_taken() => Err(Failure::lasting(refusal::taken(name))),
            outcome => outcome,
        }
    }

    /// Whether a creation is sent under the condition that the name is free.
    pub(super) fn is_conditional(&self) -> bool {
        self.publishing == Publishing::Conditional && self.refuses.seen() != Seen::Overwritten
    }

    /// Whether of many creators of one name exactly one succeeds; none: not tried yet.
    pub(super) fn creates_atomically(&self) -> Option<bool> {
        match self.refuses.seen() {
            _ if !self.is_conditional() => Some(false),
            Seen::Nothing => None,
            seen => Some(seen == Seen::Refused),
        }
    }

    async fn write(
        &self,
        operator: &Operator,
        name: &str,
        content: &Buffer,
        is_conditional: bool,
    ) -> Attempt<()> {
        let options = opendal::options::WriteOptions { if_not_exists: is_conditional, ..Default::default() };
        let written = operator.write_options(&self.path(name), content.clone(), options).await;
        match written.map_err(|cause| Failure::of_service(&cause))? {
            // Something else may have answered.
            told if self.tells_tags && told.etag().is_none() => {
                Err(Failure::of_service(&failed(UNCONFIRMED).set_temporary()))
            }
            _ => Ok(()),
        }
    }

    /// Whether an earlier attempt created the object; an error if its name is taken by other bytes.
    async fn has_arrived(&self, name: &ObjectName, content: &Buffer) -> Attempt<bool> {
        match self.is_stored(name, content).await? {
            Some(false) => Err(Failure::lasting(refusal::taken(name))),
            found => Ok(found.is_some()),
        }
    }

    async fn create_by_move(&self, operator: &Operator, name: &ObjectName, content: &Buffer) -> Result<()> {
        let mut is_uncertain = false;
        self.try_often(async || {
            if is_uncertain {
                if self.has_arrived(name, content).await? {
                    return Ok(());
                }
            } else if self.size_of(name.as_str()).await?.is_some() {
                return Err(Failure::lasting(refusal::taken(name)));
            }
            let unfinished = unfinished_name().map_err(Failure::lasting)?;
            let unfinished = format!("{UNFINISHED_FOLDER}/{unfinished}");
            let moved = self.write_and_move(operator, &unfinished, name, content).await;
            if let Err(failure) = &moved {
                is_uncertain |= failure.may_pass;
                // What stays is swept later.
                let _ = operator.delete(&self.path(&unfinished)).await;
            }
            moved
        })
        .await
    }

    async fn write_and_move(
        &self,
        operator: &Operator,
        unfinished: &str,
        name: &ObjectName,
        content: &Buffer,
    ) -> Attempt<()> {
        let mut attempts = 1;
        loop {
            self.prepare_unfinished(operator).await?;
            match self.write(operator, unfinished, content, false).await {
                Err(failure) if self.misses_unfinished(&failure) && may_try_again(attempts) => attempts += 1,
                written => break written?,
            }
        }
        let stored_bytes = self.size_of(unfinished).await?;
        if stored_bytes != Some(content.len() as u64) {
            let message =
                format!("of {} bytes that were sent, the storage has {stored_bytes:?}", content.len());
            return Err(Failure::passing(Error::new(ErrorKind::Unreachable, message)));
        }
        match self.rename(operator, unfinished, name.as_str()).await {
            Err(failure) if failure.is_taken() || last_status() == 412 => {
                Err(Failure::lasting(refusal::taken(name)))
            }
            outcome => outcome,
        }
    }

    /// Whether exactly these bytes are stored under a name; nothing if none are.
    async fn is_stored(&self, name: &ObjectName, content: &Buffer) -> Attempt<Option<bool>> {
        let mut stored = Vec::new();
        match self.read(name, 0, None, content.len() as u64, &mut stored).await {
            Ok(()) => Ok(Some(content.clone().flat_map(|slice: Bytes| slice).eq(stored))),
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => Ok(None),
            // Longer than ours, hence not ours.
            Err(failure) if failure.error.kind() == ErrorKind::Damaged => Ok(Some(false)),
            // What froze at once was taken whole, with its checksum, and nobody else uses the names of data.
            Err(failure) if failure.error.kind() == ErrorKind::Frozen => {
                let stored_bytes = self.size_of(name.as_str()).await?;
                Ok(stored_bytes.map(|stored_bytes| stored_bytes == content.len() as u64))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Finds out whether the service refuses to create what is there, and remembers it.
    pub(super) fn prove(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        let [first, second, truth] = bodies;
        if !self.is_conditional() {
            return self.put(&self.operator, name, truth).map(|()| false);
        }
        let failed = || format!("cannot write object {name}");
        let [first, second, truth] = [first, second, truth].map(|body| Buffer::from(body.to_vec()));
        let is_refused = self.run(Purpose::Put, self.create_twice(name, &first, &second)).wrap(failed)?;
        self.refuses.is(if is_refused { Seen::Refused } else { Seen::Overwritten });
        if is_refused {
            return Ok(true);
        }
        self.run(Purpose::Put, self.overwrite(name, &truth)).wrap(failed).map(|()| false)
    }

    /// Writes an object whatever is there.
    async fn overwrite(&self, name: &ObjectName, content: &Buffer) -> Result<()> {
        let mut is_uncertain = false;
        self.try_often(async || {
            if is_uncertain && self.is_stored(name, content).await? == Some(true) {
                return Ok(());
            }
            let written = self.write(&self.operator, name.as_str(), content, false).await;
            is_uncertain |= written.is_err();
            written
        })
        .await
    }

    /// Creates an object, then once more with other bytes: true if that was refused.
    async fn create_twice(&self, name: &ObjectName, first: &Buffer, second: &Buffer) -> Result<bool> {
        let create = async |content: &Buffer| self.write(&self.operator, name.as_str(), content, true).await;
        let mut is_uncertain = false;
        let is_known = self
            .try_often(async || {
                if is_uncertain && self.is_stored(name, first).await? == Some(true) {
                    return Ok(true);
                }
                match create(first).await {
                    Err(failure) if failure.error.kind() == ErrorKind::Unsupported => Ok(false),
                    Err(failure) if failure.is_taken() => match self.is_stored(name, first).await? {
                        Some(true) => Ok(true),
                        _ => Err(Failure::lasting(refusal::taken(name))),
                    },
                    Err(failure) => {
                        is_uncertain |= failure.may_pass;
                        Err(failure)
                    }
                    Ok(()) => Ok(true),
                }
            })
            .await?;
        if !is_known {
            return Ok(false);
        }
        let mut is_uncertain = false;
        self.try_often(async || {
            if is_uncertain && self.is_stored(name, second).await? == Some(true) {
                return Ok(false);
            }
            match create(second).await {
                Err(failure) if failure.is_taken() => Ok(true),
                other => {
                    is_uncertain |= other.is_err();
                    other.map(|()| false)
                }
            }
        })
        .await
    }
}
