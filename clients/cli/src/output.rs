//! Standard output, as text for people or JSON for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::Value;

use crate::error::Error;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Writes one answer: `text` for people, `json` for programs.
pub(crate) fn answer(
    format: Format,
    json: &Value,
    text: impl FnOnce() -> String,
) -> Result<(), Error> {
    match format {
        Format::Json => line(&format!("{json:#}")),
        Format::Text => line(text().trim_end_matches('\n')),
    }
}

/// Writes a line. A reader that went away ends the program without noise.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    bytes(text.as_bytes())?;
    bytes(b"\n")
}

/// Writes bytes as they are.
pub(crate) fn bytes(content: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Err(Error::new(141, "")),
        Err(cause) => Err(Error::new(74, format!("standard output: {cause}"))),
        Ok(()) => Ok(()),
    }
}

/// Says something beside the answer, on standard error.
pub(crate) fn note(text: &str) {
    // when standard error is gone there is nobody left to tell
    let _gone = writeln!(io::stderr().lock(), "{text}");
}
