//! Tombstones (format-spec chapter 10): a snapshot was forgotten, by whom and why.
//!
//! What must hold: the presence of the object is what counts for readers; its content is for people, and for those who
//! remove packs, who honour it only if it opens.

use crate::base::{SessionId, Timestamp};
use crate::format::cbor::{MapWriter, Reader, keep_unknown, needed};
use crate::format::{DecodeError, Decoded};

/// Why a snapshot was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForgetReason {
    /// A person named it.
    Named,
    /// A retention policy did not keep it.
    Policy,
    /// Another snapshot stands in its place.
    Replaced,
}

impl ForgetReason {
    const fn number(self) -> u64 {
        match self {
            Self::Named => 1,
            Self::Policy => 2,
            Self::Replaced => 3,
        }
    }
}

/// A forgotten snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// When it was forgotten.
    pub time: Timestamp,
    /// Name of the machine that forgot it.
    pub host: String,
    /// Who forgot it.
    pub user: Option<String>,
    /// Why.
    pub reason: ForgetReason,
    /// The snapshot that stands in its place.
    pub replaced_by: Option<SessionId>,
    /// Name and version of the program.
    pub program: String,
}

impl Tombstone {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).time(self.time);
        map.key(1).text(&self.host);
        if let Some(user) = &self.user {
            map.key(2).text(user);
        }
        map.key(3).unsigned(self.reason.number());
        if let Some(session) = &self.replaced_by {
            map.key(4).bytes(session.as_bytes());
        }
        map.key(5).text(&self.program);
        map.into_bytes()
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let (mut time, mut host, mut user) = (None, None, None);
        let (mut reason, mut replaced_by, mut program) = (None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => time = Some(reader.time()?),
                1 => host = Some(reader.text()?.to_owned()),
                2 => user = Some(reader.text()?.to_owned()),
                3 => reason = Some(decode_reason(reader.unsigned()?)?),
                4 => replaced_by = Some(SessionId(reader.fixed()?)),
                5 => program = Some(reader.text()?.to_owned()),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        Ok(Self {
            time: needed(time, "the time")?,
            host: needed(host, "the host")?,
            user,
            reason: needed(reason, "the reason")?,
            replaced_by,
            program: needed(program, "the program")?,
        })
    }
}

fn decode_reason(number: u64) -> Decoded<ForgetReason> {
    let reasons = [ForgetReason::Named, ForgetReason::Policy, ForgetReason::Replaced];
    let known = reasons.into_iter().find(|reason| reason.number() == number);
    known.ok_or_else(|| DecodeError::new("TOMB-1", format!("reason {number} of a tombstone")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tombstone() -> Tombstone {
        Tombstone {
            time: Timestamp { seconds: 1_800_000_000, nanoseconds: 5 },
            host: "svc-1".into(),
            user: Some("root".into()),
            reason: ForgetReason::Replaced,
            replaced_by: Some(SessionId([7; 16])),
            program: "packstone 0.1.0".into(),
        }
    }

    #[test]
    fn a_tombstone_is_read_back_as_it_was() {
        for reason in [ForgetReason::Named, ForgetReason::Policy, ForgetReason::Replaced] {
            let whole = Tombstone { reason, ..tombstone() };
            assert_eq!(Tombstone::decode(&whole.encode()), Ok(whole.clone()));
            let least = Tombstone { user: None, replaced_by: None, ..whole };
            assert_eq!(Tombstone::decode(&least.encode()), Ok(least));
        }
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        for reason in [0_u64, 4, u64::MAX] {
            let mut map = MapWriter::new();
            map.key(0).time(Timestamp::default());
            map.key(1).text("h");
            map.key(3).unsigned(reason);
            map.key(5).text("p");
            assert_eq!(Tombstone::decode(&map.into_bytes()).expect_err("must be refused").rule, "TOMB-1");
        }
        assert_eq!(Tombstone::decode(&[0xa0]).expect_err("must be refused").rule, "CBOR-13");
    }
}
