//! Whose the configuration is: its commands run with the rights of who uses it, so nobody else may decide what they are.
//!
//! What must hold: a file that somebody else wrote or may change or replace is never used; what only its owner may write
//! counts as written by the owner alone, however its mode spells that; no remedy takes a folder from its owner.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Wrap};
use rustix::fs::StatVfsMountFlags;
use uzers::os::unix::GroupExt;

use crate::environment::{self, Environment};
use crate::report::{Hint, Outcome};
use crate::show;

/// The map of user numbers where there is no user namespace but the first.
const WHOLE_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// The users who may decide what runs.
pub(super) struct Trusted {
    /// Who runs this.
    user: u32,
    /// Root, by which numbers it may be seen.
    roots: Vec<u32>,
    /// Who became root by sudo to run this.
    invoker: Option<u32>,
}

/// Why somebody else may decide what runs.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// It belongs to another user.
    Owner(u32),
    /// Others may write it.
    Mode(u32),
}

impl Trusted {
    /// Those of this process.
    pub(super) fn here(environment: &Environment) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let user = rustix::process::geteuid().as_raw();
        let invoker = environment.get(environment::SUDO_UID).and_then(OsStr::to_str);
        Self {
            user,
            roots: roots(&read("/proc/self/uid_map"), &read("/proc/sys/kernel/overflowuid")),
            invoker: invoker.filter(|_| user == 0).and_then(|number| number.parse().ok()),
        }
    }

    /// Fails if anybody else may change the file, or put another one in its place: the file and all folders above it are
    /// looked at, by the path that was given and where links lead.
    pub(super) fn check(&self, file: &Path) -> Outcome<()> {
        let real = std::fs::canonicalize(file).wrap(|| format!("cannot find {}", show_file(file)))?;
        for path in file.ancestors().chain(real.ancestors()) {
            let metadata =
                std::fs::symlink_metadata(path).wrap(|| format!("cannot look at {}", show_file(path)))?;
            let Some(doubt) = self.doubt(path, &metadata) else { continue };
            let is_file = path == file || path == real;
            let error = Error::new(ErrorKind::Usage, told(&doubt, file, path, is_file));
            return Err(error).hint(ErrorKind::Usage, || match doubt {
                Doubt::Mode(_) if is_file => {
                    format!("\"chmod go-w {}\" makes it yours alone", show::argument(path, "FILE"))
                }
                _ => "copy it to where only you and root may write, as /etc/packstone usually is".to_owned(),
            });
        }
        Ok(())
    }

    /// Why others may decide what stands at a path, if so.
    fn doubt(&self, path: &Path, metadata: &Metadata) -> Option<Doubt> {
        let owner = metadata.uid();
        if owner != self.user && !self.roots.contains(&owner) && self.invoker != Some(owner) {
            return Some(Doubt::Owner(owner));
        }
        // What lies in a folder with the sticky bit, only its owner may replace; the mode of a link says nothing.
        let is_sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        if is_sticky || metadata.is_symlink() {
            return None;
        }
        let by_group = metadata.mode() & 0o020 != 0 && !is_own_group(owner, metadata.gid());
        let is_open = (by_group || metadata.mode() & 0o002 != 0) && !is_read_only(path);
        is_open.then(|| Doubt::Mode(metadata.mode() & 0o7777))
    }
}

fn told(doubt: &Doubt, file: &Path, path: &Path, is_file: bool) -> String {
    let (file, way) = (show_file(file), show_file(path));
    let run = "and its commands would run as you";
    match (doubt, is_file) {
        (Doubt::Owner(number), true) => {
            format!("the configuration {file} belongs to another user, of number {number}, {run}")
        }
        (Doubt::Owner(number), false) => format!(
            "others may replace the configuration {file} by way of {way}, {run}: it belongs to the user of number {number}"
        ),
        (Doubt::Mode(mode), true) => {
            format!("others may change the configuration {file}, {run}: its mode is {mode:04o}")
        }
        (Doubt::Mode(mode), false) => format!(
            "others may replace the configuration {file} by way of {way}, {run}: its mode is {mode:04o}"
        ),
    }
}

