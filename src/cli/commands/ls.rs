//! `packstone ls SNAP[:PATH]`: lists what a snapshot holds.

mod ncdu;
mod sorted;

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{Result, Wrap, size};
use packstone::format::node::{Node, NodeKind};
use packstone::ops::list::list_within;

use crate::context::Context;
use crate::json::{self, NodeLine, SnapshotLine};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Outcome};
use crate::selection::Selection;
use crate::{commands, open, show};
use ncdu::Ncdu;
use sorted::{SortBy, Sorted};

const AFTER_HELP: &str = "\
Every path stands on one line, what is in a directory behind it; bytes of names that are no printable UTF-8 are shown as \
\\xNN, a backslash as \\\\. A directory is listed with all below it, unless --depth says otherwise.

With --sort all that is listed is held in memory first. Access times are not kept in snapshots.

Examples:
  packstone ls latest
  packstone ls -l latest:/etc --depth 1
  packstone ls -l --human-readable --sort size latest:/var/lib | tail
  packstone ls --ncdu latest:/srv | ncdu -f -";

/// Arguments of `ls`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and a path in it
    #[arg(value_name = "SNAP[:PATH]")]
    wanted: OsString,
    #[command(flatten)]
    selection: Selection,
    /// Also show mode, owner, group, size and time of last change
    #[arg(short, long)]
    long: bool,
    /// Show sizes as 1.5 MiB; implies --long
    #[arg(long)]
    human_readable: bool,
    /// List what is below directories too, as without it
    #[arg(long)]
    recursive: bool,
    /// List so many levels below PATH or the root; 1: what is in it, and nothing below
    #[arg(long, value_name = "NUMBER", value_parser = parse_depth, conflicts_with = "recursive")]
    depth: Option<usize>,
    /// List in another order than that of names: the smallest and the earliest first
    #[arg(short, long, value_name = "BY", value_enum)]
    sort: Option<SortBy>,
    /// List in the opposite order
    #[arg(long)]
    reverse: bool,
    /// Print what ncdu -f reads
    #[arg(long, conflicts_with_all = ["long", "human_readable", "depth", "sort", "reverse", "json"])]
    ncdu: bool,
}

fn parse_depth(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(depth @ 1..) => Ok(depth),
        _ => Err("a number from 1 on".to_owned()),
    }
}

/// Lists what a snapshot holds.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("ls"));
    let mut output = Output::open()?;
    let list = |visit: &mut dyn FnMut(&[u8], &Node) -> Result<()>| {
        let mut visit = |path: &[u8], entry: &packstone::tree::Entry| visit(path, &entry.node);
        list_within(&opened.repository, &snapshot, path, arguments.depth, &progress, &mut visit)
    };
    let listed = context.interruption.gently(|| {
        if arguments.ncdu {
            let mut ncdu = Ncdu::new(&mut output, path.is_some())?;
            list(&mut |path, node| ncdu.visit(path, node))?;
            return ncdu.finish();
        }
        if context.global.json {
            json::write_line(&mut output, &SnapshotLine::of(&snapshot))?;
        }
        let zone = TimeZone::system();
        let mut line = |path: &[u8], node: &Node| print(&mut output, path, node, arguments, context, &zone);
        if arguments.sort.is_none_or(|by| by == SortBy::Name) && !arguments.reverse {
            return list(&mut line);
        }
        let mut sorted = Sorted::new(arguments.sort.unwrap_or(SortBy::Name), arguments.reverse);
        list(&mut |path, node| {
            sorted.add(path, node);
            Ok(())
        })?;
        sorted.each(&mut line)
    });
    Ok(output.end(listed.map(|()| Done::Fully))?)
}

fn print(
    output: &mut Output,
    path: &[u8],
    node: &Node,
    arguments: &Arguments,
    context: &Context,
    zone: &TimeZone,
) -> Result<()> {
    if context.global.json {
        return json::write_line(output, &NodeLine::of(node, path));
    }
    let shown = show_path(path);
    let line = match arguments.long || arguments.human_readable {
        true => long(node, &shown, arguments.human_readable, zone),
        false => shown,
    };
    writeln!(output, "{line}").wrap(|| "cannot write the output")
}

/// As `ls -l` shows it.
fn long(node: &Node, path: &str, human_readable: bool, zone: &TimeZone) -> String {
    let metadata = &node.metadata;
    let size = match node.kind {
        NodeKind::CharacterDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            format!("{major},{minor}")
        }
        _ if human_readable => size::show(node.size()),
        _ => node.size().to_string(),
    };
    let target = match &node.kind {
        NodeKind::Symlink(target) => format!(" -> {}", show_path(target)),
        _ => String::new(),
    };
    format!(
        "{} {:<8} {:<8} {size:>11} {} {path}{target}",
        show::mode(node),
        show::owner(metadata.user.as_deref(), metadata.uid),
        show::owner(metadata.group.as_deref(), metadata.gid),
        show::time(metadata.mtime, zone),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::Timestamp;
    use packstone::format::node::{Content, Metadata, Regular};

    fn node(kind: NodeKind, mode: u16) -> Node {
        let metadata = Metadata { mode, uid: 7, gid: 8, user: Some("u".into()), ..Metadata::default() };
        let metadata = Metadata { mtime: Timestamp { seconds: 1, nanoseconds: 2 }, ..metadata };
        Node { name: b"n".to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
    }

    #[test]
    fn the_long_form_tells_what_matters_of_each_kind() {
        let line = |kind| long(&node(kind, 0o777), "/n", true, &TimeZone::UTC);
        assert_eq!(
            line(NodeKind::Symlink(b"a\nb".to_vec())),
            "lrwxrwxrwx u        8                0 B 1970-01-01 00:00:01 /n -> a\\x0ab"
        );
        assert_eq!(
            line(NodeKind::BlockDevice { major: 8, minor: 1 }),
            "brwxrwxrwx u        8                8,1 1970-01-01 00:00:01 /n"
        );
        let regular =
            Regular { size: 1536, content: Content::Empty, extents: None, changed_while_read: false };
        assert_eq!(
            line(NodeKind::Regular(regular)),
            "-rwxrwxrwx u        8            1.5 KiB 1970-01-01 00:00:01 /n"
        );
    }
}
