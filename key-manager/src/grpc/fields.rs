//! Fields: what is wrong with them, all at once.

use keyring::{Span, Time};

use super::status::Failure;
use crate::vault::SetName;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) problem: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Collects what is wrong with a message.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    pub(super) fn wrong(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation::new(field, problem));
    }

    /// The value, where nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Failure> {
        match self.0.is_empty() {
            true => Ok(value),
            false => Err(Failure::Fields(self.0)),
        }
    }

    pub(super) fn tenant(&mut self, field: &str, tenant: &str) -> String {
        if tenant.is_empty() {
            return "default".to_owned();
        }
        let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if tenant.len() > 64 || !tenant.bytes().all(sound) {
            self.wrong(field, "must be 1 to 64 of a-z 0-9 -");
        }
        tenant.to_owned()
    }

    pub(super) fn set_name(&mut self, field: &str, name: &str) -> String {
        let sound = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte)
        };
        if name.is_empty() || name.len() > 128 || !name.bytes().all(sound) {
            self.wrong(field, "must be 1 to 128 of a-z 0-9 . _ / -");
        }
        name.to_owned()
    }

    pub(super) fn key_set(&mut self, tenant: &str, name: &str) -> SetName {
        let tenant = self.tenant("tenant", tenant);
        SetName::new(tenant, self.set_name("key_set", name))
    }

    pub(super) fn request_id(&mut self, id: &str) -> String {
        if id.len() > 128 || !id.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            self.wrong(
                "request_id",
                "must be at most 128 printable ASCII characters",
            );
        }
        id.to_owned()
    }

    /// A duration of at most `longest`; `None` where it is absent.
    pub(super) fn duration(
        &mut self,
        field: &str,
        value: Option<prost_types::Duration>,
        longest: Span,
    ) -> Option<Span> {
        let value = value?;
        let seconds = u64::try_from(value.seconds).ok();
        let nanos = u64::try_from(value.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000);
        let span = seconds.zip(nanos).map(|(seconds, nanos)| {
            Span::from_secs(seconds) + Span::from_millis(nanos / 1_000_000)
        });
        if span.is_none_or(|span| span > longest) {
            self.wrong(field, format!("must be a duration from 0 s to {longest}"));
        }
        span
    }

    pub(super) fn time(
        &mut self,
        field: &str,
        value: Option<prost_types::Timestamp>,
    ) -> Option<Time> {
        let value = value?;
        let time = time(&value);
        if time.is_none() {
            self.wrong(field, "must be a time after 1970");
        }
        time
    }
}

/// A time after 1970, in milliseconds.
pub(super) fn time(value: &prost_types::Timestamp) -> Option<Time> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u64::try_from(value.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Time::from_millis(
        seconds
            .saturating_mul(1_000)
            .saturating_add(nanos / 1_000_000),
    ))
}
