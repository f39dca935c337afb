//! The calls.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    config::{
        BehaviorVersion, IdentityCache, Region, SharedHttpClient, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    primitives::Blob,
    types::{KeyMetadata, KeySpec, KeyState, KeyUsageType},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use zeroize::Zeroizing;

use super::{AwsKmsError, credentials::Named, fault};
use crate::{
    config::AwsKmsKey,
    seal::{KEY_LEN, KekError, KeyEncryptionKey, SealError, local::key_of},
};

/// Before what AWS KMS returned; [`LocalKek`](crate::seal::LocalKek) has 1.
const FORMAT: u8 = 2;

/// What all our wrapped keys have in their context.
const PURPOSE: (&str, &str) = ("crypto-service", "kek/v1");

/// Tries of one call.
const TRIES: u32 = 3;

/// Encrypt and Decrypt with one key.
pub struct AwsKmsKek {
    client: Client,
    settings: AwsKmsKey,
    /// An alias may point elsewhere tomorrow; what was wrapped stays with this key.
    arn: String,
}

impl fmt::Debug for AwsKmsKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKmsKek")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

impl AwsKmsKek {
    /// Looks the key up, and whether it can wrap.
    ///
    /// # Errors
    /// [`AwsKmsError`].
    pub async fn open(settings: &AwsKmsKey) -> Result<Self, AwsKmsError> {
        let client = client(settings)?;
        let described = client.describe_key().key_id(&settings.key_id).send().await;
        let described = described.map_err(|error| fault::of(&error, settings))?;
        let failed = || AwsKmsError::Failed("an answer without a key".to_owned());
        let key = described.key_metadata().ok_or_else(failed)?;
        fits(key, settings)?;
        Ok(Self {
            arn: key.arn().ok_or_else(failed)?.to_owned(),
            client,
            settings: settings.clone(),
        })
    }

    fn failed(&self, what: &str) -> SealError {
        let error = AwsKmsError::Failed(format!("{what}, for {}", self.settings.key_id));
        KekError::AwsKms(error).into()
    }
}

#[async_trait]
impl KeyEncryptionKey for AwsKmsKek {
    fn id(&self) -> &str {
        &self.arn
    }

    async fn wrap(&self, owner: &str, data_key: &[u8; KEY_LEN]) -> Result<Vec<u8>, SealError> {
        let (place, owner) = context(owner);
        let call = self.client.encrypt().key_id(&self.arn);
        let call = call
            .encryption_context(PURPOSE.0, PURPOSE.1)
            .encryption_context(place, owner)
            .plaintext(Blob::new(data_key.as_slice()));
        let answer = call.send().await;
        let answer = answer.map_err(|error| fault::sealing(&error, &self.settings))?;
        let wrapped = answer
            .ciphertext_blob()
            .ok_or_else(|| self.failed("an answer without a ciphertext"))?;
        Ok([&[FORMAT], wrapped.as_ref()].concat())
    }

    async fn unwrap(
        &self,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
        let (format, blob) = wrapped.split_first().ok_or(SealError::Refused)?;
        if *format != FORMAT {
            return Err(SealError::Format(*format));
        }
        if blob.is_empty() {
            return Err(SealError::Refused);
        }
        let (place, owner) = context(owner);
        let call = self.client.decrypt().key_id(&self.arn);
        let call = call
            .encryption_context(PURPOSE.0, PURPOSE.1)
            .encryption_context(place, owner)
            .ciphertext_blob(Blob::new(blob));
        let answer = call.send().await;
        let answer = answer.map_err(|error| fault::sealing(&error, &self.settings))?;
        // It was asked for this key; an answer of another is none.
        if answer.key_id() != Some(self.arn.as_str()) {
            return Err(SealError::Refused);
        }
        let opened = answer
            .plaintext
            .ok_or_else(|| self.failed("an answer without a plaintext"))?;
        key_of(&Zeroizing::new(opened.into_inner()))
    }
}

/// The root belongs to no tenant, and no tenant can be called as it is.
fn context(owner: &str) -> (&'static str, String) {
    match owner {
        "" => ("root", "true".to_owned()),
        tenant => ("tenant", tenant.to_owned()),
    }
}

fn fits(key: &KeyMetadata, settings: &AwsKmsKey) -> Result<(), AwsKmsError> {
    let named = || settings.key_id.clone();
    let (spec, usage) = (key.key_spec(), key.key_usage());
    if spec != Some(&KeySpec::SymmetricDefault) || usage != Some(&KeyUsageType::EncryptDecrypt) {
        let shown = |part: Option<&str>| part.unwrap_or("unknown").to_owned();
        return Err(AwsKmsError::Unfit {
            key: named(),
            found: format!(
                "{}, {}",
                shown(spec.map(KeySpec::as_str)),
                shown(usage.map(KeyUsageType::as_str))
            ),
        });
    }
    match key.key_state() {
        Some(KeyState::Enabled) | None => Ok(()),
        Some(KeyState::Disabled) => Err(AwsKmsError::Disabled(named())),
        Some(other) => Err(AwsKmsError::State {
            key: named(),
            state: other.as_str().to_owned(),
        }),
    }
}

/// Nothing is taken from the environment, from profiles or from the machine's metadata: the settings name everything.
fn client(settings: &AwsKmsKey) -> Result<Client, AwsKmsError> {
    let limit = settings.timeout.get();
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(limit)
        .operation_attempt_timeout(limit / 2)
        .connect_timeout((limit / 2).min(Duration::from_secs(3)))
        .build();
    let credentials = Named::of(settings);
    credentials.read().map_err(AwsKmsError::NoCredentials)?;
    let mut config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials)
        // Calls are rare, and credentials in files may change before the next.
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .timeout_config(timeouts)
        .http_client(connections(settings));
    if !settings.endpoint.is_empty() {
        config = config.endpoint_url(&settings.endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

/// TLS with aws-lc-rs by name, and the system's authorities.
fn connections(settings: &AwsKmsKey) -> SharedHttpClient {
    match settings.is_https() {
        true => Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https(),
        false => Builder::new().build_http(),
    }
}