/// The numbers by which root is seen, from the kernel's map and its number for users that are not in it. Within a user
/// namespace, the root of the machine has that number: whoever made the namespace let its files be seen here.
fn roots(map: &str, overflow: &str) -> Vec<u32> {
    let is_namespace = !map.is_empty() && !map.split_whitespace().eq(WHOLE_MAP);
    let overflow = overflow.trim().parse().ok().filter(|_| is_namespace);
    [Some(0), overflow].into_iter().flatten().collect()
}

/// Whether a group is that of one user alone, as most systems make one with each user: it bears the user's name, and
/// nobody else is in it.
fn is_own_group(owner: u32, group: u32) -> bool {
    let (Some(user), Some(group)) = (uzers::get_user_by_uid(owner), uzers::get_group_by_gid(group)) else {
        return false;
    };
    user.primary_group_id() == group.gid()
        && user.name() == group.name()
        && group.members().iter().all(|member| member == user.name())
}

/// Whether nobody may write there by this path, whatever the mode says.
fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    use super::*;
    use crate::environment::tests::environment;

    fn trusted(user: u32) -> Trusted {
        Trusted { user, roots: vec![0], invoker: None }
    }

    fn judged(path: &Path, trusted: &Trusted) -> Option<Doubt> {
        trusted.doubt(path, &std::fs::symlink_metadata(path).expect("metadata"))
    }

    fn a_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        (folder, file)
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn what_others_may_write_is_theirs() {
        let (folder, file) = a_file();
        let me = rustix::process::geteuid().as_raw();
        let own = is_own_group(me, std::fs::metadata(&file).expect("metadata").gid());
        for (mode, is_theirs) in [(0o600, false), (0o644, false), (0o664, !own), (0o602, true), (0o666, true)]
        {
            set_mode(&file, mode);
            assert_eq!(judged(&file, &trusted(me)), is_theirs.then_some(Doubt::Mode(mode)), "{mode:o}");
        }
        for (mode, is_theirs) in [(0o755, false), (0o775, !own), (0o777, true), (0o1777, false)] {
            set_mode(folder.path(), mode);
            assert_eq!(judged(folder.path(), &trusted(me)).is_some(), is_theirs, "{mode:o}");
        }
        let link = folder.path().join("link");
        symlink(&file, &link).expect("a link");
        assert_eq!(judged(&link, &trusted(me)), None);
    }

    #[test]
    fn a_group_is_its_users_own_if_it_bears_the_name_and_nobody_else_is_in_it() {
        let Some(root) = uzers::get_user_by_uid(0) else { return };
        assert!(is_own_group(0, root.primary_group_id()), "root and its group");
        let daemon = uzers::get_group_by_name("daemon");
        for group in daemon.map(|group| group.gid()).into_iter().chain([4_000_000_000]) {
            assert!(!is_own_group(0, group), "{group}");
        }
        assert!(!is_own_group(4_000_000_000, 0));
    }

    #[test]
    fn what_another_user_owns_is_theirs_but_for_who_became_root() {
        let (_folder, file) = a_file();
        let me = rustix::process::geteuid().as_raw();
        // Root may give it away, and is trusted by all; of others, another user is none.
        let (owner, user) = if me == 0 { (12_345, 0) } else { (me, me + 1) };
        chown(&file, Some(owner), None).expect("an owner");
        assert_eq!(judged(&file, &trusted(user)), Some(Doubt::Owner(owner)));
        assert_eq!(judged(&file, &trusted(owner)), None);
        assert_eq!(judged(&file, &Trusted { invoker: Some(owner), ..trusted(user) }), None);
        assert_eq!(judged(&file, &Trusted { roots: vec![0, owner], ..trusted(user) }), None);
        let by_sudo = environment(&[("SUDO_UID", "12345")]);
        assert_eq!(Trusted::here(&by_sudo).invoker, (me == 0).then_some(12_345));
        assert_eq!(Trusted::here(&environment(&[])).invoker, None);
    }

    #[test]
    fn root_is_seen_by_another_number_within_a_namespace() {
        let whole = "         0          0 4294967295\n";
        for (map, expected) in [
            (whole, vec![0]),
            ("", vec![0]),
            ("         0       1000          1\n", vec![0, 65_534]),
            ("0 1000 1\n1 100000 65536\n", vec![0, 65_534]),
            ("1000 1000 1\n", vec![0, 65_534]),
        ] {
            assert_eq!(roots(map, "65534\n"), expected, "{map}");
            assert_eq!(roots(map, ""), [0], "{map}");
        }
    }
}
