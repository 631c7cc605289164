//! Key slots (format-spec chapter 4): ways to the keys, each by a password or a key file.
//!
//! What must hold: a slot's name is a hash of its bytes, so that damage is told from a wrong password; what it costs
//! to try a slot is bounded before memory is taken.

use crate::base::Timestamp;
use crate::base::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, SLOT_BYTES_MAX};
use crate::format::cbor::{KeptPair, MapWriter, Reader, Writer, keep_unknown, needed};
use crate::format::sealing::ObjectKind;
use crate::format::{DecodeError, Decoded, require};

const KIND_PASSWORD: u64 = 1;
const KIND_KEY_FILE: u64 = 2;
/// The role whose bundle holds every key.
const ROLE_FULL: u64 = 1;
/// Longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 1024;

/// Cost of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PasswordCost {
    /// RFC 9106, section 4: the second recommended option, for machines with little memory; also the least that is
    /// ever written.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };
}

/// How a slot's key is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a password, by Argon2id with the slot's salt.
    Password(PasswordCost),
    /// From a key file of 32 bytes.
    KeyFile,
}

/// A key slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// How its key is had.
    pub way: Way,
    /// Random.
    pub salt: [u8; 32],
    /// Binds the slot to one key.
    pub commitment: [u8; 32],
    /// The sealed `Bundle`.
    pub sealed: Vec<u8>,
}

impl Slot {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        match self.way {
            Way::Password(cost) => {
                map.key(0).unsigned(KIND_PASSWORD);
                let value = map.key(1).array(3);
                value.unsigned(cost.memory_kib).unsigned(cost.passes).unsigned(cost.lanes);
            }
            Way::KeyFile => drop(map.key(0).unsigned(KIND_KEY_FILE)),
        }
        map.key(2).bytes(&self.salt);
        map.key(3).bytes(&self.commitment);
        map.key(4).bytes(&self.sealed);
        [ObjectKind::Slot.head().as_slice(), &map.into_bytes()].concat()
    }

    /// Reads a slot.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        require(bytes.len() as u64 <= SLOT_BYTES_MAX, "SLOT-1", || {
            format!("a key slot of {} bytes", bytes.len())
        })?;
        let mut reader = Reader::new(ObjectKind::Slot.check_head(bytes)?);
        let (mut kind, mut cost, mut salt, mut commitment, mut sealed) = (None, None, None, None, None);
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => kind = Some(reader.unsigned()?),
                1 => {
                    reader.array_of(3)?;
                    cost = Some(PasswordCost {
                        memory_kib: reader.narrow()?,
                        passes: reader.narrow()?,
                        lanes: reader.narrow()?,
                    });
                }
                2 => salt = Some(reader.fixed()?),
                3 => commitment = Some(reader.fixed()?),
                4 => sealed = Some(reader.bytes()?.to_vec()),
                _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
            }
        }
        reader.end()?;
        let way = match (needed(kind, "the kind")?, cost) {
            (KIND_PASSWORD, Some(cost)) => Way::Password(checked_cost(cost)?),
            (KIND_KEY_FILE, None) => Way::KeyFile,
            (kind, _) => return Err(DecodeError::new("SLOT-2", format!("a key slot of kind {kind}"))),
        };
        Ok(Self {
            way,
            salt: needed(salt, "the salt")?,
            commitment: needed(commitment, "the commitment")?,
            sealed: needed(sealed, "the sealed keys")?,
        })
    }
}

fn checked_cost(cost: PasswordCost) -> Decoded<PasswordCost> {
    let bounded = (1..=ARGON2_LANES_MAX).contains(&cost.lanes)
        && (1..=ARGON2_PASSES_MAX).contains(&cost.passes)
        && (8 * cost.lanes..=ARGON2_MEMORY_KIB_MAX).contains(&cost.memory_kib);
    require(bounded, "SLOT-3", || format!("{cost:?}"))?;
    Ok(cost)
}

/// What a slot seals: the keys of a role. It is secret, and the caller wipes the bytes.
///
/// The key material is borrowed so that it lives only where the caller keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// Master keys by generation, ascending, at least one.
    pub masters: Vec<(u32, &'a [u8; 32])>,
    /// Names data chunks.
    pub data_id: &'a [u8; 32],
    /// Names tree chunks.
    pub tree_id: &'a [u8; 32],
    /// Decides where pages and bundles end.
    pub names: &'a [u8; 32],
    /// Gives the chunker's table.
    pub chunker: &'a [u8; 32],
    /// What people call the slot.
    pub label: &'a str,
    /// When the slot was made.
    pub created: Timestamp,
    /// Ignorable pairs, kept on rewrite.
    pub kept: Vec<KeptPair>,
}

impl std::fmt::Debug for Bundle<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Bundle({:?}, keys hidden)", self.label)
    }
}

