//! `packstone dump SNAP:PATH`: a file's bytes, or a folder as one file that other programs read.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Monitor, Result, Wrap, size};
use packstone::ops::dump::{Dump, DumpSummary, Format};

use crate::context::Context;
use crate::json::DumpLine;
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::selection::Selection;
use crate::target_file::TargetFile;
use crate::{commands, open, report, show};

const AFTER_HELP: &str = "\
A file comes as its bytes, as with \"packstone cat\". A folder, or without a path all of the snapshot, comes as a tar \
file, whose paths begin below the folder: tar -x -C DIR puts into DIR what \"packstone restore SNAP:PATH -t DIR\" would. \
It is written as it is read; nothing is kept on the disk.

A tar file has everything: for owners, access control lists, extended attributes and holes, GNU tar must be told to take \
them, as in the example. It has no sockets. A zip file has names, contents, permissions, owners, times to the second, \
and symbolic links; it has no devices, pipes, sockets, extended attributes, and no second names.

What cannot be held is told and left out, and the exit code is 3. A file whose stored bytes are damaged is left out, and \
the exit code is 13; if that is found when a part of it is written, the output ends there.

FILE gets its name when it is complete, and only its owner may read it. A FILE that is there is not replaced, even with \
--force, by one in which something damaged is missing: that one becomes FILE.incomplete. A device or a pipe is written \
straight.

Examples:
  packstone dump latest:/etc/hosts
  packstone dump latest:/etc | tar -xpS --acls --xattrs --xattrs-include='*' --numeric-owner -C /tmp/etc
  packstone dump latest:/srv/www -t www.tar.zst
  packstone dump -a zip latest:/home/ann -t ann.zip";

/// Arguments of `dump`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and the path of a file or a folder in it
    #[arg(value_name = "SNAP[:PATH]")]
    wanted: OsString,
    #[command(flatten)]
    selection: Selection,
    /// How a folder is written, and a single object too [default: as FILE ends, else tar; a file as its bytes]
    #[arg(short = 'a', long = "archive", value_name = "FORMAT", value_enum)]
    form: Option<Form>,
    /// Write to a file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(long, requires = "target")]
    force: bool,
}

/// How a folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A tar file
    Tar,
    /// A tar file, compressed by zstd
    #[value(name = "tar.zst", alias = "tzst")]
    TarZst,
    /// A zip file
    Zip,
}

impl Form {
    /// As the name of a file says.
    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.as_bytes().to_ascii_lowercase();
        let endings = [
            (b".tar".as_slice(), Self::Tar),
            (b".tar.zst", Self::TarZst),
            (b".tzst", Self::TarZst),
            (b".zip", Self::Zip),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, form)| form)
    }

    /// The ending of a name that says a format which is not written; asked of names that `of_name` does not know.
    fn unwritten(path: &Path) -> Option<&'static str> {
        const ENDINGS: [&str; 23] = [
            ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.lz4", ".tar.lz", ".tgz", ".tbz", ".tbz2", ".txz", ".tlz",
            ".taz", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".lz", ".lzma", ".br", ".z", ".7z", ".rar",
            ".cpio",
        ];
        let name = path.file_name()?.as_bytes().to_ascii_lowercase();
        ENDINGS.into_iter().find(|ending| name.ends_with(ending.as_bytes()))
    }

    const fn format(self) -> Format {
        match self {
            Self::Tar => Format::Tar,
            Self::TarZst => Format::TarZst,
            Self::Zip => Format::Zip,
        }
    }
}

/// Prints a file or a folder.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    if let Some(target) = &arguments.target {
        opened.refuse_within(target)?;
    }
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let dump = Dump::find(&opened.repository, &snapshot, path)
        .hint(ErrorKind::NotFound, || "\"packstone ls\" lists the paths of a snapshot".to_owned())?;
    let format = wanted_format(&dump, arguments)?;
    match &arguments.target {
        None => print(&dump, format, context),
        Some(target) => write(&dump, format, target, arguments.force, context),
    }
}

/// How it is to be written; none: as a file's bytes.
fn wanted_format(dump: &Dump<'_>, arguments: &Arguments) -> Outcome<Option<Format>> {
    let target = arguments.target.as_deref();
    let usual = target.and_then(Form::of_name);
    Ok(match arguments.form {
        Some(form) => Some(form.format()),
        None if dump.is_folder() => {
            if let (None, Some(ending)) = (usual, target.and_then(Form::unwritten)) {
                let message =
                    format!("a folder cannot be written as {ending}: end FILE by .tar, .tar.zst or .zip");
                return Err(Error::new(ErrorKind::Usage, message))
                    .hint(ErrorKind::Usage, || "-a tar writes a tar file, whatever its name".to_owned());
            }
            Some(usual.unwrap_or(Form::Tar).format())
        }
        None if dump.is_file() => None,
        None => {
            let shown = show_path(arguments.wanted.as_bytes());
            let message = format!("{shown} is no regular file and no folder, and has no bytes to print");
            return Err(Error::new(ErrorKind::Usage, message))
                .hint(ErrorKind::Usage, || "--archive tar writes it as a tar file of one member".to_owned());
        }
    })
}

