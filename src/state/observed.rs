//! What this machine saw of the beats of live sessions, so that the silence of one that died elsewhere can be told by
//! this machine's own clock (format-spec section 14.4).
//!
//! What must hold: times are those of this machine since its boot, and compared in the same boot alone; a file that is
//! damaged or foreign is passed over, so that silence is counted anew from now. What cannot be kept makes nobody dead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::SinceBoot;
use crate::base::id::{from_hex, to_hex};
use crate::base::monitor::show_file;
use crate::base::{Result, SessionId, Wrap};
use crate::crypto::Secret;

const HEAD: &str = "packstone observed sessions 1";
/// A larger file is not ours: so much holds 30,000 sessions.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What was seen of the beats of sessions.
#[derive(Debug)]
pub struct Observations {
    path: Option<PathBuf>,
    key: Secret,
    rows: BTreeMap<SessionId, Row>,
    is_changed: bool,
}

/// When the last beat of a session was first seen to be the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    last_beat: Option<u64>,
    boot_id: [u8; 16],
    total_milliseconds: u64,
    awake_milliseconds: u64,
}

impl Observations {
    /// Opens the file in a folder; without one, nothing was seen, and nothing is kept. `key` is the repository's for this
    /// purpose.
    pub fn open(folder: Option<&Path>, key: Secret) -> Self {
        let path = folder.map(|folder| folder.join("sessions"));
        let rows = path.as_deref().and_then(|path| read(path, &key)).unwrap_or_default();
        Self { path, key, rows, is_changed: false }
    }

    /// Says what the last beat of a session is now, and gives for how long it has been so, as this machine saw it; nothing
    /// if the boot has no name by which its times could be told from those of another.
    pub fn see(
        &mut self,
        session: SessionId,
        last_beat: Option<u64>,
        boot_id: Option<[u8; 16]>,
        now: SinceBoot,
    ) -> SinceBoot {
        let Some(boot_id) = boot_id else { return SinceBoot::default() };
        let now = Row {
            last_beat,
            boot_id,
            total_milliseconds: milliseconds(now.total),
            awake_milliseconds: milliseconds(now.awake),
        };
        let first = match self.rows.get(&session) {
            Some(first) if first.may_be_before(&now) => *first,
            _ => {
                self.is_changed = true;
                self.rows.insert(session, now);
                now
            }
        };
        SinceBoot {
            total: Duration::from_millis(now.total_milliseconds - first.total_milliseconds),
            awake: Duration::from_millis(now.awake_milliseconds - first.awake_milliseconds),
        }
    }

