//! From the settings to a key-encryption key.

use std::sync::Arc;

use service_kit::config::secret_from_env;

use super::{KekError, Keks, KeyEncryptionKey, Pkcs11Kek, from_env, from_file};
use crate::config::{AwsKmsKey, Kek, KekSource};

/// Fetches the key, or connects to where it is.
///
/// # Errors
/// [`KekError`]. Nothing was written then.
pub async fn open_kek(source: &KekSource) -> Result<Arc<dyn KeyEncryptionKey>, KekError> {
    match source {
        KekSource::File(path) => Ok(Arc::new(from_file(path)?)),
        KekSource::Env(name) => Ok(Arc::new(from_env(name, |name| {
            let bytes = secret_from_env(name).ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        })?)),
        KekSource::Pkcs11(key) => Ok(Arc::new(Pkcs11Kek::open(key).await?)),
        KekSource::AwsKms(key) => open_aws_kms(key).await,
    }
}

/// Fetches the present key and, where the settings name one, the one before.
///
/// # Errors
/// [`KekError`].
pub async fn open_keks(kek: &Kek) -> Result<Keks, KekError> {
    let present = open_kek(&source(kek, "kek")?).await?;
    let previous = match &kek.previous {
        None => None,
        Some(previous) => Some(open_kek(&source(previous, "kek.previous")?).await?),
    };
    Ok(Keks::new(present, previous))
}

fn source(kek: &Kek, place: &str) -> Result<KekSource, KekError> {
    kek.source(place).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        KekError::Settings(mistakes.join("; "))
    })
}

#[cfg(feature = "aws-kms")]
async fn open_aws_kms(key: &AwsKmsKey) -> Result<Arc<dyn KeyEncryptionKey>, KekError> {
    // the futures of the SDK are large
    let opening = Box::pin(super::AwsKmsKek::open(key));
    Ok(Arc::new(opening.await?))
}

#[cfg(not(feature = "aws-kms"))]
async fn open_aws_kms(_key: &AwsKmsKey) -> Result<Arc<dyn KeyEncryptionKey>, KekError> {
    Err(KekError::AwsKms(super::AwsKmsError::NotBuilt))
}
