//! Sealed objects of one part: index runs, commit keys, session records, tombstones, collections.
//!
//! What must hold: a body is padded as the format says before it is sealed; an object whose name is a hash has that
//! hash; a creation whose outcome is unknown is read back before anybody believes it.

use bytes::Bytes;

use crate::base::{ContentName, Error, ErrorKind, Result, SessionId, Wrap};
use crate::crypto::seal::Context;
use crate::crypto::{Keys, Opener, Sealer, content_name};
use crate::format::index::check_padding;
use crate::format::padding::padded;
use crate::format::sealing::{Header, ObjectKind, Role};
use crate::repository::Repository;
use crate::storage::{ObjectName, Storage};

/// The object of a name that the format made.
pub(super) fn object_name(name: &str) -> Result<ObjectName> {
    ObjectName::parse(name).ok_or_else(|| Error::new(ErrorKind::Failed, format!("{name} is no object name")))
}

/// What became of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    /// The object is there with our bytes.
    Ours,
    /// The object is there with other bytes, or was there until a moment ago.
    Taken,
}

/// Creates an object. If the name is taken, the stored bytes tell whether an earlier attempt of ours took it.
pub(super) fn create(storage: &dyn Storage, name: &ObjectName, body: &[Bytes]) -> Result<Creation> {
    judge(storage.put_if_absent(name, body), storage, name, body)
}

/// What became of an attempt to create an object.
fn judge(attempt: Result<()>, storage: &dyn Storage, name: &ObjectName, body: &[Bytes]) -> Result<Creation> {
    match attempt {
        Ok(()) => Ok(Creation::Ours),
        Err(error) if error.kind() == ErrorKind::Exists => {
            let length = crate::storage::body_bytes(body);
            let stored = match storage.get(name, length) {
                Ok(stored) => stored,
                // Longer than ours, hence not ours; or what ended a session, and went with it.
                Err(error) if [ErrorKind::Damaged, ErrorKind::NotFound].contains(&error.kind()) => {
                    return Ok(Creation::Taken);
                }
                Err(error) => return Err(error),
            };
            let ours = body.iter().flat_map(|slice| slice.iter()).eq(stored.iter());
            Ok(if ours { Creation::Ours } else { Creation::Taken })
        }
        Err(error) => Err(error),
    }
}

/// Creates an object whose name is a hash of random bytes, so that nobody else can have taken it.
pub(super) fn create_unique(storage: &dyn Storage, name: &ObjectName, body: &[Bytes]) -> Result<()> {
    expect_ours(name, create(storage, name, body)?)
}

/// The same for an object that is read only to give data back.
pub(super) fn create_unique_data(storage: &dyn Storage, name: &ObjectName, body: &[Bytes]) -> Result<()> {
    expect_ours(name, judge(storage.put_data_if_absent(name, body), storage, name, body)?)
}

fn expect_ours(name: &ObjectName, creation: Creation) -> Result<()> {
    match creation {
        Creation::Ours => Ok(()),
        Creation::Taken => {
            Err(Error::damaged(format!("object {name} is, or was a moment ago, there with other bytes")))
        }
    }
}

/// Pads and seals an object of one part.
pub(super) fn seal_padded(
    keys: &Keys,
    context: &Context<'_>,
    session: SessionId,
    mut content: Vec<u8>,
) -> Result<Bytes> {
    let length = usize::try_from(padded(content.len() as u64))
        .map_err(|_| Error::new(ErrorKind::Failed, "a record too large for this machine"))?;
    content.resize(length, 0);
    Sealer::new(keys, context, session)?.seal_whole(content).map(Bytes::from)
}

impl Repository {
    /// Pads and seals an object of one part. `name` where the name is not a hash.
    pub(super) fn seal_record(
        &self,
        kind: ObjectKind,
        session: SessionId,
        name: Option<&str>,
        content: Vec<u8>,
    ) -> Result<Bytes> {
        let context = self.context(kind, self.config.generation, name);
        seal_padded(&self.keys, &context, session, content)
    }

    /// Opens an object of one part: its header and its padded body.
    pub(super) fn open_sealed(
        &self,
        kind: ObjectKind,
        name: Option<&str>,
        object: &[u8],
        what: &str,
    ) -> Result<(Header, Vec<u8>)> {
        let (header, sealed) = Header::decode(kind, object).map_err(|error| error.of_object(what))?;
        let context = self.context(kind, header.generation, name);
        let body = Opener::from_header(&self.keys, &context, &header)
            .and_then(|opener| opener.open(0, Role::Body, sealed))
            .wrap(|| format!("cannot use {what}"))?;
        Ok((header, body))
    }

    /// Opens an object whose content is one CBOR item, and gives that item.
    pub(super) fn open_record(
        &self,
        kind: ObjectKind,
        name: &str,
        object: &[u8],
    ) -> Result<(Header, Vec<u8>)> {
        let (header, mut body) = self.open_sealed(kind, Some(name), object, &format!("object {name}"))?;
        let content_bytes =
            record_bytes(&body).map_err(|error| error.of_object(&format!("object {name}")))?;
        body.truncate(content_bytes);
        Ok((header, body))
    }

    /// Fetches an object whose name is a hash, and checks that hash.
    pub(super) fn fetch_content(&self, name: &ObjectName, hash: &ContentName, bound: u64) -> Result<Vec<u8>> {
        let object = self.storage.get(name, bound)?;
        if content_name([object.as_slice()]) == *hash {
            Ok(object)
        } else {
            Err(Error::damaged(format!("the bytes of object {name} are not those that it is named after")))
        }
    }
}

/// Length of the CBOR item at the front of a padded body.
fn record_bytes(body: &[u8]) -> crate::format::Decoded<usize> {
    let mut reader = crate::format::cbor::Reader::new(body);
    let length = reader.item()?.len();
    check_padding(reader.rest(), length as u64, body.len() as u64)?;
    Ok(length)
}
