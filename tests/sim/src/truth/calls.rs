//! Answers of instances and of verifiers, judged.

use super::{Finding, TOLERANCE, Token, Truth, tokens::Standing};
use crate::invariant::Invariant;

/// Who judged a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// An instance, by a call.
    Instance,
    /// Somebody outside, by a JWKS; so many milliseconds beyond the lease of who served it.
    Outside(u64),
}

impl Truth {
    /// A verdict on a token.
    ///
    /// # Errors
    /// What it breaks.
    pub(crate) fn judged(
        &self,
        (judge, who): (Judge, usize),
        epoch: u64,
        token: &Token,
        accepted: Result<(), String>,
        now: u64,
    ) -> Result<(), Finding> {
        let bound = self.times.max_verify_staleness.as_millis()
            + match judge {
                Judge::Instance => 0,
                Judge::Outside(more) => more,
            };
        let label = self.label(&token.kid);
        let knows = |at_epoch: u64| judge == Judge::Instance && epoch >= at_epoch;
        match (self.standing(token, now), accepted) {
            (Standing::Good, Err(reason)) => {
                let what = format!("{judge:?} {who} refuses a token of {label}: {reason}");
                Err((Invariant::GoodToken, what))
            }
            (Standing::KeyRevoked(at, by), Ok(())) if knows(by) || now > at + bound + TOLERANCE => {
                let what = format!(
                    "{judge:?} {who}, at epoch {epoch}, takes a token of {label}, revoked by epoch {by} {} s ago",
                    (now - at) / 1_000
                );
                Err((Invariant::RevokedKey, what))
            }
            (Standing::TokenRevoked(at, by), Ok(()))
                if knows(by) || now > at + bound + TOLERANCE =>
            {
                let what = format!(
                    "{judge:?} {who}, at epoch {epoch}, takes a token of {label} that epoch {by} revoked {} s ago",
                    (now - at) / 1_000
                );
                Err((Invariant::RevokedToken, what))
            }
            _ => Ok(()),
        }
    }

    /// Something leaves an instance for which it needs its lease.
    ///
    /// # Errors
    /// [`Invariant::LeaseHeld`].
    pub(crate) fn left(&self, process: usize, now: u64) -> Result<(), Finding> {
        match self.processes.get(process) {
            Some(of) if now > of.verify_end => {
                let late = (now - of.verify_end) / 1_000;
                let what = format!("i{} answers {late} s after its lease", of.node);
                Err((Invariant::LeaseHeld, what))
            }
            _ => Ok(()),
        }
    }
}
