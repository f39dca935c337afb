//! What batches and streams have in common: how many items, how long each may take, how large an answer may grow, and why an
//! item has no result.

use std::time::Duration;

use crypto_proto::batch::v1 as proto;
use service_kit::layers::Deadline;
use tokio::time::Instant;

use super::LARGEST_ANSWER;
use super::fields::Fields;
use crate::refusal::Refusal;

/// Items in one batch.
const MOST_ITEMS: usize = 1000;
/// A longer timeout is as good as none.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// What every result may take of the answer, whatever becomes of the others: enough for the refusal of one that is too large.
const SMALLEST_RESULT: usize = 192;
/// Tags and lengths of one result with all its fields.
const FRAME: usize = 48;
/// Tags and lengths of one violation.
const VIOLATION_FRAME: usize = 12;

/// Refuses a call without items, or with more than a batch has.
pub(super) fn check_count(items: usize) -> Result<(), Refusal> {
    match items {
        0 => Err(Refusal::field("items", "must have at least one item")),
        1..=MOST_ITEMS => Ok(()),
        _ => Err(Refusal::field(
            "items",
            "must have at most 1,000 items: send the rest in further calls",
        )),
    }
}

/// When a call, or a message of a stream, came in, and when its answer is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    at: Instant,
    due: Option<Instant>,
}

impl Arrival {
    /// Of a call, whose items take no longer than itself.
    pub(super) fn of<T>(call: &tonic::Request<T>) -> Self {
        let due = Deadline::of(call).map(Deadline::instant);
        Self {
            at: Instant::now(),
            due,
        }
    }

    /// Of messages of a stream, which has no end of its own.
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            due: None,
        }
    }

    /// When the answer to an item is due: after its own timeout, and no later than that to its call.
    pub(super) fn due(
        self,
        fields: &mut Fields,
        timeout: Option<prost_types::Duration>,
    ) -> Option<Instant> {
        let Some(timeout) = timeout else {
            return self.due;
        };
        let Some(timeout) = positive(timeout) else {
            fields.violation("timeout", "must be longer than zero, or absent");
            return self.due;
        };
        let own = self.at + timeout.min(LONGEST_TIMEOUT);
        Some(self.due.map_or(own, |call| own.min(call)))
    }
}

fn positive(timeout: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(timeout.seconds).ok()?;
    let nanos = u32::try_from(timeout.nanos).ok()?;
    let in_form = nanos < 1_000_000_000 && (seconds, nanos) != (0, 0);
    in_form.then(|| Duration::new(seconds, nanos))
}

/// What is left of the largest answer. Every result has a small place of its own, so that there is always room to say why an
/// item has none.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    /// The room of an answer with so many results.
    pub(super) fn of_answer(results: usize) -> Self {
        Self(LARGEST_ANSWER.saturating_sub(results.saturating_mul(SMALLEST_RESULT)))
    }

    /// The room of the answer to a call, once nothing is wrong with the call as a whole.
    pub(super) fn of_call(items: usize, request_id: &str) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        fields.request_id(request_id);
        fields.finish(Some(()))?;
        check_count(items)?;
        Ok(Self::of_answer(items))
    }

    /// Takes the room of a result whose strings and bytes have this length in total.
    ///
    /// # Errors
    /// MESSAGE_TOO_LARGE where there is none left; nothing is taken then.
    pub(super) fn take(&mut self, content: usize) -> Result<(), Refusal> {
        let beyond = content
            .saturating_add(FRAME)
            .saturating_sub(SMALLEST_RESULT);
        let left = self.0.checked_sub(beyond).ok_or(Refusal::TooLarge(
            "the answer would be longer than 4 MiB: send the item in another call",
        ))?;
        self.0 = left;
        Ok(())
    }

    /// The item's error, shortened to its code and reason where there is no room for all of it.
    pub(super) fn error(&mut self, error: proto::ItemError) -> proto::ItemError {
        let violations = error.field_violations.iter();
        let content = violations.fold(
            error.message.len() + error.reason.len() + VIOLATION_FRAME,
            |sum, violation| {
                sum + violation.field.len() + violation.description.len() + VIOLATION_FRAME
            },
        );
        match self.take(content) {
            Ok(()) => error,
            Err(_no_room) => proto::ItemError {
                message: String::new(),
                field_violations: Vec::new(),
                ..error
            },
        }
    }
}

