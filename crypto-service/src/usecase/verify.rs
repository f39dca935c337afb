//! Verifying: policy, then the rules that services and thin clients share, with the signatures checked in the lanes.
//!
//! ```text
//! begin (form, key, state)  -> job -> lanes -> the key once more, the rules -> verdict
//! ```
//!
//! A batch goes through each step with all of its items, over one snapshot: grants are asked once for each set of demands, the
//! lanes get all signatures at once, and no item has a future of its own.

use std::sync::Arc;

use jose::jwt::{
    Claims, NotVerified, Pending, Purpose, Question, RejectReason, Standing, Verified, VerifyRules,
    begin,
};
use jose::provider::Failed;
use keyring::{State, Use};
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use tokio::time::Instant;

use super::DataPlane;
use super::trust::{CallersView, Checker, standing};
use crate::keys::{Snapshot, StateRules};
use crate::lanes::{Ask, LaneError, Message, VerifyJob};
use crate::refusal::Refusal;

/// What a token has to satisfy.
#[derive(Debug)]
pub struct Demands {
    /// The tenant.
    pub tenant: String,
    /// The rules. They name the sets that may have signed it; none = every one that the caller may verify with.
    pub rules: VerifyRules,
    /// What stands before field names in refusals: `verify.` in a nested request or an item.
    pub prefix: &'static str,
}

/// A token and what it has to satisfy.
pub struct VerifyCommand {
    /// The JWS in compact form.
    pub token: String,
    /// What it has to satisfy.
    pub demands: Demands,
}

impl std::fmt::Debug for VerifyCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyCommand")
            .field("demands", &self.demands)
            .finish_non_exhaustive()
    }
}

/// One token of a batch.
pub struct VerifyItem {
    /// The JWS in compact form.
    pub token: String,
    /// Which of the batch's demands it has to satisfy.
    pub demands: usize,
    /// When its verdict is worth nothing any more.
    pub due: Option<Instant>,
}

impl std::fmt::Debug for VerifyItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyItem")
            .field("demands", &self.demands)
            .finish_non_exhaustive()
    }
}

/// The verdict on a token.
pub type VerifyVerdict = Result<Verified<Claims>, RejectReason>;

/// What a batch stands on: one snapshot, each set of demands with the caller's view, once the grants are there.
struct Bench<'a> {
    views: Vec<Result<CallersView<'a>, Refusal>>,
    demands: &'a [Demands],
    at: Instant,
}

/// An item whose signature is being checked.
struct Waiting<'a> {
    place: usize,
    demands: &'a Demands,
    pending: Pending<'a, CallersView<'a>>,
}

impl DataPlane {
    /// Judges a token.
    ///
    /// # Errors
    /// [`Refusal`]; what is wrong with the token is in the verdict.
    pub async fn verify(
        &self,
        caller: &Caller,
        command: VerifyCommand,
        due: Option<Instant>,
    ) -> Result<VerifyVerdict, Refusal> {
        let VerifyCommand { token, demands } = command;
        self.may_verify_with(caller, &demands)?;
        self.judge(caller, &demands, token, due).await
    }

