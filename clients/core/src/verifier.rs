//! Where tokens are verified, as one type.

use crate::client::CryptoClient;
use crate::error::Error;
use crate::request::{Verdict, Verify};
#[cfg(feature = "local-verify")]
use crate::trust::LocalVerifier;

/// Verifies here or at the service: the verdict and its reason are the same.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Verifier {
    /// In this process, asking the service where it must.
    #[cfg(feature = "local-verify")]
    Local(LocalVerifier),
    /// At the service, each time.
    Remote(CryptoClient),
}

impl Verifier {
    /// Verifies a token.
    ///
    /// # Errors
    /// As [`CryptoClient::verify`], where the service is asked.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        match self {
            #[cfg(feature = "local-verify")]
            Self::Local(local) => local.verify(verify).await,
            Self::Remote(client) => client.verify(verify).await,
        }
    }
}

impl From<CryptoClient> for Verifier {
    fn from(client: CryptoClient) -> Self {
        Self::Remote(client)
    }
}

#[cfg(feature = "local-verify")]
impl From<LocalVerifier> for Verifier {
    fn from(local: LocalVerifier) -> Self {
        Self::Local(local)
    }
}
