//! The operators' use cases.

use std::{fmt, sync::Arc, time::Duration};

use keyring::{Holding, ImportAs, KeySet, NewKeySet, Peers, Refusal, Update};
use zeroize::Zeroizing;

use super::{Lifecycle, LifecycleError, Progress, TRIES, Terms};
use crate::{
    keys::{Given, ImportedKey},
    vault::{Change, Request, SetEntry, SetName, VaultError},
};

/// What every mutation carries.
#[derive(Clone, Default)]
pub struct Mutation {
    /// Who asks.
    pub caller: String,
    /// Empty = a retry may act twice.
    pub request_id: String,
    /// The whole request, to tell a retry from another request of the same id.
    pub content: Zeroizing<Vec<u8>>,
    /// 0 = any.
    pub expected_revision: u64,
}

impl fmt::Debug for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutation")
            .field("caller", &self.caller)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Makes the update from the set as it is.
pub type UpdateFn = Box<dyn Fn(&KeySet) -> Update + Send + Sync>;

/// A set, and what its next promotion waits for.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The set.
    pub entry: Arc<SetEntry>,
    /// What is waited for; `None` where nothing asks for a promotion.
    pub holding: Option<Vec<Holding>>,
}

/// What a rotation has done.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The set.
    pub entry: Arc<SetEntry>,
    /// What the promotion still waits for; empty when it has happened.
    pub holding: Vec<Holding>,
    /// With `force`: connected instances that did not acknowledge in time.
    pub stragglers: Vec<String>,
    /// With `force`: what was skipped.
    pub skipped: Vec<Holding>,
}

/// What a revocation has done.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The set.
    pub entry: Arc<SetEntry>,
    /// How far it has come.
    pub progress: Progress,
    /// From the request to the last ack, or to the answer.
    pub elapsed: Duration,
}

