//! What the integration tests share: trees to back up, a judge of whether two trees are equal, and the project's own
//! files as text.
//!
//! Nothing here may use the library under test: a mistake in it must never be able to hide itself by being made
//! twice. A system call that fails where it cannot be expected to is a failed test, so these modules panic.

pub mod code;
pub mod dump;
pub mod generate;
#[cfg(all(feature = "s3", feature = "webdav"))]
pub mod http;
pub mod mutate;
pub mod need;
#[cfg(all(feature = "s3", feature = "webdav"))]
pub mod proxy;
pub mod random;
pub mod scratch;
pub mod seeds;
pub mod servers;
pub mod skip;
pub mod small_disk;
pub mod walk;

/// The capabilities (bits of `linux/capability.h`) that complete trees need: to set owners, to go everywhere, to set
/// modes and times of all objects, to keep set-group-id bits, to set trusted attributes, to make devices, to set
/// capabilities of programs.
const NEEDED_CAPABILITIES: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;

/// Whether this process has all the powers of root, which a container or a user namespace takes away in part. If not,
/// it says that `skipped` is not tested here.
pub fn is_root(skipped: &str) -> bool {
    use std::fs::read_to_string;

    let status = read_to_string("/proc/self/status").expect("Linux tells the status of a process");
    let capabilities =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line of capabilities");
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).expect("a hexadecimal number");
    let users = read_to_string("/proc/self/uid_map").expect("Linux tells the users of a process");
    let all_users = users.split_whitespace().eq(["0", "0", "4294967295"]);
    let is_root = all_users && capabilities & NEEDED_CAPABILITIES == NEEDED_CAPABILITIES;
    if !is_root {
        skip::skip("root", skipped);
    }
    is_root
}
