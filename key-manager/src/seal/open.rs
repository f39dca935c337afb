//! From the settings to key-encryption keys.

use std::sync::Arc;

use service_kit::config::secret_from_env;

use super::{KekError, Keks, KeyEncryptionKey, from_env, from_file};
use crate::config::KekSource;

/// Fetches the key that the settings name.
///
/// # Errors
/// [`KekError`].
pub async fn open_kek(source: &KekSource) -> Result<Arc<dyn KeyEncryptionKey>, KekError> {
    let kek = match source.env.is_empty() {
        true => from_file(&source.file)?,
        false => from_env(&source.env, |name| {
            secret_from_env(name)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
        })?,
    };
    Ok(Arc::new(kek))
}

/// Fetches the present key and, where the settings name one, the one before.
///
/// # Errors
/// [`KekError`].
pub async fn open_keks(source: &KekSource) -> Result<Keks, KekError> {
    let present = open_kek(source).await?;
    let previous = match &source.previous {
        None => None,
        Some(previous) => Some(open_kek(previous).await?),
    };
    Ok(Keks::new(present, previous))
}
