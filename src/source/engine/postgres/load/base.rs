//! How the files of a whole PostgreSQL server are put back: into a new folder, from which a server is started.
//!
//! What must hold: nothing that is there is touched, whoever exchanges names meanwhile: the folder is reached by its
//! handle, is closed to all but this user until everything is in it, and belongs to the server's user last.

use std::fs::DirBuilder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchown, openat, statat};

use super::super::{BASE, Postgres};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::Program;
use crate::source::{Feed, Listener, LoadOptions, LoadPlan, LoadStep};

/// How a folder is opened: never by a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Postgres {
    pub(super) fn plan_base(&self, options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Usage, message));
        if !options.databases.is_empty() {
            return refuse(format!(
                "{BASE} holds the files of all databases: single ones cannot be had of it"
            ));
        }
        let folder = match &options.new_name {
            Some(folder) if folder.starts_with('/') => folder.clone(),
            _ => {
                return refuse(format!(
                    "{BASE} is unpacked into a new folder, whose absolute path is needed"
                ));
            }
        };
        let shown = show_path(folder.as_bytes());
        if Path::new(&folder).symlink_metadata().is_ok() {
            return Err(Error::new(ErrorKind::Exists, format!("{shown} is there already")));
        }
        let (engine, listener) = (self.clone(), listener.clone());
        let step = LoadStep {
            what: format!("unpack {BASE} into the new folder {shown}"),
            dump: Some(BASE.to_owned()),
            run: Box::new(move |feed| engine.unpack(&folder, feed, &listener)),
        };
        Ok(LoadPlan { steps: vec![step], replaced: Vec::new() })
    }

    fn unpack(&self, folder: &str, feed: &mut Feed<'_>, listener: &Listener) -> Result<()> {
        let shown = show_path(folder.as_bytes());
        let path = Path::new(folder);
        DirBuilder::new().mode(0o700).create(path).wrap(|| format!("cannot create the folder {shown}"))?;
        let program = Program::of_command("tar", None, None, listener).variable("LC_ALL", "C");
        // Numbers of users, because the names of another machine mean nothing here.
        let arguments = ["--extract", "--file=-", "--numeric-owner", "--no-overwrite-dir"];
        // By its handle, for its name may come to lead elsewhere.
        let handle =
            openat(CWD, path, FOLDER, Mode::empty()).wrap(|| format!("cannot open the folder {shown}"))?;
        let place = format!("/proc/{}/fd/{}", std::process::id(), handle.as_raw_fd());
        let program = program.arguments(arguments).argument(format!("--directory={place}"));
        program.feed(feed).wrap(|| format!("cannot unpack {BASE} into {shown}"))?;
        let owner = self.owner(&handle).wrap(|| format!("cannot see what was unpacked into {shown}"))?;
        if let Some(owner) = owner {
            own_all(&handle, owner).wrap(|| format!("cannot give {shown} to the server's user"))?;
        }
        let start = format!("pg_ctl --pgdata={folder} start");
        listener.tell(&format!("the server's files are in {shown}; its own user starts it with: {start}"));
        Ok(())
    }

    /// Who the files are to belong to, if that has to be set.
    fn owner(&self, folder: &OwnedFd) -> Result<Option<(Uid, Gid)>> {
        if uzers::get_effective_uid() != 0 {
            return Ok(None);
        }
        if let Some(name) = &self.access.run_as {
            let no_user = || Error::new(ErrorKind::NotFound, format!("this machine has no user {name}"));
            let user = uzers::get_user_by_name(name).ok_or_else(no_user)?;
            return Ok(Some((Uid::from_raw(user.uid()), Gid::from_raw(user.primary_group_id()))));
        }
        let stat =
            statat(folder, "PG_VERSION", AtFlags::SYMLINK_NOFOLLOW).wrap(|| "there is no file PG_VERSION")?;
        Ok(Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))))
    }
}

/// Gives everything in a folder to an owner, and then the folder itself: until then nobody else comes in.
fn own_all(folder: &OwnedFd, owner: (Uid, Gid)) -> std::io::Result<()> {
    let (user, group) = (Some(owner.0), Some(owner.1));
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            own_all(&openat(folder, name, FOLDER, Mode::empty())?, owner)?;
        } else {
            chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(fchown(folder, user, group)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn all_of_a_folder_and_nothing_else_gets_its_owner() {
        // Only root can give things away; anybody else can give them to themselves.
        let is_root = uzers::get_effective_uid() == 0;
        let (user, group) = match is_root {
            true => (65534, 65534),
            false => (uzers::get_effective_uid(), uzers::get_effective_gid()),
        };
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("data");
        std::fs::create_dir_all(folder.join("a/b")).expect("folders");
        std::fs::write(scratch.path().join("other"), "").expect("a file");
        std::fs::write(folder.join("a/b/file"), "").expect("a file");
        symlink(scratch.path().join("other"), folder.join("link")).expect("a link");
        symlink(scratch.path(), folder.join("a/folder")).expect("a link");
        let handle = openat(CWD, &folder, FOLDER, Mode::empty()).expect("opened");
        own_all(&handle, (Uid::from_raw(user), Gid::from_raw(group))).expect("given away");
        for name in ["", "a", "a/b", "a/b/file", "link", "a/folder"] {
            let metadata = folder.join(name).symlink_metadata().expect("there");
            assert_eq!((metadata.uid(), metadata.gid()), (user, group), "{name}");
        }
        let own = uzers::get_effective_uid();
        assert_eq!(scratch.path().join("other").metadata().expect("there").uid(), own);
        assert_eq!(scratch.path().metadata().expect("there").uid(), own);
    }
}