/// Why an item has no result, as the status of a call of its own would say it.
pub(super) fn item_error(refusal: Refusal) -> proto::ItemError {
    let (code, reason) = (i32::from(refusal.code()), refusal.reason().to_owned());
    let (message, retry_in) = (refusal.to_string(), refusal.retry_in());
    let field_violations = match refusal {
        Refusal::Fields(violations) => violations,
        _ => Vec::new(),
    };
    let violation = |violation: crate::Violation| proto::FieldViolation {
        field: violation.field,
        description: violation.description,
    };
    proto::ItemError {
        code,
        reason,
        message,
        field_violations: field_violations.into_iter().map(violation).collect(),
        retry_in: retry_in.and_then(|delay| prost_types::Duration::try_from(delay).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Violation;

    #[test]
    fn a_batch_has_one_to_a_thousand_items() {
        for (items, accepted) in [(0, false), (1, true), (1000, true), (1001, false)] {
            assert_eq!(check_count(items).is_ok(), accepted, "{items}");
        }
        let refusal = check_count(1001).unwrap_err();
        assert!(matches!(&refusal, Refusal::Fields(fields) if fields[0].field == "items"));
    }

    #[test]
    fn an_item_is_due_after_its_timeout_and_never_after_its_call() {
        let at = Instant::now();
        let second = Duration::from_secs(1);
        let timeout = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        for (call, asked, due) in [
            (None, None, None),
            (Some(5), None, Some(5 * second)),
            (None, timeout(2, 0), Some(2 * second)),
            (Some(5), timeout(2, 500_000_000), Some(5 * second / 2)),
            (Some(1), timeout(2, 0), Some(second)),
            (None, timeout(i64::MAX, 0), Some(LONGEST_TIMEOUT)),
        ] {
            let arrival = Arrival {
                at,
                due: call.map(|seconds| at + seconds * second),
            };
            let mut fields = Fields::default();
            let found = arrival.due(&mut fields, asked);
            assert_eq!(found, due.map(|due| at + due), "{call:?} {asked:?}");
            assert!(fields.is_sound(), "{asked:?}");
        }
        for asked in [
            timeout(0, 0),
            timeout(-1, 0),
            timeout(0, -1),
            timeout(1, -1),
            timeout(-1, 1),
            timeout(1, 1_000_000_000),
        ] {
            let mut fields = Fields::default();
            Arrival::now().due(&mut fields, asked);
            let refused = fields.finish(Some(())).unwrap_err();
            assert!(
                matches!(&refused, Refusal::Fields(fields) if fields[0].field == "timeout"),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn an_answer_never_grows_beyond_its_limit_and_always_says_why() {
        let mut room = Room::of_answer(1000);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..1000 {
            match room.take(20 * 1024) {
                Ok(()) => taken += 20 * 1024 + FRAME,
                Err(_too_large) => refused += SMALLEST_RESULT,
            }
        }
        assert!(taken + refused <= LARGEST_ANSWER && taken > LARGEST_ANSWER / 2);
        let violations = |count: usize| {
            let fields = (0..count).map(|n| Violation::new(format!("claims.{n}"), "wrong"));
            item_error(Refusal::Fields(fields.collect()))
        };
        assert_eq!(room.error(violations(1)), violations(1));
        let cut = room.error(violations(10_000));
        assert_eq!(cut.reason, "FIELD_INVALID");
        assert!(cut.field_violations.is_empty() && cut.message.is_empty());
        let small = item_error(Room(0).take(SMALLEST_RESULT).unwrap_err());
        assert!(small.message.len() + small.reason.len() + FRAME <= SMALLEST_RESULT);
    }

    #[test]
    fn an_item_fails_with_what_its_own_call_would_have_said() {
        let delay = Duration::from_secs(7);
        let error = item_error(Refusal::NotReady {
            what: "no key",
            retry_in: Some(delay),
        });
        assert_eq!((error.code, error.reason.as_str()), (14, "NOT_READY"));
        assert_eq!(error.message, "no key");
        let expected = prost_types::Duration {
            seconds: 7,
            nanos: 0,
        };
        assert_eq!(error.retry_in, Some(expected));
        let error = item_error(Refusal::field("sign.typ", "too long"));
        assert_eq!((error.code, error.reason.as_str()), (3, "FIELD_INVALID"));
        assert_eq!(error.field_violations[0].field, "sign.typ");
        assert_eq!(error.field_violations[0].description, "too long");
    }
}
