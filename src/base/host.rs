//! Which machine, boot and process is running: what a session says of its writer, so that a dead one can be told.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::base::id::from_hex;

const OWN_STAT: &str = "/proc/self/stat";

/// Identity of a running process, as far as the system tells; what it does not tell stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name of the machine.
    pub name: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<[u8; 16]>,
    /// Random id that the kernel draws at each boot.
    pub boot_id: Option<[u8; 16]>,
    /// Process id.
    pub process_id: u32,
    /// The namespace in which the process id counts, by the inode number of `/proc/self/ns/pid`: containers share machine
    /// and boot, but not process ids. A number is given again only once its namespace, and with it every process in it,
    /// is gone.
    pub process_namespace: Option<u64>,
    /// Start of the process in clock ticks since boot (`proc(5)`, field 22 of `stat`), so that a reused process id
    /// is told from the process that had it.
    pub process_start_ticks: u64,
}

/// What this process can tell of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It ran on this machine in this boot, and does no longer.
    Gone,
    /// It cannot be seen from here: another machine, boot or namespace, or nobody says.
    Unknown,
}

impl Host {
    /// Asks the system.
    pub fn current() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine_id: read_id("/etc/machine-id"),
            boot_id: read_id("/proc/sys/kernel/random/boot_id"),
            process_id: std::process::id(),
            process_namespace: std::fs::metadata("/proc/self/ns/pid").ok().map(|entry| entry.ino()),
            process_start_ticks: Stat::read(OWN_STAT).map_or(0, |stat| stat.start_ticks),
        }
    }

    /// What became of another process, as seen from this one, which `self` must be.
    pub fn state_of(&self, other: &Self) -> ProcessState {
        let is_seen = self.machine_id.is_some()
            && self.machine_id == other.machine_id
            && self.boot_id.is_some()
            && self.boot_id == other.boot_id
            && self.process_namespace.is_some()
            && self.process_namespace == other.process_namespace;
        let id = i32::try_from(other.process_id).ok().and_then(Pid::from_raw);
        let Some(id) = id.filter(|_| is_seen) else { return ProcessState::Unknown };
        // Files below `/proc` may be hidden from other users; the kernel's answer to a signal is not.
        match test_kill_process(id) {
            Err(Errno::SRCH) => ProcessState::Gone,
            Ok(()) | Err(Errno::PERM) => {
                let own = Stat::read(OWN_STAT);
                let found = Stat::read(&format!("/proc/{}/stat", other.process_id));
                judge(self, other, own, found)
            }
            Err(_) => ProcessState::Unknown,
        }
    }
}

/// What became of a process whose id is in use, by what `/proc` shows under its id and of us.
fn judge(this: &Host, other: &Host, own: Option<Stat>, found: Option<Stat>) -> ProcessState {
    let (Some(own), Some(found)) = (own, found) else { return ProcessState::Unknown };
    // Else `/proc` is of another namespace than ours, in which ids mean other processes.
    let is_ours = own.id == this.process_id && found.id == other.process_id;
    if !is_ours || other.process_start_ticks == 0 {
        ProcessState::Unknown
    } else if found.start_ticks != other.process_start_ticks || found.is_dead {
        ProcessState::Gone
    } else {
        ProcessState::Running
    }
}

fn read_id(path: &str) -> Option<[u8; 16]> {
    let text = std::fs::read_to_string(path).ok()?;
    from_hex(&text.trim().replace('-', ""))
}

/// Of `proc(5)`'s `stat` what tells one process from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    id: u32,
    start_ticks: u64,
    /// Nothing of it runs; only its parent has not asked for it.
    is_dead: bool,
}

