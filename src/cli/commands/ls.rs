//! `packstone ls SNAP[:PATH]`: lists what a snapshot holds.

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::Wrap;
use packstone::base::monitor::show_path;
use packstone::format::node::{Node, NodeKind};
use packstone::ops::list::list;

use crate::context::Context;
use crate::output::Output;
use crate::progress::Progress;
use crate::report::{Done, Outcome};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Every path stands on one line; bytes of names that are no printable UTF-8 are shown as \\xNN, a backslash as \\\\.

Examples:
  packstone ls latest
  packstone ls -l latest:/etc
  packstone ls 1a2b3c4d:/var/lib";

/// Arguments of `ls`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and a path in it
    #[arg(value_name = "SNAP[:PATH]")]
    wanted: OsString,
    /// Also show mode, owner, group, size and time of last change
    #[arg(short, long)]
    long: bool,
}

/// Lists what a snapshot holds.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted)?;
    let zone = TimeZone::system();
    let progress = Progress::hidden(&context.global, &context.interruption);
    let mut output = Output::open()?;
    let listed = context.interruption.gently(|| {
        list(&opened.repository, &snapshot, path, &progress, &mut |path, entry| {
            let shown = show_path(path);
            let line = if arguments.long { long(&entry.node, &shown, &zone) } else { shown };
            writeln!(output, "{line}").wrap(|| "cannot write the output")
        })
    });
    Ok(output.end(listed.map(|()| Done::Fully))?)
}

/// As `ls -l` shows it.
fn long(node: &Node, path: &str, zone: &TimeZone) -> String {
    let metadata = &node.metadata;
    let name = |name: &Option<String>, number: u32| match name {
        Some(name) => show_path(name.as_bytes()),
        None => number.to_string(),
    };
    let size = match node.kind {
        NodeKind::CharacterDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            format!("{major},{minor}")
        }
        _ => node.size().to_string(),
    };
    let target = match &node.kind {
        NodeKind::Symlink(target) => format!(" -> {}", show_path(target)),
        _ => String::new(),
    };
    format!(
        "{} {:<8} {:<8} {size:>11} {} {path}{target}",
        mode(node),
        name(&metadata.user, metadata.uid),
        name(&metadata.group, metadata.gid),
        show::time(metadata.mtime, zone),
    )
}

/// Kind and permissions in ten characters.
fn mode(node: &Node) -> String {
    let kind = match node.kind {
        NodeKind::Regular(_) => '-',
        NodeKind::Directory(_) => 'd',
        NodeKind::Symlink(_) => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharacterDevice { .. } => 'c',
        NodeKind::BlockDevice { .. } => 'b',
    };
    let has = |bit: u16| node.metadata.mode & bit != 0;
    let mut shown = String::from(kind);
    for (read, special, letter) in [(0o400, 0o4000, 's'), (0o040, 0o2000, 's'), (0o004, 0o1000, 't')] {
        shown.push(if has(read) { 'r' } else { '-' });
        shown.push(if has(read >> 1) { 'w' } else { '-' });
        shown.push(match (has(read >> 2), has(special)) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::{ChunkId, Timestamp};
    use packstone::format::node::Metadata;

    fn node(kind: NodeKind, mode: u16) -> Node {
        let metadata = Metadata { mode, uid: 7, gid: 8, user: Some("u".into()), ..Metadata::default() };
        let metadata = Metadata { mtime: Timestamp { seconds: 1, nanoseconds: 2 }, ..metadata };
        Node { name: b"n".to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
    }

    #[test]
    fn modes_are_shown_as_ls_does() {
        let fifo = |bits| mode(&node(NodeKind::Fifo, bits));
        assert_eq!(fifo(0o754), "prwxr-xr--");
        assert_eq!(fifo(0o7777), "prwsrwsrwt");
        assert_eq!(fifo(0o7000), "p--S--S--T");
        assert_eq!(mode(&node(NodeKind::Directory(ChunkId([0; 32])), 0o1777)), "drwxrwxrwt");
    }

    #[test]
    fn the_long_form_tells_what_matters_of_each_kind() {
        let line = |kind| long(&node(kind, 0o777), "/n", &TimeZone::UTC);
        assert_eq!(
            line(NodeKind::Symlink(b"a\nb".to_vec())),
            "lrwxrwxrwx u        8                  0 1970-01-01 00:00:01 /n -> a\\x0ab"
        );
        assert_eq!(
            line(NodeKind::BlockDevice { major: 8, minor: 1 }),
            "brwxrwxrwx u        8                8,1 1970-01-01 00:00:01 /n"
        );
    }
}
