//! Revoking tokens: by `jti`, or by what they say.

use std::{fmt, time::Duration};

use jose::revocation::{Entry, Id, Match, NEVER, forget_at};
use jose_aws_lc::AwsLc;
use keyring::{KeySet, Refusal, Time, Use};

use super::{Lifecycle, LifecycleError, Mutation, Progress, TRIES};
use crate::vault::{Forgetting, Request, Revoking, SetName, VaultError};

/// Revocations of tokens that live at once, unless the settings say otherwise.
pub const MAX_REVOCATIONS: usize = 1_000_000;

/// How far ahead of our clock a revocation may reach.
const AHEAD: u64 = 5;

/// What to revoke.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenTarget {
    /// One token.
    Jti {
        /// Its `jti`.
        jti: String,
        /// Its `exp`, where that is known.
        expires_at: Option<Time>,
    },
    /// Tokens that agree with everything that is given, at least one of the three.
    Match {
        /// `sub`
        sub: Option<String>,
        /// `sid`
        sid: Option<String>,
        /// The client.
        client: Option<String>,
        /// The last `iat`; `None` = now.
        issued_before: Option<Time>,
    },
}

/// Shows what is compared, and no value.
impl fmt::Debug for TokenTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jti { .. } => "Jti(..)",
            Self::Match { .. } => "Match(..)",
        })
    }
}

/// How far a revocation of tokens has come. Times are in seconds since 1970.
#[derive(Clone, Debug)]
pub struct TokensRevoked {
    /// The last `iat`; `None` for one token.
    pub issued_before: Option<u32>,
    /// When it is forgotten; `None` = never.
    pub forgotten_at: Option<u32>,
    /// How far it has come.
    pub progress: Progress,
    /// From the request to the last ack, or to the answer.
    pub elapsed: Duration,
}

impl Lifecycle {
    /// The same with another bound on revocations of tokens.
    #[must_use]
    pub fn with_max_revocations(self, max_revocations: usize) -> Self {
        Self {
            max_revocations,
            ..self
        }
    }

    /// Revokes tokens of these key sets.
    ///
    /// # Errors
    /// [`LifecycleError`]: a set that does not exist or signs no tokens, a moment too far ahead or an expiry that has passed,
    /// [`VaultError::TooManyRevocations`].
    pub async fn revoke_tokens(
        &self,
        names: &[SetName],
        target: &TokenTarget,
        mutation: &Mutation,
    ) -> Result<TokensRevoked, LifecycleError> {
        let begun = self.clock.boot();
        let request = self.terms(mutation).request;
        let entries = self.entries(names, target)?;
        let epoch = self.write_tokens(&entries, request).await?;
        let progress = self.settle_all(names, epoch).await;
        let first = entries.first().map(|(_, entry)| entry);
        let bound = first.filter(|entry| entry.id.claim().is_bound_in_time());
        let last = entries.iter().map(|(_, entry)| entry.forget_at).max();
        Ok(TokensRevoked {
            issued_before: bound.map(|entry| entry.issued_before),
            forgotten_at: last.filter(|last| *last != NEVER),
            progress,
            elapsed: self.clock.boot().saturating_since(begun),
        })
    }

    /// Forgets revocations that nothing needs any more, and clears away some of their records.
    ///
    /// # Errors
    /// [`LifecycleError`]; they are forgotten later then.
    pub async fn forget_tokens(&self) -> Result<(), LifecycleError> {
        let Some(now) = self.expired_by() else {
            return Ok(());
        };
        // A replica whose clock is behind must not write what is forgotten already.
        let until = now.since(Time::from_millis(self.times.skew.as_millis()));
        let until = u32::try_from(until.as_secs()).unwrap_or(NEVER - 1);
        let forgotten = self
            .vault
            .turn()
            .await
            .forget_tokens(Forgetting { until })
            .await?;
        if forgotten > 0 {
            tracing::info!(
                forgotten,
                "revocations of tokens that have expired are forgotten"
            );
        }
        Ok(())
    }

