//! A dump that is ended if nothing comes of it for too long: dump programs wait a day for a lock, and take no option that
//! says otherwise.
//!
//! What must hold: only the time counts in which somebody waits for bytes, not that in which nobody reads.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::OpenDump;

/// How often it is looked within the longest silence.
const LOOKS: u32 = 30;

/// Ends a dump of which no byte comes for so many seconds; `why` then says so.
pub(super) fn with_patience(dump: OpenDump, silence: Duration, why: String) -> Result<OpenDump> {
    let stop: Arc<dyn Fn() + Send + Sync> = Arc::from(dump.stop);
    let (is_over, begun_and_ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (needed, ended) = channel::<()>();
    let (over, counted, stopping) = (Arc::clone(&is_over), Arc::clone(&begun_and_ended), Arc::clone(&stop));
    let look = silence / LOOKS;
    let watch = move || {
        let (mut seen, mut looks) = (0, 0);
        while ended.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
            let now = counted.load(Ordering::Acquire);
            // An odd number is a read that has begun and not ended.
            looks = if now == seen && now % 2 == 1 { looks + 1 } else { 0 };
            seen = now;
            if looks == LOOKS {
                over.store(true, Ordering::Release);
                stopping();
            }
        }
    };
    let thread = std::thread::Builder::new().name("patience".into()).spawn(watch);
    thread.wrap(|| "cannot limit the time of a dump")?;
    let reader = Watched { reader: dump.reader, begun_and_ended, _needed: needed };
    let end = move || {
        let ended = (dump.end)();
        match (is_over.load(Ordering::Acquire), ended) {
            (false, ended) => ended,
            (true, Err(error)) => Err(error.while_doing(why)),
            (true, Ok(())) => Err(Error::new(ErrorKind::Failed, why)),
        }
    };
    Ok(OpenDump { reader: Box::new(reader), end: Box::new(end), stop: Box::new(move || stop()) })
}

/// Counts its reads as they begin and end.
struct Watched {
    reader: Box<dyn Read + Send>,
    begun_and_ended: Arc<AtomicU64>,
    /// Held only to be dropped.
    _needed: Sender<()>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.begun_and_ended.fetch_add(1, Ordering::AcqRel);
        let read = self.reader.read(buffer);
        self.begun_and_ended.fetch_add(1, Ordering::AcqRel);
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Receiver;

    use super::*;

    /// Gives what it is sent, until nobody sends any more.
    struct Sent(Receiver<u8>);

    impl Read for Sent {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok(self.0.recv().map_or(0, |byte| {
                buffer[0] = byte;
                1
            }))
        }
    }

    #[test]
    fn silence_ends_a_dump_and_a_reader_who_takes_time_does_not() {
        for (silence, is_ended) in [(Duration::from_millis(30), true), (Duration::from_secs(3600), false)] {
            let (sender, bytes) = channel();
            sender.send(7).expect("a reader");
            let sender = Mutex::new(Some(sender));
            let held = Arc::new(sender);
            let stopped = Arc::clone(&held);
            let dump = OpenDump {
                reader: Box::new(Sent(bytes)),
                end: Box::new(|| Err(Error::new(ErrorKind::Failed, "killed"))),
                stop: Box::new(move || drop(stopped.lock().expect("no panic").take())),
            };
            let mut dump = with_patience(dump, silence, "nothing came".into()).expect("a thread");
            dump.reader.read_exact(&mut [0]).expect("a byte");
            if !is_ended {
                (dump.stop)();
            }
            assert_eq!(dump.reader.read(&mut [0]).expect("it ends"), 0);
            assert!(held.lock().expect("no panic").is_none());
            let wanted: &[&str] = if is_ended { &["nothing came", "killed"] } else { &["killed"] };
            assert_eq!((dump.end)().expect_err("it was ended").chain(), wanted);
        }
    }
}
