//! `{ env = "NAME" }` or `{ file = "PATH" }`: where a secret is.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use service_kit::config::{Mistake, secret_from_env};
use zeroize::Zeroizing;

use crate::seal::read_private;

/// A secret of more bytes is none: session tokens, the longest, have about two thousand.
const MOST: usize = 16 * 1024;

/// Where a secret is: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SecretSource {
    /// The name of an environment variable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub env: String,
    /// A file of mode 0600; a line break at its end is none of the secret.
    #[serde(skip_serializing_if = "is_no_path")]
    pub file: PathBuf,
}

pub(super) fn is_no_path(path: impl AsRef<Path>) -> bool {
    path.as_ref().as_os_str().is_empty()
}

impl SecretSource {
    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.env.is_empty() && is_no_path(&self.file)
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// What is wrong with the variable or the file, without what is in it.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let (name, bytes) = match self.env.is_empty() {
            false => (
                format!("the environment variable {}", self.env),
                secret_from_env(&self.env).map_err(|missing| missing.to_string())?,
            ),
            true => {
                let name = self.file.display().to_string();
                let bytes =
                    read_private(&self.file, MOST).map_err(|error| format!("{name}: {error}"))?;
                (name, bytes)
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|_binary| format!("{name} is no text"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(format!("{name} is empty")),
            secret => Ok(Zeroizing::new(secret.to_owned())),
        }
    }

    pub(super) fn mistake(&self, place: String, what: &str) -> Option<Mistake> {
        let problem = match (self.env.is_empty(), is_no_path(&self.file)) {
            (true, true) => {
                format!("is required: {what}, as {{ env = \"NAME\" }} or {{ file = \"PATH\" }}")
            }
            (false, false) => "give either env or file".to_owned(),
            _ => return None,
        };
        Some(Mistake::new(place, problem))
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads the table. Whoever writes the secret itself is told so, and the message does not repeat it.
struct Written;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    env: String,
    file: PathBuf,
}

const NO_VALUE: &str =
    "says where the secret is and never holds it: write { env = \"NAME\" } or { file = \"PATH\" }";

impl<'de> Visitor<'de> for Written {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
        let Fields { env, file } = Fields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(SecretSource { env, file })
    }

    fn visit_str<E: Error>(self, _secret: &str) -> Result<SecretSource, E> {
        Err(E::custom(NO_VALUE))
    }

    fn visit_i64<E: Error>(self, _secret: i64) -> Result<SecretSource, E> {
        Err(E::custom(NO_VALUE))
    }

    fn visit_u64<E: Error>(self, _secret: u64) -> Result<SecretSource, E> {
        Err(E::custom(NO_VALUE))
    }

    fn visit_f64<E: Error>(self, _secret: f64) -> Result<SecretSource, E> {
        Err(E::custom(NO_VALUE))
    }
}
