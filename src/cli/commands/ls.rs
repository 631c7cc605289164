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
use crate::json::{self, NodeLine, SnapshotLine};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Outcome};
use crate::selection::Selection;
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
    #[command(flatten)]
    selection: Selection,
    /// Also show mode, owner, group, size and time of last change
    #[arg(short, long)]
    long: bool,
}

/// Lists what a snapshot holds.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let zone = TimeZone::system();
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("ls"));
    let mut output = Output::open()?;
    let listed = context.interruption.gently(|| {
        if context.global.json {
            json::write_line(&mut output, &SnapshotLine::of(&snapshot))?;
        }
        list(&opened.repository, &snapshot, path, &progress, &mut |path, entry| {
            if context.global.json {
                return json::write_line(&mut output, &NodeLine::of(&entry.node, path));
            }
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
    let name = |name: Option<&str>, number: u32| match name {
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
        show::mode(node),
        name(metadata.user.as_deref(), metadata.uid),
        name(metadata.group.as_deref(), metadata.gid),
        show::time(metadata.mtime, zone),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::Timestamp;
    use packstone::format::node::Metadata;

    fn node(kind: NodeKind, mode: u16) -> Node {
        let metadata = Metadata { mode, uid: 7, gid: 8, user: Some("u".into()), ..Metadata::default() };
        let metadata = Metadata { mtime: Timestamp { seconds: 1, nanoseconds: 2 }, ..metadata };
        Node { name: b"n".to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
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