fn written(
    dump: &Dump<'_>,
    format: Option<Format>,
    output: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<DumpSummary> {
    match format {
        Some(format) => dump.folder(format, output, monitor),
        None => {
            let mut counted = Counted { output, bytes: 0 };
            dump.file(&mut counted, monitor)?;
            Ok(DumpSummary { files: 1, bytes: counted.bytes, ..DumpSummary::default() })
        }
    }
}

/// Counts what is written.
struct Counted<'o> {
    output: &'o mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

const fn done(summary: &DumpSummary) -> Done {
    match summary {
        DumpSummary { damaged: 1.., .. } => Done::WithDamage,
        DumpSummary { findings: 1.., .. } => Done::WithFindings,
        _ => Done::Fully,
    }
}

/// To the standard output.
fn print(dump: &Dump<'_>, format: Option<Format>, context: &Context) -> Outcome<Done> {
    if format.is_some() && std::io::stdout().is_terminal() {
        let message = "the output is a terminal, and what was asked for is not for people";
        return Err(Error::new(ErrorKind::Usage, message)).hint(ErrorKind::Usage, || {
            "name a file by --target FILE, or pass the output on, as by | tar -tv".to_owned()
        });
    }
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("dump"));
    let mut output = Output::open()?;
    let summary = context.interruption.gently(|| written(dump, format, &mut output, &progress));
    Ok(output.end(summary.map(|summary| done(&summary)))?)
}

/// To a file.
fn write(
    dump: &Dump<'_>,
    format: Option<Format>,
    target: &Path,
    may_replace: bool,
    context: &Context,
) -> Outcome<Done> {
    let file = TargetFile::create(target, may_replace);
    let mut file = file.hint(ErrorKind::Exists, || "--force replaces it".to_owned())?;
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("dump")));
    let shown = progress.begin();
    let mut aside = None;
    let written = context.interruption.gently(|| -> Result<DumpSummary> {
        let summary = written(dump, format, &mut file, &*progress)?;
        if summary.damaged > 0 {
            aside = file.step_aside().map(Path::to_owned);
        }
        file.finish().wrap(|| format!("cannot complete the file {}", show_file(target)))?;
        Ok(summary)
    });
    drop(shown);
    let summary = written?;
    if let Some(aside) = &aside {
        let [target, aside] = [target, aside].map(show_file);
        report::warn(&format!(
            "{target} stays as it was: what was to replace it lacks something, and is {aside}"
        ));
    }
    let target = show_path(aside.as_deref().unwrap_or(target).as_os_str().as_bytes());
    let lines = || told(&summary, &target, progress.elapsed().as_secs());
    conclude(&context.global, lines, || DumpLine::of(&summary, progress.elapsed()));
    Ok(done(&summary))
}

/// The lines that sum a dump up.
fn told(summary: &DumpSummary, target: &str, seconds: u64) -> Vec<String> {
    let mut parts = vec![show::count(summary.files, "file")];
    match summary.directories {
        0 => {}
        1 => parts.push("1 directory".to_owned()),
        number => parts.push(format!("{number} directories")),
    }
    if summary.others > 0 {
        parts.push(show::count(summary.others, "other item"));
    }
    parts.push(size::show(summary.bytes));
    let mut lines = vec![format!("wrote {} to {target} in {}", parts.join(", "), show::duration(seconds))];
    if summary.findings > 0 {
        lines.push(format!("{} (see the warnings above)", show::count(summary.findings, "finding")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_its_format() {
        let form = |name: &str| Form::of_name(Path::new(name));
        assert_eq!(form("/a/b.tar"), Some(Form::Tar));
        assert_eq!(form("b.TAR.zst"), Some(Form::TarZst));
        assert_eq!(form("b.tzst"), Some(Form::TarZst));
        assert_eq!(form("b.zip"), Some(Form::Zip));
        assert_eq!([form("b.gz"), form("tar"), form("/")], [None; 3]);
        let unwritten = |name: &str| Form::unwritten(Path::new(name));
        assert_eq!([unwritten("a/b.tar.GZ"), unwritten("b.7z")], [Some(".tar.gz"), Some(".7z")]);
        assert_eq!([unwritten("b"), unwritten("tgz"), unwritten("a.gz/b.iso")], [None; 3]);
    }

    #[test]
    fn a_summary_counts_in_words() {
        let summary = DumpSummary { files: 2, directories: 1, bytes: 1536, ..DumpSummary::default() };
        assert_eq!(told(&summary, "/t", 61), ["wrote 2 files, 1 directory, 1.5 KiB to /t in 1:01"]);
        let summary = DumpSummary { files: 1, others: 3, findings: 1, ..DumpSummary::default() };
        let expected =
            ["wrote 1 file, 3 other items, 0 B to t in 0:00", "1 finding (see the warnings above)"];
        assert_eq!(told(&summary, "t", 0), expected);
    }
}