impl Stat {
    fn read(path: &str) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, _) = text.split_once(' ')?;
        // The second field is the program's name in parentheses and may itself hold blanks and parentheses.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let [state, .., threads, _, start_ticks] = fields.get(..20)? else { return None };
        // The first thread may have ended while others go on.
        let is_dead = matches!(*state, "Z" | "X") && threads.parse::<u64>().ok()? <= 1;
        Some(Self { id: id.parse().ok()?, start_ticks: start_ticks.parse().ok()?, is_dead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_process_is_told() {
        let host = Host::current();
        assert_eq!(host.process_id, std::process::id());
        assert!(host.process_start_ticks > 0);
        assert!(host.boot_id.is_some());
        assert!(!host.name.is_empty());
        assert_eq!(host.state_of(&host), ProcessState::Running);
    }

    #[test]
    fn a_child_is_seen_to_run_and_to_be_gone() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let stat = Stat::read(&format!("/proc/{}/stat", child.id())).unwrap();
        let this = Host { machine_id: Some([1; 16]), ..Host::current() };
        let host = Host { process_id: child.id(), process_start_ticks: stat.start_ticks, ..this.clone() };
        assert_eq!(this.state_of(&host), ProcessState::Running);
        let unlike = |change: &dyn Fn(&mut Host)| {
            let mut host = host.clone();
            change(&mut host);
            host
        };
        let earlier = unlike(&|host| host.process_start_ticks -= 1);
        assert_eq!(this.state_of(&earlier), ProcessState::Gone, "another process had the id");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(this.state_of(&host), ProcessState::Gone);
        for foreign in [
            unlike(&|host| host.machine_id = Some([2; 16])),
            unlike(&|host| host.machine_id = None),
            unlike(&|host| host.boot_id = Some([2; 16])),
            unlike(&|host| host.boot_id = None),
            unlike(&|host| host.process_namespace = Some(2)),
            unlike(&|host| host.process_namespace = None),
            unlike(&|host| host.process_id = 0),
            unlike(&|host| host.process_id = u32::MAX),
        ] {
            assert_eq!(this.state_of(&foreign), ProcessState::Unknown, "{foreign:?}");
        }
        let nobody = Host { machine_id: None, boot_id: None, process_namespace: None, ..this.clone() };
        let other = Host { process_id: host.process_id, ..nobody.clone() };
        assert_eq!(nobody.state_of(&other), ProcessState::Unknown, "what is unknown is not the same");
    }

    #[test]
    fn a_hidden_or_foreign_process_is_never_called_gone() {
        let this = Host { process_id: 10, process_start_ticks: 100, ..Host::default() };
        let other = Host { process_id: 20, process_start_ticks: 200, ..Host::default() };
        let stat = |id, start_ticks, is_dead| Some(Stat { id, start_ticks, is_dead });
        let own = stat(10, 100, false);
        assert_eq!(judge(&this, &other, own, stat(20, 200, false)), ProcessState::Running);
        assert_eq!(judge(&this, &other, own, stat(20, 201, false)), ProcessState::Gone);
        assert_eq!(judge(&this, &other, own, stat(20, 200, true)), ProcessState::Gone);
        let unknown = [
            (own, None, other.clone()),
            (None, stat(20, 201, false), other.clone()),
            (stat(7, 100, false), stat(20, 201, false), other.clone()),
            (own, stat(20, 201, false), Host { process_start_ticks: 0, ..other }),
        ];
        for (own, found, other) in unknown {
            assert_eq!(judge(&this, &other, own, found), ProcessState::Unknown);
        }
    }

    #[test]
    fn the_name_of_a_program_may_hold_anything() {
        let fields = |state: &str, threads: u32| {
            format!("42 (a) S (b) {state} 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 777 8000 0\n")
        };
        let stat = |is_dead| Some(Stat { id: 42, start_ticks: 777, is_dead });
        assert_eq!(Stat::parse(&fields("S", 3)), stat(false));
        assert_eq!(Stat::parse(&fields("Z", 2)), stat(false), "other threads go on");
        assert_eq!(Stat::parse(&fields("Z", 1)), stat(true));
        for bad in ["", "42", "42 (a", "42 (a) S 1 1", "x (a) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 777 0"]
        {
            assert_eq!(Stat::parse(bad), None, "{bad}");
        }
    }
}