    /// Judges tokens. Verdicts stand in the order of the items; a refusal is that of its item alone.
    pub async fn verify_batch(
        &self,
        caller: &Caller,
        demands: &[Demands],
        items: Vec<VerifyItem>,
    ) -> Vec<Result<VerifyVerdict, Refusal>> {
        let snapshot = self.keys().snapshot_owned();
        let views = demands.iter().map(|demands| {
            let view = self.view(caller, demands, &snapshot);
            self.may_verify_with(caller, demands).map(|()| view)
        });
        let bench = Bench {
            views: views.collect(),
            demands,
            at: Instant::now(),
        };
        let mut jobs = Vec::with_capacity(items.len());
        let mut waiting = Vec::with_capacity(items.len());
        let mut verdicts = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            let begun = bench.begin(place, item);
            verdicts.push(match begun {
                Err(refusal) => Err(refusal),
                Ok(Err(reason)) => Ok(Err(reason)),
                Ok(Ok((job, one))) => {
                    jobs.push(job);
                    waiting.push(one);
                    // until the lanes have answered
                    Err(LaneError::Lost.into())
                }
            });
        }
        let outcomes = self.lanes().verify_all(jobs).await;
        self.settle_all(&snapshot, waiting, outcomes, &mut verdicts);
        self.released(verdicts)
    }

    fn settle_all(
        &self,
        then: &Arc<Snapshot>,
        waiting: Vec<Waiting<'_>>,
        outcomes: Vec<Result<Result<(), Failed>, LaneError>>,
        verdicts: &mut [Result<VerifyVerdict, Refusal>],
    ) {
        let now = self.clock().unix_seconds();
        // Jobs were given in the order of `waiting`, and outcomes come in the order of the jobs.
        for (one, outcome) in waiting.into_iter().zip(outcomes) {
            let Waiting {
                place,
                demands,
                pending,
            } = one;
            let settled = outcome.map_err(Refusal::from).map(|outcome| {
                self.still_verifies(then, demands, pending.kid())?;
                let verified = pending.settle_by_external_check(outcome, now)?;
                self.not_revoked_since(then, demands, verified)
            });
            if let Some(verdict) = verdicts.get_mut(place) {
                *verdict = settled;
            }
        }
    }

    /// The lease may have run out, or the machine been suspended, while signatures were checked.
    fn released(
        &self,
        mut verdicts: Vec<Result<VerifyVerdict, Refusal>>,
    ) -> Vec<Result<VerifyVerdict, Refusal>> {
        if let Err(refusal) = self.may_verify() {
            let judged = verdicts.iter_mut().filter(|verdict| verdict.is_ok());
            judged.for_each(|verdict| *verdict = Err(refusal.clone()));
        }
        verdicts.iter().flatten().for_each(|one| self.count(one));
        verdicts
    }

    /// Grants, existence and the lease.
    pub(super) fn may_verify_with(
        &self,
        caller: &Caller,
        demands: &Demands,
    ) -> Result<(), Refusal> {
        let (tenant, key_sets) = (&demands.tenant, demands.rules.key_sets());
        self.access()
            .require_all(caller, Operation::Verify, tenant, key_sets)?;
        if demands.rules.audience_unchecked() {
            self.access().require_all(
                caller,
                Operation::VerifyUncheckedAudience,
                tenant,
                key_sets,
            )?;
        }
        self.may_verify()?;
        let field = if demands.prefix.is_empty() {
            "key_sets"
        } else {
            "verify.key_sets"
        };
        key_sets.iter().try_for_each(|name| {
            self.set_of(field, tenant, name, Use::Sign)
                .map(|_exists| ())
        })
    }

    /// Demands that these key sets are there, for a caller whose grants have been asked for, and that they may be relied on.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn demand_sign_sets(&self, tenant: &str, key_sets: &[String]) -> Result<(), Refusal> {
        self.may_verify()?;
        key_sets.iter().try_for_each(|name| {
            self.set_of("key_sets", tenant, name, Use::Sign)
                .map(|_exists| ())
        })
    }

    /// The verdict alone, for a caller whose grants have been asked for.
    pub(super) async fn judge(
        &self,
        caller: &Caller,
        demands: &Demands,
        token: String,
        due: Option<Instant>,
    ) -> Result<VerifyVerdict, Refusal> {
        let snapshot = self.keys().snapshot_owned();
        let view = self.view(caller, demands, &snapshot);
        let verdict = match begin(token, view, &demands.rules) {
            Err(not) => Err(rejection(not)),
            Ok((question, pending)) => {
                let (ask, job) = job(question, due);
                let outcome = self.lanes().verify(ask, job).await?;
                let now = self.clock().unix_seconds();
                self.still_verifies(&snapshot, demands, pending.kid())
                    .and_then(|()| pending.settle_by_external_check(outcome, now))
                    .and_then(|verified| self.not_revoked_since(&snapshot, demands, verified))
            }
        };
        self.may_verify()?;
        self.count(&verdict);
        Ok(verdict)
    }

    fn view<'a>(
        &'a self,
        caller: &'a Caller,
        demands: &'a Demands,
        snapshot: &'a Snapshot,
    ) -> CallersView<'a> {
        CallersView {
            caller,
            access: self.access(),
            tenant_name: &demands.tenant,
            tenant: snapshot.tenant(&demands.tenant),
            private: self.private(),
            named: demands.rules.key_sets(),
            audience_unchecked: demands.rules.audience_unchecked(),
        }
    }

    /// The key may have been revoked, or have left service, while the signature was checked.
    fn still_verifies(
        &self,
        then: &Arc<Snapshot>,
        demands: &Demands,
        kid: &str,
    ) -> Result<(), RejectReason> {
        let now = self.keys().snapshot();
        if Arc::ptr_eq(&now, then) {
            return Ok(());
        }
        let key = now.tenant(&demands.tenant).and_then(|keys| keys.key(kid));
        match key.map(|key| key.version.state) {
            Some(State::Revoked) => Err(RejectReason::KeyRevoked),
            Some(state) if state.verifies_access() => Ok(()),
            Some(state) if state.verifies_hints() && demands.rules.purpose() == Purpose::Hint => {
                Ok(())
            }
            _ => Err(RejectReason::UnknownKey),
        }
    }

    /// The token may have been revoked while its signature was checked.
    fn not_revoked_since(
        &self,
        then: &Arc<Snapshot>,
        demands: &Demands,
        verified: Verified<Claims>,
    ) -> VerifyVerdict {
        let now = self.keys().snapshot();
        let tenant = now.tenant(&demands.tenant).map(|tenant| &**tenant);
        match Arc::ptr_eq(&now, then) || standing(tenant, &verified) == Standing::Stands {
            true => Ok(verified),
            false => Err(RejectReason::Revoked),
        }
    }

    fn count(&self, verdict: &VerifyVerdict) {
        self.metrics()
            .verified(verdict.as_ref().err().map(|reason| reason.name()));
    }
}

