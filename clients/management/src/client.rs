//! The key-manager, called.

use std::time::Duration;

use client_core::{Channel, Error, Repeat};
use crypto_proto::keys::v1::revocation_service_client::RevocationServiceClient;

use crate::request::RevokeToken;
use crate::revoked::RevokedTokens;

/// Revokes tokens. Needs the grant `revoke-tokens` on the key sets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManagementClient {
    channel: Channel,
}

impl ManagementClient {
    /// Calls the key-manager over `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            channel: self.channel.within(deadline),
        }
    }

    /// Revokes a token, or the tokens that match. It is answered within about 1 s.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED (OVERLOADED) where as many revocations live as the key-manager keeps; NOT_FOUND (KEY_SET_NOT_FOUND) for a key set
    /// that does not exist, or none that is granted; else as every call.
    pub async fn revoke_token(&self, revoke: &RevokeToken) -> Result<RevokedTokens, Error> {
        let answer = self.channel.call(Repeat::Harmless, |attempt| {
            let request = attempt.request(revoke.wire());
            async move {
                RevocationServiceClient::new(attempt.connection())
                    .revoke_token(request)
                    .await
            }
        });
        answer.await.map(RevokedTokens::from)
    }
}
