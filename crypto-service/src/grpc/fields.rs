//! Reading fields: every violation is collected, none ends the reading.

use jose::algorithm::{ContentEncryption, KeyManagement, UnsupportedAlgorithm};

use crate::refusal::{Refusal, Violation};

const KEY_SET_RULE: &str = "must be 1 to 128 characters of a-z, 0-9, ., _, / and -";
const TENANT_LEN: usize = 64;
const KEY_SET_LEN: usize = 128;
const TEXT_LEN: usize = 127;
const REQUEST_ID_LEN: usize = 128;
/// Key sets, audiences and types that one request may name.
const LIST_LEN: usize = 64;
/// The longest issuer or audience.
const URI_LEN: usize = 2048;
/// RFC 3339 dates end with the year 9999, and lifetimes with them.
const LONGEST_SECONDS: i64 = 253_402_300_799;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
    prefix: &'static str,
}

impl Fields {
    /// For the fields of a message that stands inside another one.
    pub(super) fn inside(&mut self, prefix: &'static str) -> &mut Self {
        self.prefix = prefix;
        self
    }

    pub(super) fn violation(&mut self, field: &str, description: impl Into<String>) {
        self.violations.push(Violation::new(
            format!("{}{field}", self.prefix),
            description,
        ));
    }

    /// Takes violations that name their fields without the prefix.
    pub(super) fn extend(&mut self, violations: impl IntoIterator<Item = Violation>) {
        for violation in violations {
            self.violation(&violation.field, violation.description);
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }

    /// The command, if every field was sound. A reader that left one out has said why.
    pub(super) fn finish<T>(self, command: Option<T>) -> Result<T, Refusal> {
        match command {
            Some(command) if self.violations.is_empty() => Ok(command),
            _ => Err(Refusal::Fields(self.violations)),
        }
    }

    pub(super) fn tenant(&mut self, tenant: String) -> String {
        if tenant.is_empty() {
            return "default".to_owned();
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if tenant.len() > TENANT_LEN || !tenant.bytes().all(allowed) {
            self.violation(
                "tenant",
                "must be empty, or 1 to 64 characters of a-z, 0-9 and -",
            );
        }
        tenant
    }

    pub(super) fn key_set(&mut self, field: &str, name: String) -> String {
        if !is_key_set_name(&name) {
            self.violation(field, KEY_SET_RULE);
        }
        name
    }

    pub(super) fn key_sets(&mut self, field: &str, names: Vec<String>) -> Vec<String> {
        self.length(field, &names);
        for (index, _) in names
            .iter()
            .enumerate()
            .filter(|(_, name)| !is_key_set_name(name))
            .take(LIST_LEN)
        {
            self.violation(&format!("{field}[{index}]"), KEY_SET_RULE);
        }
        names
    }

    /// A list of values that tokens are compared with.
    pub(super) fn values(&mut self, field: &str, values: Vec<String>) -> Vec<String> {
        self.length(field, &values);
        let wrong = |value: &String| value.is_empty() || value.len() > URI_LEN;
        for (index, _) in values
            .iter()
            .enumerate()
            .filter(|(_, value)| wrong(value))
            .take(LIST_LEN)
        {
            self.violation(&format!("{field}[{index}]"), "must be 1 to 2048 bytes");
        }
        values
    }

    pub(super) fn issuer(&mut self, issuer: String) -> String {
        if issuer.len() > URI_LEN {
            self.violation("issuer", "must be at most 2048 bytes");
        }
        issuer
    }

    /// `typ`, `cty`.
    pub(super) fn text(&mut self, field: &str, text: String) -> String {
        if text.len() > TEXT_LEN || !is_printable(&text) {
            self.violation(field, "must be at most 127 printable ASCII characters");
        }
        text
    }

    /// The name of the request; it goes into the span, not into the command.
    pub(super) fn request_id(&mut self, request_id: &str) {
        if request_id.len() > REQUEST_ID_LEN || !is_printable(request_id) {
            return self.violation(
                "request_id",
                "must be at most 128 printable ASCII characters",
            );
        }
        if !request_id.is_empty() {
            tracing::debug!(request_id, "request");
        }
    }

    /// A duration of whole seconds, 0 and up.
    pub(super) fn whole_seconds(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
    ) -> Option<u64> {
        let duration = duration?;
        if duration.nanos != 0 || !(0..=LONGEST_SECONDS).contains(&duration.seconds) {
            self.violation(field, "must be a whole number of seconds, not negative");
            return None;
        }
        u64::try_from(duration.seconds).ok()
    }

    pub(super) fn key_management(&mut self, name: &str) -> Option<KeyManagement> {
        self.named("alg", name, KeyManagement::parse)
    }

    pub(super) fn content_encryption(&mut self, name: &str) -> Option<ContentEncryption> {
        self.named("enc", name, ContentEncryption::parse)
    }

    fn named<T>(
        &mut self,
        field: &str,
        name: &str,
        parse: fn(&str) -> Result<T, UnsupportedAlgorithm>,
    ) -> Option<T> {
        if name.is_empty() {
            return None;
        }
        parse(name)
            .inspect_err(|error| self.violation(field, error.to_string()))
            .ok()
    }

    fn length(&mut self, field: &str, list: &[String]) {
        if list.len() > LIST_LEN {
            self.violation(field, "must have at most 64 entries");
        }
    }
}

fn is_key_set_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte);
    (1..=KEY_SET_LEN).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
