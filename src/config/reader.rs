//! Reads tables of TOML key by key, and gathers every problem with its place.
//!
//! What must hold: a key that nobody asked for is a problem, never passed over; after a problem reading goes on, so that
//! all of them are told at once.

use std::cell::RefCell;
use std::ops::Range;

use toml_edit::{Item, Key, TableLike, Value};

use super::nearest::nearest;
use super::plain_secrets;
use super::problem::Problem;

const ADDRESS_WITH_PASSWORD: &str = "has an address with a password, and no secret stands in this file: leave it out of \
    the address, and name where it is: a server with password-file or its like, a command with environment = { NAME = \
    { file = \"…\" } }";

/// What is wrong with a text so far.
#[derive(Debug)]
pub struct Problems<'t> {
    text: &'t str,
    found: RefCell<Vec<(usize, Problem)>>,
}

impl<'t> Problems<'t> {
    /// None yet.
    pub const fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::new(Vec::new()) }
    }

    /// Adds one at a place in the text.
    pub fn add(&self, position: usize, key: &str, message: impl Into<String>, nearest: Option<&str>) {
        let (line, column) = place(self.text, position);
        let nearest = nearest.map(str::to_owned);
        let problem = Problem { line, column, key: key.to_owned(), message: message.into(), nearest };
        self.found.borrow_mut().push((position, problem));
    }

    /// All, in the order of their places.
    pub fn into_list(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(position, _)| *position);
        found.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// Line and column of a position, both from 1; columns are counted in characters.
fn place(text: &str, position: usize) -> (usize, usize) {
    let before = text.get(..position).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

/// A table that is being read.
pub struct Section<'d> {
    table: &'d dyn TableLike,
    /// The keys that lead to it, as `job.nightly.source[2]`.
    pub path: String,
    position: usize,
    known: &'static [&'static str],
    taken: Vec<&'static str>,
    problems: &'d Problems<'d>,
}

/// A value, and where it stands.
pub struct Entry<'d> {
    /// The keys that lead to it.
    pub path: String,
    /// Where the value begins.
    pub position: usize,
    item: &'d Item,
    problems: &'d Problems<'d>,
}

fn start(span: Option<Range<usize>>) -> Option<usize> {
    span.map(|span| span.start)
}

fn value_position(key: &Key, item: &Item) -> usize {
    start(item.span()).or_else(|| start(key.span())).unwrap_or(0)
}

