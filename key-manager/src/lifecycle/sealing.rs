//! Keys of keys: an operator rotates a data key, and what follows in the background.

use audit_log::{Act, Outcome};

use super::{Lifecycle, LifecycleError, Mutation, TRIES};
use crate::vault::{Owner, Pass, Rotation, Sealing, Step, VaultError};

impl Lifecycle {
    /// Makes a new generation of a data key. What stands under older ones is re-sealed in the background.
    ///
    /// # Errors
    /// [`LifecycleError`]: [`VaultError::NoDataKey`], [`VaultError::TooManyGenerations`].
    pub async fn rotate_data_key(
        &self,
        owner: &Owner,
        mutation: &Mutation,
    ) -> Result<(), LifecycleError> {
        let request = self.terms(mutation).request;
        self.vault.refresh_shared().await?;
        for _ in 0..TRIES {
            let turn = self.vault.turn().await;
            if let Some(request) = &request
                && self.is_done(request).await?.is_some()
            {
                return Ok(());
            }
            let rotation = Rotation {
                owner: owner.clone(),
                now: self.now(),
                request: request.clone(),
            };
            match turn.rotate_data_key(rotation).await {
                Err(VaultError::Conflict) => self.vault.refresh().await?,
                Err(VaultError::RequestDone) => return Ok(()),
                done => {
                    done.inspect_err(|error| self.metrics.store_error(error))?;
                    tracing::info!(%owner, "the data key is rotated");
                    return Ok(());
                }
            }
        }
        Err(VaultError::Conflict.into())
    }

    /// How the store is sealed: the root, and up to `limit` tenants behind `after` that `wanted` says yes to.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn sealing(
        &self,
        page: (&str, usize),
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Sealing, LifecycleError> {
        Ok(self.vault.sealing(self.now(), page, wanted).await?)
    }

    /// Re-seals some of what stands under older generations; where that was the last of it, removes those.
    ///
    /// # Errors
    /// [`LifecycleError`]; older generations stay, and the next pass goes on.
    pub(crate) async fn reseal_some(&self, pass: &mut Pass) -> Result<Step, LifecycleError> {
        let step = self.vault.reseal_some(pass, self.now()).await?;
        if step == Step::Done {
            let begun = self.record_sealing("RemoveDataKey", pass.owner()).await?;
            let ended = self.vault.end_pass(pass, self.now()).await;
            self.record_done(begun, matches!(ended, Ok(true))).await;
            if !ended? {
                return Ok(Step::Outdated);
            }
        }
        Ok(step)
    }

    /// Wraps an owner's data keys by the present key-encryption key; false where they are.
    ///
    /// # Errors
    /// [`LifecycleError`]; they stay as they are.
    pub(crate) async fn rewrap(&self, owner: &Owner) -> Result<bool, LifecycleError> {
        let begun = self.record_sealing("RewrapDataKey", owner).await?;
        let done = self.vault.rewrap(owner).await;
        self.record_done(begun, matches!(done, Ok(true))).await;
        Ok(done?)
    }

    async fn record_sealing(
        &self,
        act: &str,
        owner: &Owner,
    ) -> Result<Option<Act>, LifecycleError> {
        let Some(audit) = &self.audit else {
            return Ok(None);
        };
        let (tenant, subject) = match owner {
            Owner::Root => ("", "root"),
            Owner::Tenant(tenant) => (tenant.as_str(), ""),
        };
        let act = Act {
            caller: "key-manager".to_owned(),
            act: act.to_owned(),
            tenant: tenant.to_owned(),
            subject: subject.to_owned(),
            outcome: Outcome::Begun,
            ..Act::default()
        };
        let of = audit.append(act.clone()).await?;
        Ok(Some(Act { of, ..act }))
    }
}
