//! How the files of a whole PostgreSQL server are put back: into a new folder, from which a server is started.
//!
//! What must hold: nothing that is there is touched; the folder is closed to all but its owner before anything is in
//! it, and belongs to the one who owns its files.

use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::super::{BASE, Postgres};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::Program;
use crate::source::{Feed, Listener, LoadOptions, LoadPlan, LoadStep};

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
        let program = program.arguments(arguments).argument(format!("--directory={folder}"));
        program.feed(feed).wrap(|| format!("cannot unpack {BASE} into {shown}"))?;
        let owner = self.owner(path).wrap(|| format!("cannot see what was unpacked into {shown}"))?;
        own_all(path, owner).wrap(|| format!("cannot give {shown} to the server's user"))?;
        let start = format!("pg_ctl --pgdata={folder} start");
        listener.tell(&format!("the server's files are in {shown}; its own user starts it with: {start}"));
        Ok(())
    }

    /// Who the files are to belong to, if that has to be set.
    fn owner(&self, folder: &Path) -> Result<Option<(u32, u32)>> {
        if uzers::get_effective_uid() != 0 {
            return Ok(None);
        }
        if let Some(name) = &self.access.run_as {
            let no_user = || Error::new(ErrorKind::NotFound, format!("this machine has no user {name}"));
            let user = uzers::get_user_by_name(name).ok_or_else(no_user)?;
            return Ok(Some((user.uid(), user.primary_group_id())));
        }
        let of_file = |metadata: Metadata| (metadata.uid(), metadata.gid());
        let metadata = folder.join("PG_VERSION").symlink_metadata().wrap(|| "there is no file PG_VERSION")?;
        Ok(Some(of_file(metadata)))
    }
}

/// Gives a folder and everything in it to an owner.
fn own_all(path: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(user), Some(group))?;
    if !path.symlink_metadata()?.is_dir() {
        return Ok(());
    }
    for entry in path.read_dir()? {
        own_all(&entry?.path(), owner)?;
    }
    Ok(())
}
