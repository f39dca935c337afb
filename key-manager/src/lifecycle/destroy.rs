//! Destruction: an operator gives a date or calls it off, the plan executes it, and nobody claims more than was erased.

use std::sync::Arc;

use keyring::{DEFAULT_DESTRUCTION_WAIT, KeySet, Span, State, Time};

use super::{Lifecycle, LifecycleError, Mutation, admin::done_before};
use crate::vault::{SetEntry, SetName};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destruction {
    /// The material is to be erased after so long; absent = after seven days.
    After(Option<Span>),
    /// It is not to be erased.
    Cancel,
}

/// What is to come of a key.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// The set.
    pub entry: Arc<SetEntry>,
    /// When the material is erased; absent where it is not to be, or is already.
    pub destroy_at: Option<Time>,
    /// Where copies stay after that, a sentence each; empty where nothing is to be erased.
    pub remains: Vec<String>,
}

impl Lifecycle {
    /// Schedules the destruction of a key, or calls it off.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn destroy(
        &self,
        name: &SetName,
        kid: &str,
        destruction: Destruction,
        mutation: &Mutation,
    ) -> Result<Scheduled, LifecycleError> {
        let decide = |set: &KeySet, _: Option<keyring::NewKey>, ctx: &keyring::Context<'_>| {
            match destruction {
                Destruction::After(wait) => {
                    let wait = wait.unwrap_or(DEFAULT_DESTRUCTION_WAIT);
                    keyring::schedule_destruction(set, kid, wait, ctx)
                }
                Destruction::Cancel => keyring::cancel_destruction(set, kid, ctx),
            }
        };
        let written = done_before(self.write(name, self.terms(mutation), None, decide).await)?;
        let entry = written.map_or_else(|| self.present(name), Ok)?;
        let version = entry.set.version(kid);
        let destroyed = version.is_some_and(|version| version.state == State::Destroyed);
        let date = version.and_then(|version| version.destroy_at);
        let remains = if destroyed || date.is_some() {
            self.vault.remains()
        } else {
            Vec::new()
        };
        Ok(Scheduled {
            destroy_at: date.filter(|_| !destroyed),
            remains,
            entry,
        })
    }
}
