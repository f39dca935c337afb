//! Shares of invocation budgets.

use keyring::{KeySet, Refusal};

use super::{Lifecycle, LifecycleError, Terms};
use crate::vault::{SetName, VaultError};

impl Lifecycle {
    /// Grants a share of a key's budget by a write of its set. False where the key has none left, or does not encrypt any more.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(crate) async fn grant_share(&self, name: &SetName, kid: &str) -> Result<bool, VaultError> {
        let terms = Terms {
            actor: "key-manager",
            ..Terms::default()
        };
        let grant = |set: &KeySet, _: Option<keyring::NewKey>, ctx: &keyring::Context<'_>| {
            keyring::invocations::grant_share(set, kid, ctx)
        };
        match self.write(name, terms, None, grant).await {
            Ok(_) => Ok(true),
            Err(LifecycleError::Vault(error)) => Err(error),
            Err(LifecycleError::Refused(Refusal::BudgetSpent(kid))) => {
                tracing::error!(
                    tenant = name.tenant,
                    key_set = name.name,
                    kid,
                    "no encryptions are left to grant"
                );
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, tenant = name.tenant, key_set = name.name, kid, "no encryptions are granted");
                Ok(false)
            }
        }
    }
}
