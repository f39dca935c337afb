//! `[kek]`: where the key-encryption key is. The key, a PIN and a password never stand here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::config::{Mistake, Span};

use super::{
    secret::{SecretSource, is_no_path},
    store::{Scheme, is_loopback},
};

/// `[kek]`: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kek {
    /// A file of mode 0600 with 32 bytes or 64 hexadecimal digits.
    pub file: PathBuf,
    /// The name of an environment variable with 64 hexadecimal digits.
    pub env: String,
    /// A secret key in a PKCS#11 token.
    pub pkcs11: Pkcs11Key,
    /// A symmetric key in AWS KMS.
    pub aws_kms: AwsKmsKey,
    /// `[kek.previous]`: the key that this one takes the place of, until nothing is wrapped by it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<Kek>>,
}

/// Where the one key-encryption key is, with everything that is needed to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A key in a PKCS#11 token.
    Pkcs11(Pkcs11Key),
    /// A key in AWS KMS.
    AwsKms(AwsKmsKey),
}

/// `[kek.pkcs11]`: an AES-256 secret key in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pkcs11Key {
    /// The vendor's PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The label of the token.
    pub token_label: String,
    /// The label of the key in it.
    pub key_label: String,
    /// The user PIN.
    #[serde(skip_serializing_if = "SecretSource::is_empty")]
    pub pin: SecretSource,
    /// The longest time of one call to the token.
    pub timeout: Span,
}

impl Default for Pkcs11Key {
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            token_label: String::new(),
            key_label: String::new(),
            pin: SecretSource::default(),
            timeout: Span::secs(10),
        }
    }
}

/// `[kek.aws_kms]`: a symmetric encryption key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsKmsKey {
    /// Its id, its ARN, or an alias (`alias/<name>`).
    pub key_id: String,
    /// Its region.
    pub region: String,
    /// Another endpoint than the region's: https, but for this machine.
    pub endpoint: String,
    /// The id of the access key.
    #[serde(skip_serializing_if = "SecretSource::is_empty")]
    pub access_key_id: SecretSource,
    /// Its secret.
    #[serde(skip_serializing_if = "SecretSource::is_empty")]
    pub secret_access_key: SecretSource,
    /// The token of temporary credentials; none for an access key that lasts.
    #[serde(skip_serializing_if = "SecretSource::is_empty")]
    pub session_token: SecretSource,
    /// The longest time of one call, all tries together.
    pub timeout: Span,
}

impl Default for AwsKmsKey {
    fn default() -> Self {
        Self {
            key_id: String::new(),
            region: String::new(),
            endpoint: String::new(),
            access_key_id: SecretSource::default(),
            secret_access_key: SecretSource::default(),
            session_token: SecretSource::default(),
            timeout: Span::secs(5),
        }
    }
}

impl Kek {
    /// The one source; `place` is the name of the section in the settings.
    ///
    /// # Errors
    /// Every mistake.
    pub fn source(&self, place: &str) -> Result<KekSource, Vec<Mistake>> {
        let mut given = Vec::new();
        if !is_no_path(&self.file) {
            given.push(KekSource::File(self.file.clone()));
        }
        if !self.env.is_empty() {
            given.push(KekSource::Env(self.env.clone()));
        }
        if self.pkcs11 != Pkcs11Key::default() {
            given.push(KekSource::Pkcs11(self.pkcs11.clone()));
        }
        if self.aws_kms != AwsKmsKey::default() {
            given.push(KekSource::AwsKms(self.aws_kms.clone()));
        }
        let (Some(source), true) = (given.pop(), given.is_empty()) else {
            return Err(vec![Mistake::new(
                place,
                format!(
                    "give exactly one of {place}.file, {place}.env, [{place}.pkcs11] and [{place}.aws_kms], to say where the key-encryption key is"
                ),
            )]);
        };
        let mistakes = source.mistakes(place);
        match mistakes.is_empty() {
            true => Ok(source),
            false => Err(mistakes),
        }
    }

    /// Where the key is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self.source("kek") {
            Ok(KekSource::File(path)) => format!("file {}", path.display()),
            Ok(KekSource::Env(name)) => format!("environment variable {name}"),
            Ok(KekSource::Pkcs11(key)) => {
                format!("PKCS#11 token {}, key {}", key.token_label, key.key_label)
            }
            Ok(KekSource::AwsKms(key)) => format!("AWS KMS {}, key {}", key.region, key.key_id),
            Err(_mistakes) => String::new(),
        }
    }

    pub(super) fn mistakes(&self, place: &str) -> Vec<Mistake> {
        let mut mistakes = self.source(place).err().unwrap_or_default();
        if let Some(previous) = &self.previous {
            let place = format!("{place}.previous");
            mistakes.extend(previous.source(&place).err().unwrap_or_default());
            if previous.previous.is_some() {
                mistakes.push(Mistake::new(
                    format!("{place}.previous"),
                    "one key is before another: wait until GetSealing says that kek.previous may be removed",
                ));
            }
        }
        mistakes
    }
}