    /// Clears away records of revocations that are forgotten, some at a time so that nothing waits for long.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn clear_forgotten_tokens(&self) -> Result<(), LifecycleError> {
        self.metrics.revoked_tokens(self.vault.revoked_tokens());
        for _ in 0..25 {
            if !self.vault.clear_forgotten().await? {
                break;
            }
        }
        Ok(())
    }

    async fn write_tokens(
        &self,
        entries: &[(SetName, Entry)],
        request: Option<Request>,
    ) -> Result<u64, LifecycleError> {
        for _ in 0..TRIES {
            let turn = self.vault.turn().await;
            if let Some(request) = &request
                && self.is_done(request).await?.is_some()
            {
                return Ok(self.vault.epoch());
            }
            let revoking = Revoking {
                entries: entries.to_vec(),
                limit: self.max_revocations,
                request: request.clone(),
            };
            match turn.revoke_tokens(revoking).await {
                Err(VaultError::Conflict) => self.vault.refresh().await?,
                Err(VaultError::RequestDone) => return Ok(self.vault.epoch()),
                Err(error) => {
                    self.metrics.store_error(&error);
                    return Err(error.into());
                }
                Ok(epoch) => {
                    self.metrics.revoked_tokens(self.vault.revoked_tokens());
                    return Ok(epoch);
                }
            }
        }
        Err(VaultError::Conflict.into())
    }

    fn entries(
        &self,
        names: &[SetName],
        target: &TokenTarget,
    ) -> Result<Vec<(SetName, Entry)>, LifecycleError> {
        let now = self.now();
        let (id, issued_before) = self.named(target, now)?;
        let entry = |name: &SetName| {
            let entry = self.vault.get(name).ok_or(LifecycleError::NotFound)?;
            if entry.set.key_use != Use::Sign {
                return Err(field("key_sets", "must name key sets of use SIGN").into());
            }
            let forget_at = forgotten_at(&entry.set, target, now, issued_before);
            Ok((
                name.clone(),
                Entry {
                    id,
                    issued_before,
                    forget_at,
                },
            ))
        };
        names.iter().map(entry).collect()
    }

    fn named(&self, target: &TokenTarget, now: Time) -> Result<(Id, u32), LifecycleError> {
        match target {
            TokenTarget::Jti { jti, expires_at } => {
                if expires_at.is_some_and(|at| at <= now) {
                    let problem = "has passed: a token that has expired needs no revocation";
                    return Err(field("expires_at", problem).into());
                }
                Ok((Id::of_jti(jti, &AwsLc), 0))
            }
            TokenTarget::Match {
                sub,
                sid,
                client,
                issued_before,
            } => {
                let last = issued_before.unwrap_or_else(|| self.furthest_clock(now));
                if issued_before.is_some_and(|last| seconds(last) > seconds(now) + AHEAD) {
                    let problem = "must not be more than 5 s ahead";
                    return Err(field("match.issued_before", problem).into());
                }
                let wanted = Match {
                    sub: sub.as_deref(),
                    sid: sid.as_deref(),
                    client: client.as_deref(),
                };
                let id = Id::of_match(&wanted, &AwsLc)
                    .ok_or_else(|| field("match", "must name sub, sid or client_id"))?;
                Ok((id, u32::try_from(seconds(last)).unwrap_or(NEVER)))
            }
        }
    }

    /// The time on the clock that is furthest ahead among ours and those of live instances: what was issued so far has no later `iat`.
    /// Clocks further ahead than the skew are the clock guard's to complain about.
    fn furthest_clock(&self, now: Time) -> Time {
        let live = self.vault.instances();
        let live = live
            .iter()
            .filter(|instance| instance.subscriber.is_live(now));
        let offsets = live.filter_map(|instance| instance.subscriber.clock_offset_ms);
        let furthest = offsets.filter_map(|ahead| u64::try_from(ahead).ok()).max();
        let ahead = furthest
            .unwrap_or_default()
            .min(self.times.skew.as_millis());
        Time::from_millis(now.as_millis().saturating_add(ahead))
    }
}

/// When the last token of the set that the revocation names has expired. Tokens that may lack `exp` have no such time.
fn forgotten_at(set: &KeySet, target: &TokenTarget, now: Time, issued_before: u32) -> u32 {
    let lifetime = set.largest_lifetime().as_secs();
    let hint_window = set.profile.hint_window.as_secs();
    let last_exp = match target {
        TokenTarget::Jti { expires_at, .. } => {
            let longest = seconds(now).saturating_add(lifetime);
            let expires_at = expires_at.map(seconds);
            if set.profile.expiry_optional {
                expires_at
            } else {
                Some(expires_at.map_or(longest, |at| at.min(longest)))
            }
        }
        TokenTarget::Match { .. } if set.profile.expiry_optional => None,
        TokenTarget::Match { .. } => Some(u64::from(issued_before).saturating_add(lifetime)),
    };
    // A revocation of long ago is kept for a moment, so that it is seen to have been made.
    let least = forget_at(seconds(now), 0);
    last_exp.map_or(NEVER, |last_exp| {
        forget_at(last_exp, hint_window).max(least)
    })
}

fn seconds(time: Time) -> u64 {
    time.as_millis() / 1_000
}

fn field(field: &'static str, problem: &'static str) -> Refusal {
    Refusal::Field {
        field,
        problem: problem.to_owned(),
    }
}