type Begun<'a> = Result<((Ask, VerifyJob), Waiting<'a>), RejectReason>;

impl<'a> Bench<'a> {
    fn begin(&self, place: usize, item: VerifyItem) -> Result<Begun<'a>, Refusal> {
        let VerifyItem {
            token,
            demands,
            due,
        } = item;
        let found = self.views.get(demands).zip(self.demands.get(demands));
        let (view, demands) = found.ok_or(Refusal::Internal("an item without demands"))?;
        let view = view.as_ref().map_err(Refusal::clone)?;
        if due.is_some_and(|due| due <= self.at) {
            return Err(Refusal::DeadlineExceeded);
        }
        let begun = begin(token, *view, &demands.rules).map_err(rejection);
        Ok(begun.map(|(question, pending)| {
            let waiting = Waiting {
                place,
                demands,
                pending,
            };
            (job(question, due), waiting)
        }))
    }
}

/// The signature to check. The token's own buffer becomes the message.
fn job(question: Question<String, Checker>, deadline: Option<Instant>) -> (Ask, VerifyJob) {
    let (Checker { key, tenant }, text, signature) = question.into_parts();
    let len = text.len();
    let job = VerifyJob {
        key,
        message: Message::head(text, len),
        signature,
    };
    (Ask { tenant, deadline }, job)
}

fn rejection(not: NotVerified) -> RejectReason {
    match not {
        NotVerified::Rejected(reason) => reason,
        // This view never says so: it is the service's own.
        NotVerified::AskService => RejectReason::UnknownKey,
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
