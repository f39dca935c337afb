//! What can go wrong, and the exit code that says it (sysexits.h).

use std::{io, path::Path};

/// An error with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    message: String,
    code: u8,
}

impl Error {
    /// 1: the call worked and its answer is no, such as a rejected token.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// 64: the command line or the environment is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(64, message)
    }

    /// 65: an input is wrong.
    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(65, message)
    }

    /// 69: a service, or a part of the set-up, is not there.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(69, message)
    }

    /// 70: what cannot happen has happened.
    pub(crate) fn software(message: impl Into<String>) -> Self {
        Self::new(70, message)
    }

    /// 74: a file could not be read or written.
    pub(crate) fn file(path: &Path, cause: &io::Error) -> Self {
        Self::new(74, format!("{}: {cause}", path.display()))
    }

    /// Any code: for statuses of a service.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code,
        }
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The same error, of the thing that was being done.
    pub(crate) fn during(self, doing: &str) -> Self {
        Self {
            message: format!("{doing}: {}", self.message),
            code: self.code,
        }
    }
}
