//! `packstone mount DIR`: shows snapshots as a file system that can only be read.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::report::{Done, Outcome};
use crate::selection::Selection;

const AFTER_HELP: &str = "\
The mount is there until Ctrl-C or \"umount DIR\"; new snapshots appear in it within seconds. Without --path-template it has

  snapshots/TIME    all snapshots, and a link latest
  ids/ID            by the beginnings of their ids
  hosts/HOST/TIME   by machine, each with a link latest
  tags/TAG/TIME     by tag, each with a link latest
  jobs/JOB/TIME     by job, each with a link latest

In a path template %i is the short id of a snapshot, %I the whole, %h the host, %u the user, %t each of its tags, %j its \
job, %T its time as --time-template says, and %% a percent sign. Times are those of the local time zone.

What is read stays in memory up to --memory-limit. A file that cannot be read gives an input/output error and a message \
here; the others go on. A storage that does not answer is asked again for a minute, or as long as --retry-for says.

Only who mounts can read the mount, and reads all of it; with --allow-other everybody can, as far as the stored owners \
and permissions allow. Root mounts by itself, in a container with --device /dev/fuse and --cap-add SYS_ADMIN; other users \
mount by fusermount3, which comes with the package fuse3.

Examples:
  packstone mount /mnt/backup
  packstone mount /mnt/backup --host web1 --tag nightly
  packstone mount /mnt/backup --allow-other --owner-root --no-default-permissions
  packstone mount /mnt/backup --path-template '%h/%T' --time-template '%Y-%m-%d_%H%M'";

/// Arguments of `mount`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Where to mount; the directory must be there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Let other users read the mount, too
    #[arg(long)]
    allow_other: bool,
    /// With --allow-other, let them read all of it, whatever the stored permissions are
    #[arg(long, requires = "allow_other")]
    no_default_permissions: bool,
    /// Show everything as owned by root
    #[arg(long)]
    owner_root: bool,
    /// Show snapshots at such paths instead of the usual ones; may be given more than once
    #[arg(long = "path-template", value_name = "TEMPLATE")]
    path_templates: Vec<String>,
    /// How the time of a snapshot is written, with the signs of strftime
    #[arg(long, value_name = "FORMAT", default_value = "%Y-%m-%dT%H:%M:%S%:z")]
    time_template: String,
}

#[cfg(not(all(feature = "mount", target_os = "linux")))]
pub fn run(_arguments: &Arguments, _context: &Context) -> Outcome<Done> {
    use packstone::base::{Error, ErrorKind};
    let message = "this program was built without what mounts: the feature mount, which needs Linux";
    Err(Error::new(ErrorKind::Unsupported, message).into())
}

/// Mounts, and serves until the end.
#[cfg(all(feature = "mount", target_os = "linux"))]
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    linux::run(arguments, context)
}

#[cfg(all(feature = "mount", target_os = "linux"))]
mod linux {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp as Instant;
    use jiff::fmt::strtime::BrokenDownTime;
    use jiff::tz::TimeZone;
    use packstone::base::{Error, ErrorKind, Result, Timestamp};
    use packstone::mount::{LISTED_FOR, MountOptions, PATH_TEMPLATES, PathTemplate, Unmounter, mount};

    use super::Arguments;
    use crate::context::Context;
    use crate::json::MountedLine;
    use crate::progress::{Progress, Work};
    use crate::report::{self, Done, Hint, Outcome, conclude};
    use crate::{open, show};