    /// Forgets sessions that are not asked about any more, and writes down what changed.
    pub fn keep_only(&mut self, is_kept: impl Fn(&SessionId) -> bool) -> Result<()> {
        let count = self.rows.len();
        self.rows.retain(|session, _| is_kept(session));
        self.is_changed |= self.rows.len() < count;
        match &self.path {
            Some(path) if std::mem::take(&mut self.is_changed) => write(path, &self.text())
                .wrap(|| format!("cannot write down what was seen of sessions in {}", show_file(path))),
            _ => Ok(()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (session, row) in &self.rows {
            let beat = row.last_beat.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let boot = to_hex(&row.boot_id);
            let Row { total_milliseconds, awake_milliseconds, .. } = row;
            // Writing to a text does not fail.
            let _ = writeln!(text, "{session} {beat} {boot} {total_milliseconds} {awake_milliseconds}");
        }
        let code = code(&self.key, &text);
        text + &code + "\n"
    }
}

impl Row {
    /// Whether `now` saw the same, later in the same boot.
    fn may_be_before(&self, now: &Self) -> bool {
        self.last_beat == now.last_beat
            && self.boot_id == now.boot_id
            && self.total_milliseconds <= now.total_milliseconds
            && self.awake_milliseconds <= now.awake_milliseconds
    }

    fn parse(line: &str) -> Option<(SessionId, Self)> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [session, beat, boot, total, awake] = fields.as_slice() else { return None };
        let last_beat = if *beat == "-" { None } else { Some(beat.parse().ok()?) };
        let row = Self {
            last_beat,
            boot_id: from_hex(boot)?,
            total_milliseconds: total.parse().ok()?,
            awake_milliseconds: awake.parse().ok()?,
        };
        Some((SessionId::from_hex(session)?, row))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn code(key: &Secret, text: &str) -> String {
    to_hex(blake3::keyed_hash(key.expose(), text.as_bytes()).as_bytes())
}

fn read(path: &Path, key: &Secret) -> Option<BTreeMap<SessionId, Row>> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let (rows, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let rows = format!("{rows}\n");
    let lines = rows.strip_prefix(HEAD)?.strip_prefix('\n')?.lines();
    if code(key, &rows) != last { None } else { lines.map(Row::parse).collect() }
}

/// Replaces the file in one step.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId([7; 16]);
    const BOOT: Option<[u8; 16]> = Some([1; 16]);

    fn at(total_seconds: u64, awake_seconds: u64) -> SinceBoot {
        SinceBoot { total: Duration::from_secs(total_seconds), awake: Duration::from_secs(awake_seconds) }
    }

    fn open(folder: &Path) -> Observations {
        Observations::open(Some(folder), Secret::new([3; 32]))
    }

    #[test]
    fn silence_is_counted_from_the_first_look_that_saw_the_same_beat() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("below");
        let look = |beat, boot, now| {
            let mut seen = open(&folder);
            let since = seen.see(SESSION, beat, boot, now);
            seen.keep_only(|_| true).unwrap();
            (since.total.as_secs(), since.awake.as_secs())
        };
        assert_eq!(look(None, BOOT, at(100, 50)), (0, 0));
        assert_eq!(look(None, BOOT, at(160, 70)), (60, 20));
        assert_eq!(look(None, BOOT, at(200, 80)), (100, 30), "the first look counts");
        assert_eq!(look(Some(1), BOOT, at(300, 90)), (0, 0), "it sent a beat");
        assert_eq!(look(Some(1), BOOT, at(310, 99)), (10, 9));
        assert_eq!(look(Some(1), Some([2; 16]), at(9000, 9000)), (0, 0), "another boot");
        assert_eq!(look(Some(1), Some([2; 16]), at(9001, 9001)), (1, 1));
        assert_eq!(look(Some(1), Some([2; 16]), at(8000, 8000)), (0, 0), "time does not go back");
        assert_eq!(look(Some(1), None, at(99_000, 99_000)), (0, 0), "a boot without a name");
        assert_eq!(look(Some(1), Some([2; 16]), at(8100, 8001)), (100, 1));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn sessions_that_are_over_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = open(folder.path());
        let other = SessionId([8; 16]);
        for session in [SESSION, other] {
            seen.see(session, None, BOOT, at(1, 1));
        }
        seen.keep_only(|session| *session == other).unwrap();
        let mut seen = open(folder.path());
        assert_eq!(seen.rows.keys().collect::<Vec<_>>(), [&other]);
        assert_eq!(seen.see(SESSION, None, BOOT, at(5, 5)), SinceBoot::default());
    }

    #[test]
    fn a_spoiled_file_is_as_good_as_none_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions");
        let mut seen = open(folder.path());
        seen.see(SESSION, Some(3), BOOT, at(1, 1));
        seen.keep_only(|_| true).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let flipped = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        let longer = [text.clone() + "\n", text.replace(" 3 ", " 4 "), text.clone() + &text];
        for spoiled in flipped.chain(cut).chain(longer.map(String::into_bytes)) {
            std::fs::write(&path, &spoiled).unwrap();
            assert_eq!(open(folder.path()).rows, BTreeMap::new(), "{:?}", String::from_utf8_lossy(&spoiled));
        }
        std::fs::write(&path, &whole).unwrap();
        let foreign = Observations::open(Some(folder.path()), Secret::new([4; 32]));
        assert_eq!(foreign.rows, BTreeMap::new(), "of another repository");
        assert_eq!(open(folder.path()).rows.len(), 1);
        // Where it cannot be written, that is told, and silence is still told within this run.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("in the way")).unwrap();
        let mut seen = open(folder.path());
        seen.see(SESSION, None, BOOT, at(1, 1));
        assert!(seen.keep_only(|_| true).is_err());
        assert_eq!(seen.see(SESSION, None, BOOT, at(2, 2)), at(1, 1));
    }
}
