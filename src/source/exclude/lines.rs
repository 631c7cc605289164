//! Files that hold patterns or paths, from their bytes.
//!
//! What must hold: UTF-8 and, after a byte order mark, UTF-16 give the same lines; bytes that are no UTF-8 stay as they
//! are, for names may have any; what is wrong is told with the number of its line, and nothing is guessed.

use std::borrow::Cow;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};
use crate::source::exclude::GivenPattern;

/// Gives the value of a variable, if it has one.
pub type Variables<'v> = &'v dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// The patterns of a file, one a line; `#` begins a comment, `$NAME` and `${NAME}` are variables, `$$` is a dollar sign.
///
/// `origin` says where the lines stand, as `--exclude-file rules`. `Usage` for a variable without a value: without it
/// the pattern could match everything.
pub fn pattern_lines(
    bytes: &[u8],
    ignores_case: bool,
    origin: &str,
    variables: Variables<'_>,
) -> Result<Vec<GivenPattern>> {
    let mut patterns = Vec::new();
    for (number, line) in meaningful_lines(&decode(bytes, origin)?) {
        let origin = format!("{origin} line {number}");
        let text = expand(line, variables).map_err(|message| refused(&origin, &message))?;
        patterns.push(GivenPattern { text, ignores_case, origin });
    }
    Ok(patterns)
}

/// The patterns of paths of a file, with the numbers of their lines; `#` begins a comment.
pub fn glob_lines(bytes: &[u8], origin: &str) -> Result<Vec<(usize, Vec<u8>)>> {
    let text = decode(bytes, origin)?;
    Ok(meaningful_lines(&text).map(|(number, line)| (number, line.to_vec())).collect())
}

/// The paths of a file, one a line, every letter of it; an empty line is none.
pub fn verbatim_lines(bytes: &[u8], origin: &str) -> Result<Vec<Vec<u8>>> {
    let text = decode(bytes, origin)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| without_nul(line, origin).map(<[u8]>::to_vec)).collect()
}

/// The paths of a file that each end with a NUL. `Usage` if the last does not, for then it may be cut off, or if one is
/// empty.
pub fn raw_paths(bytes: &[u8], origin: &str) -> Result<Vec<Vec<u8>>> {
    let Some(paths) = bytes.strip_suffix(b"\0") else {
        return match bytes {
            [] => Ok(Vec::new()),
            _ => Err(refused(origin, "its last path does not end with a NUL and may be cut off")),
        };
    };
    let path = |path: &[u8]| match path {
        [] => Err(refused(origin, "a path is empty")),
        path => Ok(path.to_vec()),
    };
    paths.split(|byte| *byte == 0).map(path).collect()
}

fn refused(origin: &str, message: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{origin}: {message}"))
}

fn without_nul<'l>(line: &'l [u8], origin: &str) -> Result<&'l [u8]> {
    match line.contains(&0) {
        true => Err(refused(origin, "it holds a NUL: paths that end with one are read by --files-from-raw")),
        false => Ok(line),
    }
}

/// A text without its byte order mark, in UTF-8 unless it was something that no mark announced.
fn decode<'b>(bytes: &'b [u8], origin: &str) -> Result<Cow<'b, [u8]>> {
    let (bytes, unit): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(rest.into()),
        [0xff, 0xfe, rest @ ..] => (rest, |[low, high]| u16::from(high) << 8 | u16::from(low)),
        [0xfe, 0xff, rest @ ..] => (rest, |[high, low]| u16::from(high) << 8 | u16::from(low)),
        _ => return Ok(bytes.into()),
    };
    let (pairs, []) = bytes.as_chunks() else {
        return Err(refused(origin, "its UTF-16 ends within a character"));
    };
    let text: std::result::Result<String, _> =
        char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
    match text {
        Ok(text) => Ok(text.into_bytes().into()),
        Err(_) => Err(refused(origin, "it begins as UTF-16 and goes on as something else")),
    }
}

/// Lines that are neither empty nor comments, without the blanks around them, and their numbers.
fn meaningful_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    let trimmed = lines.map(|(number, line)| {
        let line = std::str::from_utf8(line).map_or(line.trim_ascii(), |line| line.trim().as_bytes());
        (number, line)
    });
    trimmed.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}

/// A line with the values of its variables.
fn expand(line: &[u8], variables: Variables<'_>) -> std::result::Result<Vec<u8>, String> {
    let mut expanded = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(position) = rest.iter().position(|byte| *byte == b'$') {
        let (before, after) = rest.split_at(position);
        expanded.extend_from_slice(before);
        let after = after.get(1..).unwrap_or_default();
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let (name, behind) = match after {
            [b'$', behind @ ..] => {
                expanded.push(b'$');
                rest = behind;
                continue;
            }
            [b'{', inner @ ..] => {
                let end = inner.iter().position(|byte| *byte == b'}');
                let parts = end.and_then(|end| inner.split_at_checked(end));
                match parts {
                    Some((name, behind)) if !name.is_empty() && name.iter().all(is_of_name) => {
                        (name, behind.get(1..).unwrap_or_default())
                    }
                    _ => return Err("\"${\" begins no variable (write $$ for a dollar sign)".into()),
                }
            }
            _ => {
                let length = after.iter().take_while(|byte| is_of_name(byte)).count();
                after.split_at_checked(length).unwrap_or_default()
            }
        };
        rest = behind;
        if name.is_empty() {
            expanded.push(b'$');
            continue;
        }
        let value = variables(name).ok_or_else(|| {
            let name = show_path(name);
            format!("the variable {name} has no value (write $$ for a dollar sign)")
        })?;
        expanded.extend_from_slice(&value);
    }
    expanded.extend_from_slice(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests;
