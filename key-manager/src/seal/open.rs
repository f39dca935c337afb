//! From the settings to a key-encryption key.

use std::sync::Arc;

use service_kit::config::secret_from_env;

use super::{KekError, KeyEncryptionKey, Pkcs11Kek, from_env, from_file};
use crate::config::{AwsKmsKey, KekSource};

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
