//! The log of a job: what its last runs said, on this machine.
//!
//! What must hold: a line is in the file as soon as it is said, so that a run that is killed leaves what it said; the
//! file stays small by itself, and only who runs the job touches it; what cannot be written never stops a run; no secret is in it, as none is in any message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::tz::TimeZone;

use crate::base::monitor::show_file;
use crate::base::{Result, Timestamp, Wrap};
use crate::job::lock::{Lock, file_of};

/// Beyond this a file is cut when the next run begins.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// What is left of it then.
const TAIL_BYTES: u64 = 128 << 10;

/// The log of a run.
#[derive(Debug)]
pub struct Log {
    file: Mutex<Option<File>>,
    zone: TimeZone,
}

impl Log {
    /// Opens the log of a job that is about to run, and cuts it if it has become long.
    pub fn open(lock: &Lock, zone: TimeZone) -> Result<Self> {
        let path = file_of(&lock.folder, &lock.job, "log");
        cut(&path).wrap(|| format!("cannot cut the log {}", show_file(&path)))?;
        let opened = File::options().append(true).create(true).mode(0o600).open(&path);
        let file = opened.wrap(|| format!("cannot open the log {}", show_file(&path)))?;
        Ok(Self { file: Mutex::new(Some(file)), zone })
    }

    /// Writes a line with the time. After the first that cannot be written, none is.
    pub fn write(&self, text: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        let time = shown(Timestamp::now(), &self.zone);
        let text: String = text.lines().map(|line| format!("{time}  {line}\n")).collect();
        if open.write_all(text.as_bytes()).is_err() {
            *file = None;
        }
    }
}

fn shown(time: Timestamp, zone: &TimeZone) -> String {
    let instant = jiff::Timestamp::new(time.seconds, 0).unwrap_or_default();
    instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z").to_string()
}

/// Leaves the tail of a file that is long, from the beginning of a line.
fn cut(path: &PathBuf) -> std::io::Result<()> {
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if metadata.len() <= FILE_BYTES_MAX {
        return Ok(());
    }
    let tail = tail_of(path, TAIL_BYTES)?;
    let beside = path.with_extension("log.new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&tail)?;
    std::fs::rename(beside, path)
}

/// At most the last bytes of a file, from the beginning of a line.
fn tail_of(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut tail = Vec::new();
    file.take(bytes_max).read_to_end(&mut tail)?;
    if length > bytes_max {
        let begin = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |end| end + 1);
        tail.drain(..begin);
    }
    Ok(tail)
}

/// The last lines that runs of a job said; none if it never ran here.
pub fn read_tail(folder: &Path, job: &str, lines_max: usize) -> Result<Vec<String>> {
    let path = file_of(folder, job, "log");
    let tail = match tail_of(&path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        tail => tail.wrap(|| format!("cannot read the log {}", show_file(&path)))?,
    };
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(lines_max);
    Ok(lines.into_iter().skip(skipped).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::lock::lock;

    #[test]
    fn a_log_keeps_its_tail_and_is_read_by_lines() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(read_tail(folder, "nightly", 10).unwrap(), Vec::<String>::new());
        let right = lock(folder, "nightly").unwrap();
        let log = Log::open(&right, TimeZone::UTC).unwrap();
        for number in 0..4000 {
            log.write(&format!("line {number} {}", "x".repeat(60)));
        }
        log.write("two\nlines");
        drop(log);
        let long = folder.join("nightly.log").metadata().unwrap().len();
        assert!(long > FILE_BYTES_MAX);
        Log::open(&right, TimeZone::UTC).unwrap().write("the next run");
        let cut = folder.join("nightly.log").metadata().unwrap().len();
        assert!(cut <= TAIL_BYTES + 100, "{cut}");
        let lines = read_tail(folder, "nightly", 3).unwrap();
        let words: Vec<&str> =
            lines.iter().filter_map(|line| line.split_once("  ")).map(|line| line.1).collect();
        assert_eq!(words, ["two", "lines", "the next run"]);
        assert!(lines[0].ends_with("+0000  two"), "{}", lines[0]);
        let all = read_tail(folder, "nightly", usize::MAX).unwrap();
        assert!(all.iter().all(|line| line.contains("+0000  ")), "no line is cut in two");
    }
}
