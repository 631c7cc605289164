//! Session records (format-spec chapter 11): who writes, and whether it still lives.
//!
//! What must hold: a start says whether atomic creation was proven on this writer's way to the storage, because
//! nobody may end a session on the strength of a promise that does not hold.

use crate::base::Timestamp;
use crate::base::host::Host;
use crate::format::Decoded;
use crate::format::cbor::{MapWriter, Reader, keep_unknown, needed};

/// The beginning of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStart {
    /// The writing process.
    pub host: Host,
    /// A second creation of this object failed, as it must.
    pub atomic_create_proven: bool,
    /// When it began.
    pub time: Timestamp,
    /// Name and version of the program.
    pub program: String,
}

impl SessionStart {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).text(&self.host.name);
        if let Some(id) = &self.host.machine_id {
            map.key(1).bytes(id);
        }
        if let Some(id) = &self.host.boot_id {
            map.key(2).bytes(id);
        }
        map.key(3).unsigned(self.host.process_id);
        map.key(4).unsigned(self.host.process_start_ticks);
        map.key(5).boolean(self.atomic_create_proven);
        map.key(6).time(self.time);
        map.key(7).text(&self.program);
        if let Some(namespace) = self.host.process_namespace {
            map.key(8).unsigned(namespace);
        }
        map.into_bytes()
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let mut host = Host::default();
        let (mut name, mut process_id, mut ticks) = (None, None, None);
        let (mut proven, mut time, mut program) = (None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => name = Some(reader.text()?.to_owned()),
                1 => host.machine_id = Some(reader.fixed()?),
                2 => host.boot_id = Some(reader.fixed()?),
                3 => process_id = Some(reader.narrow()?),
                4 => ticks = Some(reader.unsigned()?),
                5 => proven = Some(reader.boolean()?),
                6 => time = Some(reader.time()?),
                7 => program = Some(reader.text()?.to_owned()),
                8 => host.process_namespace = Some(reader.unsigned()?),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        host.name = needed(name, "the host")?;
        host.process_id = needed(process_id, "the process id")?;
        host.process_start_ticks = needed(ticks, "the start of the process")?;
        Ok(Self {
            host,
            atomic_create_proven: needed(proven, "the proof of atomic creation")?,
            time: needed(time, "the time")?,
            program: needed(program, "the program")?,
        })
    }
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionBeat {
    /// When, by the clock of the writer: for people to read.
    pub time: Timestamp,
}

impl SessionBeat {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).time(self.time);
        map.into_bytes()
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let mut time = None;
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => time = Some(reader.time()?),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        Ok(Self { time: needed(time, "the time")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_back_as_it_was() {
        let mut start = SessionStart {
            host: Host {
                name: "svc-1".into(),
                machine_id: Some([1; 16]),
                boot_id: Some([2; 16]),
                process_id: 77,
                process_namespace: Some(4_026_531_836),
                process_start_ticks: 1 << 40,
            },
            atomic_create_proven: true,
            time: Timestamp { seconds: 1, nanoseconds: 2 },
            program: "packstone 0.1.0".into(),
        };
        assert_eq!(SessionStart::decode(&start.encode()), Ok(start.clone()));
        start.host.machine_id = None;
        start.host.boot_id = None;
        start.host.process_namespace = None;
        start.atomic_create_proven = false;
        assert_eq!(SessionStart::decode(&start.encode()), Ok(start.clone()));
        let missing = SessionStart::decode(&[0xa0]).expect_err("must be refused");
        assert_eq!(missing.rule, "CBOR-13");
    }

    #[test]
    fn a_beat_is_read_back_as_it_was() {
        let beat = SessionBeat { time: Timestamp { seconds: 3, nanoseconds: 4 } };
        assert_eq!(SessionBeat::decode(&beat.encode()), Ok(beat));
        assert_eq!(SessionBeat::decode(&[0xa0]).expect_err("must be refused").rule, "CBOR-13");
    }
}
