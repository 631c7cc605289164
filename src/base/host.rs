//! Which machine, boot and process is running: what a session says of its writer, so that a dead one can be told.

use std::path::Path;

use crate::base::id::from_hex;

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
    /// Start of the process in clock ticks since boot (`proc(5)`, field 22 of `stat`), so that a reused process id
    /// is told from the process that had it.
    pub process_start_ticks: u64,
}

impl Host {
    /// Asks the system.
    pub fn current() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine_id: read_id("/etc/machine-id"),
            boot_id: read_id("/proc/sys/kernel/random/boot_id"),
            process_id: std::process::id(),
            process_start_ticks: process_start_ticks(Path::new("/proc/self/stat")).unwrap_or(0),
        }
    }
}

fn read_id(path: &str) -> Option<[u8; 16]> {
    let text = std::fs::read_to_string(path).ok()?;
    from_hex(&text.trim().replace('-', ""))
}

fn process_start_ticks(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    // The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
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
    }
}
