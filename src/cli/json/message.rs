//! Messages on the standard error: what went wrong, and what is worth a line.

use packstone::base::{Error, Finding};
use serde::Serialize;

use super::name;

/// Why a command failed: its last line.
#[derive(Debug, Serialize)]
pub struct ExitError {
    message_type: &'static str,
    code: u8,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl ExitError {
    /// With what was being done first, and the causes below it after.
    pub fn new(code: u8, mut chain: Vec<String>, hint: Option<String>) -> Self {
        let causes = chain.split_off(chain.len().min(1));
        let message = chain.pop().unwrap_or_default();
        Self { message_type: "exit_error", code, message, causes, hint }
    }
}

/// A problem that does not stop the work.
#[derive(Debug, Serialize)]
pub struct ErrorLine<'a> {
    message_type: &'static str,
    error: Inner,
    during: &'a str,
    item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Inner {
    message: String,
}

impl<'a> ErrorLine<'a> {
    /// Of a finding.
    pub fn of_finding(finding: &Finding, during: &'a str) -> Self {
        let (item, item_hex) = name(&finding.path);
        let error = Inner { message: finding.message.clone() };
        let kind = Some(finding.kind.word());
        Self { message_type: "error", error, during, item, item_hex, kind, causes: Vec::new() }
    }

    /// Of an error that concerns one item.
    pub fn of_error(error: &Error, during: &'a str, item: String) -> Self {
        let mut causes = error.chain().into_iter();
        let error = Inner { message: causes.next().unwrap_or_default() };
        let causes = causes.collect();
        Self { message_type: "error", error, during, item, item_hex: None, kind: None, causes }
    }
}

/// A line of text.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    message_type: &'static str,
    message: &'a str,
}

impl<'a> Message<'a> {
    /// Something to look at.
    pub const fn warning(message: &'a str) -> Self {
        Self { message_type: "warning", message }
    }

    /// Something worth a line.
    pub const fn note(message: &'a str) -> Self {
        Self { message_type: "note", message }
    }
}
