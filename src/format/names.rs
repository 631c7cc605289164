//! Object names (format-spec chapter 2): the only place that makes or reads them.
//!
//! What must hold: a name tells the kind of an object and nothing of its content; what is not exactly such a name is
//! not an object of a repository.

use crate::base::id::to_hex;
use crate::base::{ContentName, SessionId, SlotName};

/// Folder of config objects.
pub const CONFIG: &str = "config";
/// Folder of key slots.
pub const KEYS: &str = "keys";
/// Folder of packs.
pub const PACKS: &str = "packs";
/// Folder of index runs.
pub const INDEX: &str = "index";
/// Folder of session records.
pub const SESSIONS: &str = "sessions";
/// Folder of commit keys.
pub const SNAPSHOTS: &str = "snapshots";
/// Folder of tombstones.
pub const FORGOTTEN: &str = "forgotten";
/// Folder of collections.
pub const COLLECTIONS: &str = "collections";
/// All folders of a repository.
pub const FOLDERS: [&str; 8] = [CONFIG, KEYS, PACKS, INDEX, SESSIONS, SNAPSHOTS, FORGOTTEN, COLLECTIONS];

/// `config/<8 hex n>`.
pub fn config(number: u32) -> String {
    format!("{CONFIG}/{number:08x}")
}

/// `keys/<16 hex>`.
pub fn slot(name: &SlotName) -> String {
    format!("{KEYS}/{name}")
}

/// `packs/<2 hex>/<64 hex>`.
pub fn pack(name: &ContentName) -> String {
    let [first, ..] = *name.as_bytes();
    format!("{PACKS}/{}/{name}", to_hex(&[first]))
}

/// `index/<64 hex>`.
pub fn index(name: &ContentName) -> String {
    format!("{INDEX}/{name}")
}

/// `sessions/<32 hex>/start`.
pub fn session_start(session: &SessionId) -> String {
    format!("{SESSIONS}/{session}/start")
}

/// `sessions/<32 hex>/beat-<k>`, with k in decimal digits, from 1.
pub fn session_beat(session: &SessionId, number: u64) -> String {
    format!("{SESSIONS}/{session}/beat-{number}")
}

/// `snapshots/<32 hex>`: the commit key of a session.
pub fn commit(session: &SessionId) -> String {
    format!("{SNAPSHOTS}/{session}")
}

/// `forgotten/<32 hex>`.
pub fn tombstone(session: &SessionId) -> String {
    format!("{FORGOTTEN}/{session}")
}

/// `collections/<16 hex n>/condemned`.
pub fn condemned(number: u64) -> String {
    format!("{COLLECTIONS}/{number:016x}/condemned")
}

/// `collections/<16 hex n>/verdict`.
pub fn verdict(number: u64) -> String {
    format!("{COLLECTIONS}/{number:016x}/verdict")
}

/// The number in a config's name.
pub fn parse_config(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_prefix("config/")?, 16).ok()?;
    (config(number) == name).then_some(number)
}

/// The name of a key slot.
pub fn parse_slot(name: &str) -> Option<SlotName> {
    SlotName::from_hex(name.strip_prefix("keys/")?)
}

/// The content name in a pack's name.
pub fn parse_pack(name: &str) -> Option<ContentName> {
    let (_, last) = name.strip_prefix("packs/")?.split_once('/')?;
    let content = ContentName::from_hex(last)?;
    (pack(&content) == name).then_some(content)
}

/// The content name in an index run's name.
pub fn parse_index(name: &str) -> Option<ContentName> {
    ContentName::from_hex(name.strip_prefix("index/")?)
}

/// Which record of a session an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRecord {
    /// Its beginning.
    Start,
    /// A sign of life, by its number.
    Beat(u64),
}

/// The session and the record in a session record's name.
pub fn parse_session(name: &str) -> Option<(SessionId, SessionRecord)> {
    let (session, record) = name.strip_prefix("sessions/")?.split_once('/')?;
    let session = SessionId::from_hex(session)?;
    if record == "start" {
        return Some((session, SessionRecord::Start));
    }
    let number = record.strip_prefix("beat-")?.parse().ok().filter(|number| *number > 0)?;
    (session_beat(&session, number) == name).then_some((session, SessionRecord::Beat(number)))
}

/// The session in a commit key's name.
pub fn parse_commit(name: &str) -> Option<SessionId> {
    SessionId::from_hex(name.strip_prefix("snapshots/")?)
}

/// The session in a tombstone's name.
pub fn parse_tombstone(name: &str) -> Option<SessionId> {
    SessionId::from_hex(name.strip_prefix("forgotten/")?)
}

/// Which of the two phases of a collection an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The packs that are about to go.
    Condemned,
    /// The packs that go.
    Verdict,
}

/// The number and phase in a collection's name.
pub fn parse_collection(name: &str) -> Option<(u64, Phase)> {
    let (number, phase) = name.strip_prefix("collections/")?.split_once('/')?;
    let phase = match phase {
        "condemned" => Phase::Condemned,
        "verdict" => Phase::Verdict,
        _ => return None,
    };
    let parsed = u64::from_str_radix(number, 16).ok()?;
    (format!("{parsed:016x}") == number).then_some((parsed, phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is_read() {
        let content = ContentName([0xab; 32]);
        let session = SessionId([0x01; 16]);
        assert_eq!(config(10), "config/0000000a");
        assert_eq!(parse_config(&config(u32::MAX)), Some(u32::MAX));
        assert_eq!(parse_slot(&slot(&SlotName([3; 8]))), Some(SlotName([3; 8])));
        assert_eq!(pack(&content), format!("packs/ab/{}", "ab".repeat(32)));
        assert_eq!(parse_pack(&pack(&content)), Some(content));
        assert_eq!(parse_index(&index(&content)), Some(content));
        assert_eq!(session_start(&session), format!("sessions/{}/start", "01".repeat(16)));
        assert_eq!(parse_session(&session_start(&session)), Some((session, SessionRecord::Start)));
        let beat = session_beat(&session, u64::MAX);
        assert_eq!(beat, format!("sessions/{}/beat-18446744073709551615", "01".repeat(16)));
        assert_eq!(parse_session(&beat), Some((session, SessionRecord::Beat(u64::MAX))));
        for bad in ["beat-0", "beat-01", "beat-+1", "beat-", "beat-18446744073709551616", "begin", "start/x"]
        {
            assert_eq!(parse_session(&format!("sessions/{session}/{bad}")), None, "{bad}");
        }
        assert_eq!(parse_commit(&commit(&session)), Some(session));
        assert_eq!(parse_tombstone(&tombstone(&session)), Some(session));
        assert_eq!(parse_collection(&condemned(u64::MAX)), Some((u64::MAX, Phase::Condemned)));
        assert_eq!(parse_collection(&verdict(0)), Some((0, Phase::Verdict)));
        for bad in ["config/0000000A", "config/a", "config/+000000a", "config/", "keys/00000000000000g0"] {
            assert_eq!(parse_config(bad), None, "{bad}");
            assert_eq!(parse_slot(bad), None, "{bad}");
        }
        assert_eq!(parse_pack(&pack(&content).replacen("ab", "ac", 1)), None);
        assert_eq!(parse_collection("collections/+000000000000000/verdict"), None);
        assert_eq!(parse_collection("collections/0000000000000000/other"), None);
    }
}