    /// Somebody waits for what is read, and would rather hear that it fails.
    const RETRY_FOR: Duration = Duration::from_secs(60);
    /// A mount that nobody uses ends within this time.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
        let options = options(arguments)?;
        let mut context = context.clone();
        context.global.network.retry_for.get_or_insert(RETRY_FOR);
        let opened = open::open(&context)?;
        let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("mount"));
        let (repository, progress) = (Arc::new(opened.repository), Arc::new(progress));
        // From here on a signal ends the mount, and not the process.
        context.interruption.gently(|| {
            let directory = &arguments.directory;
            let mounted = mount(repository, directory, options, progress)
                .hint(ErrorKind::NotFound, || format!("\"mkdir {}\" makes it", shown(directory)))
                .hint(ErrorKind::Exists, || {
                    format!("\"umount {0}\" or \"fusermount3 -u {0}\" removes it", shown(directory))
                })
                .hint(ErrorKind::Unsupported, without_device)
                .hint(ErrorKind::Denied, || denied(arguments))?;
            let unmounter = mounted.unmounter();
            context.interruption.on_request(Box::new(move || end(&unmounter)));
            let place = shown(mounted.directory());
            let line = || vec![format!("mounted at {place}; Ctrl-C or \"umount {place}\" ends it")];
            conclude(&context.global, line, || MountedLine::of(mounted.directory()));
            mounted.serve()?;
            Ok(Done::Fully)
        })
    }

    /// Ends a mount, and says so if that takes a moment.
    fn end(unmounter: &Unmounter) {
        if let Err(error) = unmounter.unmount() {
            return report::warn(&error.chain().join(": "));
        }
        let wait = || {
            std::thread::sleep(PATIENCE);
            report::say("still in use; it ends with its last user, or at once by another signal");
        };
        // Without a thread it goes unsaid.
        drop(std::thread::Builder::new().spawn(wait));
    }

    fn shown(directory: &Path) -> String {
        show::argument(directory, "DIR")
    }

    fn options(arguments: &Arguments) -> Result<MountOptions> {
        let given = arguments.path_templates.iter().map(String::as_str);
        let usual = PATH_TEMPLATES.into_iter().filter(|_| arguments.path_templates.is_empty());
        let templates = given.chain(usual).map(str::parse).collect::<Result<Vec<PathTemplate>>>()?;
        let (zone, format) = (TimeZone::system(), arguments.time_template.clone());
        written(Timestamp::default(), &zone, &format).ok_or_else(|| {
            let message = format!("time template {format:?}: not a format that strftime has");
            Error::new(ErrorKind::Usage, message)
        })?;
        let name_of_time = move |time: Timestamp| {
            // Beyond what a calendar has, as file systems can say.
            written(time, &zone, &format).unwrap_or_else(|| format!("@{}", time.seconds))
        };
        Ok(MountOptions {
            filter: arguments.selection.filter()?,
            templates,
            name_of_time: Box::new(name_of_time),
            listed_for: LISTED_FOR,
            allow_other: arguments.allow_other,
            checks_permissions: !arguments.no_default_permissions,
            owner_root: arguments.owner_root,
        })
    }

    fn written(time: Timestamp, zone: &TimeZone, format: &str) -> Option<String> {
        let instant = Instant::new(time.seconds, i32::try_from(time.nanoseconds).ok()?).ok()?;
        let written = BrokenDownTime::from(&instant.to_zoned(zone.clone())).to_string(format).ok()?;
        (!written.is_empty()).then_some(written)
    }

    fn without_device() -> String {
        "load the module by \"modprobe fuse\", or start the container with --device /dev/fuse --cap-add SYS_ADMIN; \
         \"packstone restore\" and \"packstone dump\" need none of it"
            .to_owned()
    }

    fn denied(arguments: &Arguments) -> String {
        if rustix::process::geteuid().is_root() {
            "in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN; \
             \"packstone restore\" and \"packstone dump\" need none of it"
                .to_owned()
        } else if arguments.allow_other {
            "other users may read a mount that is not root's only if /etc/fuse.conf has the line user_allow_other; \
             fusermount3 comes with the package fuse3"
                .to_owned()
        } else {
            "install the package fuse3, which brings fusermount3, and own the directory; /dev/fuse must be readable \
             and writable for everybody"
                .to_owned()
        }
    }
}
