//! Credentials, read anew for each call from where the settings say that they are.

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError, future},
};

use crate::config::{AwsKmsKey, SecretSource};

/// Where the credentials are. It holds none.
#[derive(Debug)]
pub(super) struct Named {
    access_key_id: SecretSource,
    secret_access_key: SecretSource,
    session_token: SecretSource,
}

impl Named {
    pub(super) fn of(settings: &AwsKmsKey) -> Self {
        Self {
            access_key_id: settings.access_key_id.clone(),
            secret_access_key: settings.secret_access_key.clone(),
            session_token: settings.session_token.clone(),
        }
    }

    pub(super) fn read(&self) -> Result<Credentials, String> {
        let read = |name: &str, source: &SecretSource| {
            let secret = source.read();
            secret.map_err(|problem| format!("{name}: {problem}"))
        };
        let token = match self.session_token.is_empty() {
            true => None,
            false => Some(read("session_token", &self.session_token)?.to_string()),
        };
        Ok(Credentials::new(
            read("access_key_id", &self.access_key_id)?.as_str(),
            read("secret_access_key", &self.secret_access_key)?.as_str(),
            token,
            None,
            "settings",
        ))
    }
}

impl ProvideCredentials for Named {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let read: provider::Result = self.read().map_err(CredentialsError::invalid_configuration);
        future::ProvideCredentials::ready(read)
    }
}