/// A key to import.
pub struct Import {
    /// The key.
    pub given: Given,
    /// How it enters.
    pub enters: ImportAs,
    /// Skip the waits.
    pub force: bool,
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("enters", &self.enters)
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    pub(super) fn terms<'a>(&self, mutation: &'a Mutation) -> Terms<'a> {
        let named = !mutation.request_id.is_empty();
        let request = named.then(|| {
            self.vault.request(
                &mutation.caller,
                &mutation.request_id,
                &mutation.content,
                self.now(),
            )
        });
        Terms {
            actor: &mutation.caller,
            request,
            expected_revision: mutation.expected_revision,
        }
    }

    /// What an earlier execution of the same request left, where there was one.
    async fn earlier(
        &self,
        request: Option<&Request>,
    ) -> Result<Option<Option<String>>, LifecycleError> {
        match request {
            Some(request) => self.is_done(request).await,
            None => Ok(None),
        }
    }

    pub(super) fn present(&self, name: &SetName) -> Result<Arc<SetEntry>, LifecycleError> {
        self.vault.get(name).ok_or(LifecycleError::NotFound)
    }

    /// Creates a set and its first key.
    ///
    /// # Errors
    /// [`LifecycleError`]. Where only the generation of the key fails the set exists, and the rotator tries again.
    pub async fn create(
        &self,
        new: NewKeySet,
        mutation: &Mutation,
    ) -> Result<Arc<SetEntry>, LifecycleError> {
        let name = SetName::new(new.tenant.as_str(), new.name.as_str());
        let terms = self.terms(mutation);
        self.vault.refresh_shared().await?;
        for tries in 1.. {
            match self.try_create(&name, new.clone(), &terms).await {
                Ok(()) => break,
                Err(LifecycleError::Vault(VaultError::RequestDone)) => {
                    self.vault.refresh_shared().await?;
                    break;
                }
                // The same request at another replica: the set and what is remembered of the request are one write.
                Err(LifecycleError::Vault(VaultError::NameTaken)) => {
                    if self.earlier(terms.request.as_ref()).await?.is_none() {
                        return Err(VaultError::NameTaken.into());
                    }
                    self.vault.refresh_shared().await?;
                    break;
                }
                // Another replica wrote meanwhile; most often another set.
                Err(LifecycleError::Vault(VaultError::Conflict)) if tries < TRIES => {
                    self.vault.refresh().await?;
                }
                Err(error) => return Err(error),
            }
        }
        match self.advance(&name).await {
            Err(LifecycleError::Generation) => self.present(&name),
            done => done,
        }
    }

    async fn try_create(
        &self,
        name: &SetName,
        new: NewKeySet,
        terms: &Terms<'_>,
    ) -> Result<(), LifecycleError> {
        let turn = self.vault.turn().await;
        if self.earlier(terms.request.as_ref()).await?.is_some() {
            return Err(VaultError::RequestDone.into());
        }
        if self.vault.get(name).is_some() {
            return Err(VaultError::NameTaken.into());
        }
        let set = keyring::create(new, &self.context(&[], Peers::NONE))?;
        let change = Change {
            set,
            replaces: None,
            entering: None,
            actor: terms.actor.to_owned(),
            request: terms.request.clone(),
        };
        turn.commit(change)
            .await
            .inspect_err(|error| self.metrics.store_error(error))?;
        Ok(())
    }

    /// Shows a set.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`].
    pub fn show(&self, name: &SetName) -> Result<Overview, LifecycleError> {
        let entry = self.present(name)?;
        let holding = self.look(name, |ctx| {
            keyring::due(&entry.set, ctx).map(|_| keyring::holding(&entry.set, ctx))
        });
        Ok(Overview { entry, holding })
    }

    /// Changes a set.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn update(
        &self,
        name: &SetName,
        update: UpdateFn,
        mutation: &Mutation,
    ) -> Result<Arc<SetEntry>, LifecycleError> {
        let decide = |set: &KeySet, _: Option<keyring::NewKey>, ctx: &keyring::Context<'_>| {
            keyring::update(set, update(set), ctx)
        };
        done_before(self.write(name, self.terms(mutation), None, decide).await)?;
        match self.advance(name).await {
            Err(LifecycleError::Generation) => self.present(name),
            done => done,
        }
    }

    /// Schedules the promotion of the standby, or with `force` promotes it.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn rotate(
        &self,
        name: &SetName,
        force: bool,
        mutation: &Mutation,
    ) -> Result<Rotated, LifecycleError> {
        let decide = |set: &KeySet, key, ctx: &keyring::Context<'_>| {
            self.rules.request_rotation(set, force, key, ctx)
        };
        let written = done_before(self.write(name, self.terms(mutation), None, decide).await)?;
        if !force {
            let entry = self.advance_quietly(name).await?;
            let waiting = self.look(name, |ctx| {
                keyring::due(&entry.set, ctx).map(|_| keyring::holding(&entry.set, ctx))
            });
            return Ok(Rotated {
                entry,
                holding: waiting.unwrap_or_default(),
                stragglers: Vec::new(),
                skipped: Vec::new(),
            });
        }
        let promoted = written.map_or_else(|| self.present(name), Ok)?;
        let skipped = promoted
            .set
            .active()
            .and_then(|active| active.forced.as_ref())
            .map(|forced| forced.skipped.clone());
        let progress = self.settle(name, promoted.set.epoch).await;
        let entry = self.advance_quietly(name).await?;
        Ok(Rotated {
            entry,
            holding: Vec::new(),
            stragglers: progress.connected_stragglers,
            skipped: skipped.unwrap_or_default(),
        })
    }

    /// What follows a command is the rotator's to repeat: its failure is not the command's.
    async fn advance_quietly(&self, name: &SetName) -> Result<Arc<SetEntry>, LifecycleError> {
        if let Err(error) = self.advance(name).await {
            tracing::warn!(%error, tenant = name.tenant, key_set = name.name, "the plan is not done yet");
        }
        self.present(name)
    }

    /// Imports a key. Gives back its kid.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn import(
        &self,
        name: &SetName,
        import: Import,
        mutation: &Mutation,
    ) -> Result<(Arc<SetEntry>, String), LifecycleError> {
        self.vault.refresh_shared().await?;
        let entry = self.present(name)?;
        let mut terms = self.terms(mutation);
        if let Some(Some(kid)) = self.earlier(terms.request.as_ref()).await? {
            self.vault.refresh_shared().await?;
            return Ok((self.present(name)?, kid));
        }
        let (given, policy) = (import.given, entry.set.policy.clone());
        let parsed = tokio::task::spawn_blocking(move || ImportedKey::read(&given, &policy)).await;
        let parsed = parsed.map_err(|_panicked| LifecycleError::Generation)??;
        let data_key = self.vault.data_key(&name.tenant).await?;
        let fresh = parsed.into_fresh(&data_key)?;
        let kid = fresh.new.kid.clone();
        terms.request = terms.request.map(|request| request.with_kid(&kid));
        let decide = |set: &KeySet, key: Option<keyring::NewKey>, ctx: &keyring::Context<'_>| {
            let key = key.ok_or(Refusal::NoStandby)?;
            keyring::import(
                set,
                keyring::Import {
                    key,
                    enters: import.enters,
                    force: import.force,
                },
                ctx,
            )
        };
        done_before(self.write(name, terms, Some(fresh), decide).await)?;
        Ok((self.advance_quietly(name).await?, kid))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn revoke(
        &self,
        name: &SetName,
        kid: &str,
        mutation: &Mutation,
    ) -> Result<Revoked, LifecycleError> {
        let begun = self.clock.boot();
        let decide =
            |set: &KeySet, key, ctx: &keyring::Context<'_>| self.rules.revoke(set, kid, key, ctx);
        let written = done_before(self.write(name, self.terms(mutation), None, decide).await)?;
        let written = written.map_or_else(|| self.present(name), Ok)?;
        let progress = self.settle(name, written.set.epoch).await;
        let elapsed = self.clock.boot().saturating_since(begun);
        let entry = self.advance_quietly(name).await?;
        Ok(Revoked {
            entry,
            progress,
            elapsed,
        })
    }
}

/// A request that was executed before is no error: the present state is the answer.
pub(super) fn done_before(
    written: Result<Arc<SetEntry>, LifecycleError>,
) -> Result<Option<Arc<SetEntry>>, LifecycleError> {
    match written {
        Ok(entry) => Ok(Some(entry)),
        Err(LifecycleError::Vault(VaultError::RequestDone)) => Ok(None),
        Err(error) => Err(error),
    }
}
