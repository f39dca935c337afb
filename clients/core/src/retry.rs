//! When a call is tried again.
//!
//! | the answer | what follows |
//! | --- | --- |
//! | UNAVAILABLE | at once at another endpoint; where every one was tried, after a pause |
//! | RESOURCE_EXHAUSTED with RetryInfo | after the time that it names |
//! | anything else, DEADLINE_EXCEEDED above all | nothing: the error goes to the caller |
//!
//! A call is repeated only when the caller said that repeating is harmless, or when the answer proves that nothing was done.
//! No repetition starts that the deadline does not leave room for, and all calls of a channel share a budget.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{Code, Error, Reason};
use crate::random::jitter;

/// How often, and how soon, a call is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts, the first included. 1 = never again. Default 3.
    pub attempts: u32,
    /// The pause before the second attempt at the same endpoint; it doubles each time, with jitter. Default 20 ms.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            pause: Duration::from_millis(20),
        }
    }
}

/// Whether doing a call twice does harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as good as once: reads, verdicts, signatures, and mutations that carry a `request_id`.
    Harmless,
    /// Only when the answer proves that the first one did nothing.
    OnlyIfUndone,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GiveUp,
    Elsewhere,
    After(Duration),
}

/// Where a call stands after a failed attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Attempts made so far.
    pub(crate) attempts: u32,
    /// An endpoint was not tried yet.
    pub(crate) untried: bool,
    /// Time left until the deadline.
    pub(crate) remaining: Duration,
}

impl RetryPolicy {
    pub(crate) fn next(&self, error: &Error, repeat: Repeat, standing: Standing) -> Next {
        if standing.attempts >= self.attempts
            || (repeat == Repeat::OnlyIfUndone && !did_nothing(error))
        {
            return Next::GiveUp;
        }
        let pause = match (error.code(), error.retry_after()) {
            (Code::Unavailable, _) if standing.untried => return Next::Elsewhere,
            (Code::Unavailable, None) => jitter(self.backoff(standing.attempts)),
            (Code::Unavailable | Code::ResourceExhausted, Some(named)) => named,
            _ => return Next::GiveUp,
        };
        if pause < standing.remaining {
            Next::After(pause)
        } else {
            Next::GiveUp
        }
    }

    fn backoff(&self, attempts: u32) -> Duration {
        self.pause
            .saturating_mul(1 << attempts.saturating_sub(1).min(10))
    }
}

/// The service says that it refused before it began: it sheds load, or has no key or lease to work with.
fn did_nothing(error: &Error) -> bool {
    matches!(error.reason(), Some(Reason::Overloaded | Reason::NotReady))
}

/// Ten calls pay for one repetition, so that clients do not multiply the load on a service that is down.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    const FULL: u32 = 100;
    const PER_RETRY: u32 = 10;

    pub(crate) fn full() -> Self {
        Self(AtomicU32::new(Self::FULL))
    }

    pub(crate) fn deposit(&self) {
        self.change(|held| Some((held + 1).min(Self::FULL)));
    }

    pub(crate) fn withdraw(&self) -> bool {
        self.change(|held| held.checked_sub(Self::PER_RETRY))
    }

    fn change(&self, to: impl FnMut(u32) -> Option<u32>) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, to)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, StatusExt as _};

    fn error(code: tonic::Code, reason: &str, retry_after: Option<u64>) -> Error {
        let mut details = ErrorDetails::new();
        if !reason.is_empty() {
            details.set_error_info(
                reason,
                "crypto-service",
                std::collections::HashMap::<String, String>::new(),
            );
        }
        if let Some(ms) = retry_after {
            details.set_retry_info(Some(Duration::from_millis(ms)));
        }
        Error::from_status(&tonic::Status::with_error_details(code, "", details))
    }

    fn standing(attempts: u32, untried: bool) -> Standing {
        Standing {
            attempts,
            untried,
            remaining: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_code_decides() {
        let policy = RetryPolicy::default();
        let after = |ms| Next::After(Duration::from_millis(ms));
        let rows = [
            (
                error(tonic::Code::Unavailable, "", None),
                standing(1, true),
                Next::Elsewhere,
            ),
            (
                error(tonic::Code::Unavailable, "NOT_READY", Some(10)),
                standing(1, true),
                Next::Elsewhere,
            ),
            (
                error(tonic::Code::Unavailable, "NOT_READY", Some(10)),
                standing(2, false),
                after(10),
            ),
            (
                error(tonic::Code::Unavailable, "NOT_READY", Some(5000)),
                standing(1, false),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::Unavailable, "", None),
                standing(3, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::ResourceExhausted, "OVERLOADED", Some(30)),
                standing(1, true),
                after(30),
            ),
            (
                error(tonic::Code::ResourceExhausted, "OVERLOADED", Some(1000)),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::ResourceExhausted, "MESSAGE_TOO_LARGE", None),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::DeadlineExceeded, "", None),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::DeadlineExceeded, "", Some(1)),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::InvalidArgument, "FIELD_INVALID", None),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::PermissionDenied, "NOT_GRANTED", Some(1)),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::Aborted, "CONFLICT", None),
                standing(1, true),
                Next::GiveUp,
            ),
            (
                error(tonic::Code::Internal, "", None),
                standing(1, true),
                Next::GiveUp,
            ),
        ];
        for (error, standing, expected) in rows {
            assert_eq!(
                policy.next(&error, Repeat::Harmless, standing),
                expected,
                "{error} {standing:?}"
            );
        }
    }

    #[test]
    fn pauses_double_and_end_before_the_deadline() {
        let policy = RetryPolicy {
            attempts: 9,
            ..RetryPolicy::default()
        };
        let gone = error(tonic::Code::Unavailable, "", None);
        for (attempts, longest) in [(1, 20), (2, 40), (3, 80), (4, 160)] {
            let Next::After(pause) =
                policy.next(&gone, Repeat::Harmless, standing(attempts, false))
            else {
                panic!("{attempts}")
            };
            assert!(
                pause <= Duration::from_millis(longest)
                    && pause >= Duration::from_millis(longest / 2),
                "{attempts}: {pause:?}"
            );
        }
        let late = Standing {
            remaining: Duration::from_millis(5),
            ..standing(1, false)
        };
        assert_eq!(policy.next(&gone, Repeat::Harmless, late), Next::GiveUp);
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let policy = RetryPolicy::default();
        let at = standing(1, true);
        let next = |error: Error| policy.next(&error, Repeat::OnlyIfUndone, at);
        assert_eq!(
            next(error(tonic::Code::Unavailable, "", None)),
            Next::GiveUp
        );
        assert_eq!(
            next(error(tonic::Code::Unavailable, "NOT_READY", None)),
            Next::Elsewhere
        );
        assert_eq!(
            next(error(tonic::Code::ResourceExhausted, "OVERLOADED", Some(1))),
            Next::After(Duration::from_millis(1))
        );
    }

    #[test]
    fn the_budget_ends_and_is_earned_back() {
        let budget = Budget::full();
        let spent = std::iter::from_fn(|| budget.withdraw().then_some(()))
            .take(1000)
            .count();
        assert_eq!(spent, 10);
        (0..9).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw() && !budget.withdraw());
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(
            std::iter::from_fn(|| budget.withdraw().then_some(()))
                .take(1000)
                .count(),
            10
        );
    }
}