impl<'d> Section<'d> {
    /// The whole document.
    pub fn root(
        table: &'d dyn TableLike,
        known: &'static [&'static str],
        problems: &'d Problems<'d>,
    ) -> Self {
        Self { table, path: String::new(), position: 0, known, taken: Vec::new(), problems }
    }

    fn path_of(&self, key: &str) -> String {
        let is_bare =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if there is one.
    pub fn take(&mut self, name: &'static str) -> Option<Entry<'d>> {
        debug_assert!(self.known.contains(&name), "{name} stands in no list of keys");
        self.taken.push(name);
        let (key, item) = self.table.get_key_value(name)?;
        let position = value_position(key, item);
        Some(Entry { path: self.path_of(name), position, item, problems: self.problems })
    }

    /// Whether a key is there that is refused; it counts as told.
    pub fn take_refused(&mut self, name: &'static str) -> bool {
        self.taken.push(name);
        self.has(name)
    }

    /// Everything in a table whose keys are names that the user gives.
    pub fn named(self) -> Vec<(String, Entry<'d>)> {
        let entries = self.table.iter().filter_map(|(name, _)| self.table.get_key_value(name));
        entries
            .map(|(key, item)| {
                let path = self.path_of(key.get());
                // A header's own key is where a reader looks for it.
                let position = start(key.span()).unwrap_or_else(|| value_position(key, item));
                (key.get().to_owned(), Entry { path, position, item, problems: self.problems })
            })
            .collect()
    }

    /// Every key that is there, with its value.
    pub fn values(&self) -> impl Iterator<Item = (&'d str, &'d Item)> {
        self.table.iter()
    }

    /// A problem with a key of this table that is there.
    pub fn refuse(&self, name: &str, message: impl Into<String>) {
        let position = match self.table.get_key_value(name) {
            Some((key, item)) => start(key.span()).unwrap_or_else(|| value_position(key, item)),
            None => self.position,
        };
        self.problems.add(position, &self.path_of(name), message, None);
    }

    /// A problem with the table itself.
    pub fn refuse_all(&self, message: impl Into<String>) {
        self.problems.add(self.position, &self.path, message, None);
    }

    /// Says that a key is needed.
    pub fn missing(&self, name: &str) {
        self.problems.add(self.position, &self.path_of(name), "is needed and missing", None);
    }

    /// The same table, of which it is known now which keys it may have.
    pub fn of_kind(self, known: &'static [&'static str]) -> Self {
        Self { known, ..self }
    }

    /// Whether it may have a key.
    pub fn knows(&self, name: &str) -> bool {
        self.known.contains(&name)
    }

    /// Whether a key is there, without taking it.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Whether the value of a key is a list of nothing.
    pub fn is_empty_list(&self, name: &str) -> bool {
        self.table.get(name).and_then(Item::as_array).is_some_and(|array| array.is_empty())
    }

    /// Of keys that mean the same, refuses all but one, and gives those that are there.
    pub fn only_one(&self, names: &[&'static str]) -> Option<&'static str> {
        let mut there = names.iter().copied().filter(|name| self.has(name));
        let first = there.next()?;
        for other in there {
            self.refuse(other, format!("contradicts {first}: give one of them"));
        }
        Some(first)
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.take(name)?.text()
    }

    /// Texts; none if the key is missing.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.take(name).map(|entry| entry.texts()).unwrap_or_default()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.take(name)?.flag()
    }

    /// A text or a number that a parser reads.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.take(name)?.parsed(parse)
    }

    /// One of several words.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.take(name)?.word(words)
    }

    /// A table with known keys.
    pub fn section(&mut self, name: &'static str, known: &'static [&'static str]) -> Option<Section<'d>> {
        self.take(name)?.section(known)
    }

    /// Says what nobody asked for.
    pub fn finish(self) {
        let keys = self.table.iter().filter_map(|(name, _)| self.table.get_key_value(name));
        for (key, item) in keys.filter(|(key, _)| !self.taken.contains(&key.get())) {
            let position = start(key.span()).unwrap_or_else(|| value_position(key, item));
            let path = self.path_of(key.get());
            match self.known.contains(&key.get()) {
                true => self.problems.add(position, &path, "has no meaning here", None),
                false => {
                    let nearest = nearest(key.get(), self.known);
                    self.problems.add(position, &path, "is no key that is known here", nearest);
                }
            }
        }
    }
}

impl<'d> Entry<'d> {
    /// Says what is wrong with the value.
    pub fn refuse(&self, message: impl Into<String>) {
        self.problems.add(self.position, &self.path, message, None);
    }

    fn must_be<T>(&self, what: &str) -> Option<T> {
        let is = match self.item {
            Item::Value(Value::String(_)) => "a text",
            Item::Value(Value::Integer(_)) => "a number",
            Item::Value(Value::Float(_)) => "a number with a point",
            Item::Value(Value::Boolean(_)) => "true or false",
            Item::Value(Value::Datetime(_)) => "a date or time",
            Item::Value(Value::Array(_)) => "a list",
            Item::Value(Value::InlineTable(_)) | Item::Table(_) => "a table",
            Item::ArrayOfTables(_) => "a list of tables",
            Item::None => "nothing",
        };
        self.refuse(format!("must be {what}, and is {is}"));
        None
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        self.item.is_str()
    }

    /// It as a text that is not empty and has no address with a password.
    pub fn text(&self) -> Option<String> {
        let text = self.address()?;
        if plain_secrets::is_in_address(&text) {
            self.refuse(ADDRESS_WITH_PASSWORD);
            return None;
        }
        Some(text)
    }

    /// It as a text that is not empty; what an address in it may hold, the caller knows better.
    pub fn address(&self) -> Option<String> {
        match self.item.as_str() {
            Some("") => {
                self.refuse("is empty");
                None
            }
            Some(text) if text.contains('\0') => {
                self.refuse("holds a character of number zero");
                None
            }
            Some(text) => Some(text.to_owned()),
            None => self.must_be("a text"),
        }
    }

    /// It as `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        self.item.as_bool().or_else(|| self.must_be("true or false"))
    }

    /// It as a text, or the digits of a number, that a parser reads.
    pub fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = match (self.item.as_str(), self.item.as_integer()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(number)) => number.to_string(),
            (None, None) => return self.must_be("a text or a number"),
        };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(message);
                None
            }
        }
    }

    /// It as one of several words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let all: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let message = format!("{text:?} is none of {}", all.join(", "));
        self.problems.add(self.position, &self.path, message, nearest(&text, &known));
        None
    }

    /// Its elements, if it is a list.
    pub fn elements(&self) -> Option<Vec<Entry<'d>>> {
        let array = self.item.as_array()?;
        let items = (0..array.len()).filter_map(|index| Some((index, self.item.get(index)?)));
        let entry = |(index, item): (usize, &'d Item)| Entry {
            path: format!("{}[{}]", self.path, index + 1),
            position: start(item.span()).unwrap_or(self.position),
            item,
            problems: self.problems,
        };
        Some(items.map(entry).collect())
    }

    /// It as a list of texts.
    pub fn texts(&self) -> Vec<String> {
        match self.elements() {
            Some(elements) => elements.iter().filter_map(Entry::text).collect(),
            None => self.must_be("a list of texts").unwrap_or_default(),
        }
    }

    /// It as a table with known keys.
    pub fn section(&self, known: &'static [&'static str]) -> Option<Section<'d>> {
        match self.item.as_table_like() {
            Some(table) => Some(self.section_of(table, self.path.clone(), self.position, known)),
            None => self.must_be("a table"),
        }
    }

    fn section_of(
        &self,
        table: &'d dyn TableLike,
        path: String,
        position: usize,
        known: &'static [&'static str],
    ) -> Section<'d> {
        Section { table, path, position, known, taken: Vec::new(), problems: self.problems }
    }

    /// It as a list of tables, `[[…]]` or `[{…}, …]`.
    pub fn sections(&self, known: &'static [&'static str]) -> Vec<Section<'d>> {
        match self.item {
            Item::ArrayOfTables(tables) => {
                let numbered = (1..).zip(tables.iter());
                let section = |(number, table): (usize, &'d toml_edit::Table)| {
                    let position = start(table.span()).unwrap_or(self.position);
                    self.section_of(table, format!("{}[{number}]", self.path), position, known)
                };
                numbered.map(section).collect()
            }
            _ => match self.elements() {
                Some(elements) => elements.iter().filter_map(|element| element.section(known)).collect(),
                None => self.must_be("a list of tables").unwrap_or_default(),
            },
        }
    }
}
