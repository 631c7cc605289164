//! Writes members with the contents that were read for them.
//!
//! What must hold: a member of which a chunk is known to be unreadable before its header is written is left out and told,
//! and so are its further names; one of which a chunk turns out to be unreadable later ends the dump there, for its length
//! is already said.

use std::collections::HashSet;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Finding, FindingKind, Monitor, Result, Wrap};
use crate::format::node::NodeKind;
use crate::ops::dump::ahead::{Contents, Part, Ready, Step};
use crate::ops::dump::filling::Filling;
use crate::ops::dump::folder::{Mark, path_of};
use crate::ops::dump::member::{Member, Sink};
use crate::ops::dump::{DumpSummary, interrupted};

/// Writes what is read.
pub(super) struct Taking<'t> {
    sink: &'t mut dyn Sink,
    monitor: &'t dyn Monitor,
    base: &'t [u8],
    state: State,
    /// Members that were left out and have further names.
    left_out: HashSet<Vec<u8>>,
    /// What was written, and what could not be.
    pub(super) summary: DumpSummary,
}

enum State {
    Between,
    /// The parts that come are those of a member that is left out.
    LeavingOut,
    Writing {
        filling: Filling,
        name: Vec<u8>,
        size: u64,
    },
}

impl<'t> Taking<'t> {
    /// Writes to a sink what lies below an absolute path.
    pub(super) fn new(sink: &'t mut dyn Sink, base: &'t [u8], monitor: &'t dyn Monitor) -> Self {
        let (left_out, summary) = (HashSet::new(), DumpSummary::default());
        Self { sink, monitor, base, state: State::Between, left_out, summary }
    }

    /// Writes a window.
    pub(super) fn take(&mut self, ready: Ready<Mark>) -> Result<()> {
        let (steps, mut contents) = ready.into_parts();
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            if self.monitor.cancelled() {
                return Err(interrupted());
            }
            match step {
                Step::Part(part) => self.part(&part, &mut contents)?,
                Step::Mark(Mark::End) => self.end()?,
                Step::Mark(Mark::Begin(member)) => match unreadable(steps.as_slice(), &contents) {
                    Some((error, _)) if error.kind() == ErrorKind::Damaged => {
                        self.leave_out(&member, &error.chain().join(": "));
                        self.state = State::LeavingOut;
                    }
                    Some((_, part)) => match contents.take_error(&part) {
                        Some(error) => return Err(error).wrap(|| self.shown(&member.name)),
                        None => self.begin(*member)?,
                    },
                    None => self.begin(*member)?,
                },
            }
        }
        Ok(())
    }

    fn begin(&mut self, member: Member) -> Result<()> {
        if let Some(link) = member.link.as_ref().filter(|link| self.left_out.contains(*link)) {
            let reason = format!("it is the same object as {}", self.shown(link));
            self.leave_out(&member, &reason);
            return Ok(());
        }
        self.monitor.begin(&path_of(self.base, &member.name));
        self.sink.begin(&member)?;
        match (member.content(), &member.node.kind) {
            (Some(regular), _) => {
                let filling = Filling::of(regular, self.sink.regions(regular));
                self.state = State::Writing { filling, size: regular.size, name: member.name };
                return Ok(());
            }
            (None, NodeKind::Directory(_)) => self.summary.directories += 1,
            (None, _) => self.summary.others += 1,
        }
        self.monitor.advance(1, 0);
        Ok(())
    }

    fn part(&mut self, part: &Part, contents: &mut Contents) -> Result<()> {
        let State::Writing { filling, name, .. } = &mut self.state else { return Ok(()) };
        let shown = || show_path(&path_of(self.base, name));
        if let Some(error) = contents.take_error(part) {
            return Err(error).wrap(|| format!("cannot read {}, whose beginning is written", shown()));
        }
        let sink = &mut *self.sink;
        let bytes = contents.part(part).unwrap_or_default();
        filling.write(bytes, &mut |bytes| sink.write(bytes)).wrap(shown)
    }

    fn end(&mut self) -> Result<()> {
        if let State::Writing { filling, name, size } = std::mem::replace(&mut self.state, State::Between) {
            let sink = &mut *self.sink;
            let ended = filling.finish(&mut |bytes| sink.write(bytes));
            ended.wrap(|| show_path(&path_of(self.base, &name)))?;
            self.sink.end()?;
            self.summary.files += 1;
            self.summary.bytes = self.summary.bytes.saturating_add(size);
            self.monitor.advance(1, size);
        }
        Ok(())
    }

    fn leave_out(&mut self, member: &Member, reason: &str) {
        self.summary.findings += 1;
        self.summary.damaged += 1;
        let path = path_of(self.base, &member.name);
        let message = format!("it is left out: {reason}");
        self.monitor.finding(&Finding { kind: FindingKind::Damaged, path, message });
        if member.node.metadata.links.is_some() {
            self.left_out.insert(member.name.clone());
        }
    }

    fn shown(&self, name: &[u8]) -> String {
        show_path(&path_of(self.base, name))
    }
}

/// Why the content of the member that begins here cannot be read, as far as this window has it, and which part that is.
fn unreadable<'c>(rest: &[Step<Mark>], contents: &'c Contents) -> Option<(&'c Error, Part)> {
    let parts = rest.iter().map_while(|step| match step {
        Step::Part(part) => Some(*part),
        Step::Mark(_) => None,
    });
    let mut failed = parts.filter_map(|part| contents.part(&part).err().map(|error| (error, part)));
    failed.next()
}