impl KekSource {
    fn mistakes(&self, place: &str) -> Vec<Mistake> {
        match self {
            Self::File(_) | Self::Env(_) => Vec::new(),
            Self::Pkcs11(key) => key.mistakes(&format!("{place}.pkcs11")),
            Self::AwsKms(key) => key.mistakes(&format!("{place}.aws_kms")),
        }
    }
}

impl Pkcs11Key {
    fn mistakes(&self, place: &str) -> Vec<Mistake> {
        let required = [
            (
                "module",
                is_no_path(&self.module),
                "the PKCS#11 module, a shared library",
            ),
            (
                "token_label",
                self.token_label.is_empty(),
                "the label of the token",
            ),
            (
                "key_label",
                self.key_label.is_empty(),
                "the label of the key",
            ),
        ];
        let mut mistakes = missing(place, &required);
        mistakes.extend(self.pin.mistake(format!("{place}.pin"), "where the PIN is"));
        mistakes.extend(odd_timeout(place, self.timeout));
        mistakes
    }
}

impl AwsKmsKey {
    fn mistakes(&self, place: &str) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !cfg!(feature = "aws-kms") {
            mistakes.push(Mistake::new(
                place,
                "this build has no AWS KMS: build it with `cargo build -p key-manager --features aws-kms`, or name another key",
            ));
        }
        let required = [
            (
                "key_id",
                self.key_id.is_empty(),
                "the id of the key, its ARN, or alias/<name>",
            ),
            ("region", self.region.is_empty(), "the region of the key"),
        ];
        mistakes.extend(missing(place, &required));
        let named = |name: &str| format!("{place}.{name}");
        let (id, secret) = (&self.access_key_id, &self.secret_access_key);
        mistakes.extend(id.mistake(named("access_key_id"), "where the id of the access key is"));
        mistakes.extend(secret.mistake(named("secret_access_key"), "where its secret is"));
        if !self.session_token.is_empty() {
            mistakes.extend(self.session_token.mistake(named("session_token"), ""));
        }
        if let Err(problem) = scheme_of(&self.endpoint) {
            mistakes.push(Mistake::new(
                named("endpoint"),
                format!("{:?} {problem}", self.endpoint),
            ));
        }
        mistakes.extend(odd_timeout(place, self.timeout));
        mistakes
    }

    /// Whether what is sent is encrypted; it is not only where it stays on this machine.
    #[must_use]
    pub fn is_https(&self) -> bool {
        scheme_of(&self.endpoint) != Ok(Scheme::Http)
    }
}

fn missing(place: &str, required: &[(&str, bool, &str)]) -> Vec<Mistake> {
    let absent = required.iter().filter(|(_, absent, _)| *absent);
    let mistake = |(key, _, what): &(&str, bool, &str)| {
        Mistake::new(format!("{place}.{key}"), format!("is required: {what}"))
    };
    absent.map(mistake).collect()
}

fn odd_timeout(place: &str, timeout: Span) -> Option<Mistake> {
    let odd = timeout < Span::secs(1) || timeout > Span::secs(60);
    odd.then(|| Mistake::new(format!("{place}.timeout"), "is from 1s to 60s"))
}

/// None given is the region's own endpoint, which is https. What lies on the wire in the clear never leaves the machine.
fn scheme_of(endpoint: &str) -> Result<Scheme, &'static str> {
    if endpoint.is_empty() {
        return Ok(Scheme::Https);
    }
    let odd = "is no endpoint: write https://<host>, with a port where it is not 443";
    let uri: http::Uri = endpoint.parse().map_err(|_not_a_uri| odd)?;
    let host = uri
        .host()
        .filter(|_| uri.path() == "/" && uri.query().is_none() && !endpoint.contains('@'));
    match (uri.scheme_str(), host.ok_or(odd)?) {
        (Some("https"), _) => Ok(Scheme::Https),
        (Some("http"), host) if is_loopback(host) => Ok(Scheme::Http),
        (Some("http"), _) => Err("is not on this machine and not encrypted: write https://"),
        _ => Err(odd),
    }
}

#[cfg(test)]
mod tests;
