//! `packstone tag [SNAP…]`: changes the tags of snapshots.

use std::sync::Arc;

use clap::{ArgGroup, Args};
use packstone::base::ErrorKind;
use packstone::base::host::Host;
use packstone::base::monitor::show_path;
use packstone::ops::tag::{TagChange, TagOptions, Tagged, tag};
use packstone::repository::SessionOptions;

use crate::context::Context;
use crate::json::{TagSummary, TaggedLine};
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::selection::Selection;
use crate::{commands, environment, open, show};

const AFTER_HELP: &str = "\
A snapshot never changes: one with the new tags takes the place of each, under a new id, and the old one is forgotten. \
Times and all else stay as they were, and no data is read or written. Tags that are there already change nothing.

Examples:
  packstone tag --add keep latest
  packstone tag --remove nightly --add before-upgrade 4bba301e
  packstone tag --set '' --host web1 --tag test";

/// Arguments of `tag`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("change").required(true).multiple(true).args(["set", "add", "remove"]))]
pub struct Arguments {
    /// Only these (latest, latest~N, or the beginning of an id)
    #[arg(value_name = "SNAP")]
    wanted: Vec<String>,
    /// Give these tags, and no others; '' takes all tags away
    #[arg(long, value_name = "TAG[,TAG...]", conflicts_with_all = ["add", "remove"])]
    set: Option<Vec<String>>,
    /// Add these tags; may be given more than once
    #[arg(long, value_name = "TAG[,TAG...]")]
    add: Vec<String>,
    /// Take these tags away; may be given more than once
    #[arg(long, value_name = "TAG[,TAG...]")]
    remove: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

/// Changes tags.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let selected = list.select(&arguments.wanted, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let options = TagOptions {
        change: TagChange {
            set: arguments.set.as_deref().map(words),
            remove: words(&arguments.remove),
            add: words(&arguments.add),
        },
        host: Host::current(),
        session: SessionOptions::default(),
        user: environment::user(),
    };
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("tag")));
    let mut tell =
        |tagged: &Tagged| conclude(&context.global, || vec![line(tagged)], || TaggedLine::of(tagged));
    let tagged =
        context.interruption.gently(|| tag(&opened.repository, &selected, &options, &*progress, &mut tell));
    let count = tagged.hint(ErrorKind::Fenced, || "run the command again".to_owned())?;
    let lines = || vec![format!("{} changed", show::count(count, "snapshot"))];
    conclude(&context.global, lines, || TagSummary::of(count));
    let is_named = !arguments.wanted.is_empty();
    Ok(if is_named { Done::Fully } else { commands::tell_damaged(list.damaged, "tag") })
}

fn words(lists: &[String]) -> Vec<String> {
    let words = lists.iter().flat_map(|list| list.split(','));
    words.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn line(tagged: &Tagged) -> String {
    let tags = show_path(tagged.tags.join(",").as_bytes());
    format!("snapshot {} is now {}, tags [{tags}]", tagged.old.short(), tagged.new.short())
}