impl<'a> Bundle<'a> {
    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        // One buffer that never grows, so that the caller can wipe all there is.
        let kept: usize = self.kept.iter().map(|(_, value)| 9 + value.len()).sum();
        let mut map = Writer::with_capacity(512 + 64 * self.masters.len() + self.label.len() + kept);
        map.map(8 + self.kept.len());
        map.unsigned(0_u64).unsigned(ROLE_FULL);
        map.unsigned(1_u64).array(2 * self.masters.len());
        for (generation, master) in &self.masters {
            map.unsigned(*generation).bytes(*master);
        }
        for (key, secret) in [(2_u64, self.data_id), (3, self.tree_id), (4, self.names), (5, self.chunker)] {
            map.unsigned(key).bytes(secret);
        }
        map.unsigned(6_u64).text(self.label);
        map.unsigned(7_u64).time(self.created);
        for (key, value) in &self.kept {
            map.unsigned(*key).raw(value);
        }
        map.into_bytes()
    }

    /// Reads the plaintext.
    pub fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let (mut role, mut masters, mut label, mut created) = (None, Vec::new(), None, None);
        let (mut data_id, mut tree_id, mut names, mut chunker) = (None, None, None, None);
        let mut kept = Vec::new();
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => role = Some(reader.unsigned()?),
                1 => masters = decode_masters(&mut reader)?,
                2 => data_id = Some(key_bytes(&mut reader)?),
                3 => tree_id = Some(key_bytes(&mut reader)?),
                4 => names = Some(key_bytes(&mut reader)?),
                5 => chunker = Some(key_bytes(&mut reader)?),
                6 => label = Some(reader.text()?),
                7 => created = Some(reader.time()?),
                _ => keep_unknown(key, &mut reader, &mut kept)?,
            }
        }
        reader.end()?;
        let role = needed(role, "the role")?;
        require(role == ROLE_FULL, "SLOT-4", || format!("role {role}; this program knows role {ROLE_FULL}"))?;
        require(!masters.is_empty(), "SLOT-5", || "no master key".into())?;
        let label = needed(label, "the label")?;
        require(label.len() <= LABEL_BYTES_MAX, "SLOT-6", || format!("a label of {} bytes", label.len()))?;
        Ok(Self {
            masters,
            data_id: needed(data_id, "a key")?,
            tree_id: needed(tree_id, "a key")?,
            names: needed(names, "a key")?,
            chunker: needed(chunker, "a key")?,
            label,
            created: needed(created, "the time of creation")?,
            kept,
        })
    }
}

fn key_bytes<'a>(reader: &mut Reader<'a>) -> Decoded<&'a [u8; 32]> {
    reader.bytes()?.try_into().map_err(|_| DecodeError::new("CBOR-7", "a key that is not 32 bytes"))
}

fn decode_masters<'a>(reader: &mut Reader<'a>) -> Decoded<Vec<(u32, &'a [u8; 32])>> {
    let count = reader.array()?;
    require(count % 2 == 0, "SLOT-5", || format!("{count} items of master keys"))?;
    let mut masters: Vec<(u32, &[u8; 32])> = Vec::new();
    for _ in 0..count / 2 {
        let generation = reader.narrow()?;
        let in_order = masters.last().is_none_or(|(last, _)| *last < generation);
        require(in_order, "SLOT-5", || "master keys out of order".into())?;
        masters.push((generation, key_bytes(reader)?));
    }
    Ok(masters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(way: Way) -> Slot {
        Slot { way, salt: [1; 32], commitment: [2; 32], sealed: vec![3; 300] }
    }

    fn bundle<'a>(keys: &'a [[u8; 32]; 5], label: &'a str) -> Bundle<'a> {
        let [master, data_id, tree_id, names, chunker] = keys;
        Bundle {
            masters: vec![(1, master), (4, master)],
            data_id,
            tree_id,
            names,
            chunker,
            label,
            created: Timestamp { seconds: 9, nanoseconds: 0 },
            kept: Vec::new(),
        }
    }

    #[test]
    fn slots_and_bundles_are_read_back_as_they_were() {
        for way in [Way::KeyFile, Way::Password(PasswordCost::RECOMMENDED)] {
            let slot = slot(way);
            assert_eq!(Slot::decode(&slot.encode()), Ok(slot));
        }
        let keys = [[1; 32], [2; 32], [3; 32], [4; 32], [5; 32]];
        let bundle = bundle(&keys, "laptop");
        assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle.clone()));
        assert!(!format!("{bundle:?}").contains('['));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        let rejected = |slot: &Slot| Slot::decode(&slot.encode()).expect_err("must be refused").rule;
        let mut long = slot(Way::KeyFile);
        long.sealed = vec![0; 65 << 10];
        assert_eq!(rejected(&long), "SLOT-1");
        let unknown = [ObjectKind::Slot.head().as_slice(), &[0xa1, 0, 3]].concat();
        assert_eq!(Slot::decode(&unknown).expect_err("unknown kind").rule, "SLOT-2");
        for (memory_kib, passes, lanes) in
            [(5 << 20, 3, 4), (64 << 10, 33, 4), (64 << 10, 3, 17), (64 << 10, 0, 4), (64, 1, 0), (31, 1, 4)]
        {
            let cost = PasswordCost { memory_kib, passes, lanes };
            assert_eq!(rejected(&slot(Way::Password(cost))), "SLOT-3", "{cost:?}");
        }
        let keys = [[1; 32]; 5];
        let rejected = |bundle: &Bundle<'_>| {
            let bytes = bundle.encode();
            Bundle::decode(&bytes).expect_err("must be refused").rule
        };
        let mut none = bundle(&keys, "");
        none.masters.clear();
        assert_eq!(rejected(&none), "SLOT-5");
        let mut twice = bundle(&keys, "");
        twice.masters = vec![(1, &keys[0]), (1, &keys[0])];
        assert_eq!(rejected(&twice), "SLOT-5");
        assert_eq!(rejected(&bundle(&keys, &"x".repeat(1025))), "SLOT-6");
        let mut other_role = bundle(&keys, "").encode();
        assert_eq!(other_role[2], 1);
        other_role[2] = 2;
        assert_eq!(Bundle::decode(&other_role).expect_err("another role").rule, "SLOT-4");
    }
}
