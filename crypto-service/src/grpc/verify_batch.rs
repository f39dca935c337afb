//! `VerifyBatch` and `VerifyStream`: many tokens, one after the other through each step.
//!
//! What comes together usually demands the same: items that follow each other with equal fields are read once, and their
//! grants are asked once.

use std::future::Future;

use crypto_proto::jwt::v1 as proto;
use jose::jwt::RejectReason;
use prost_types::Duration;
use service_kit::identity::Caller;
use tonic::{Request, Response, Status};

use super::batch::{Arrival, Room, item_error};
use super::fields::Fields;
use super::jwt::{demands, rejected, valid};
use super::places::Places;
use super::stream::{Answers, Work, still_admitted};
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, Demands, VerifyItem, VerifyVerdict};

pub(super) async fn answer(
    plane: &DataPlane,
    caller: &Caller,
    call: Request<proto::VerifyBatchRequest>,
) -> Result<Response<proto::VerifyBatchResponse>, Status> {
    use proto::verify_batch_result::Result as R;
    let arrival = Arrival::of(&call);
    let proto::VerifyBatchRequest { items, request_id } = call.into_inner();
    let mut room = Room::of_call(items.len(), &request_id)?;
    let items = items.into_iter().map(|item| (item.verify, item.timeout));
    let outcomes = judged(plane, caller, arrival, items).await;
    let results = outcomes.map(|outcome| {
        let result = match outcome.and_then(|verdict| fitting(verdict, &mut room)) {
            Ok(Verdict::Valid(token)) => R::Valid(token),
            Ok(Verdict::Rejected(reason)) => R::Rejected(rejected(reason)),
            Err(refusal) => R::Error(room.error(item_error(refusal))),
        };
        proto::VerifyBatchResult {
            result: Some(result),
        }
    });
    Ok(Response::new(proto::VerifyBatchResponse {
        results: results.collect(),
    }))
}

/// What an item of a batch comes to.
enum Verdict {
    Valid(proto::ValidToken),
    Rejected(RejectReason),
}

fn fitting(verdict: VerifyVerdict, room: &mut Room) -> Result<Verdict, Refusal> {
    match verdict {
        Ok(claims) => {
            let token = valid(claims);
            let texts = [
                &token.claims_json,
                &token.header_json,
                &token.kid,
                &token.key_set,
            ];
            room.take(texts.into_iter().map(String::len).sum())?;
            Ok(Verdict::Valid(token))
        }
        Err(reason) => Ok(Verdict::Rejected(reason)),
    }
}

/// The work of a `VerifyStream`.
pub(super) struct Verifying {
    plane: DataPlane,
    caller: Caller,
}

impl Verifying {
    pub(super) fn new(plane: DataPlane, caller: Caller) -> Self {
        Self { plane, caller }
    }
}

impl Work for Verifying {
    type Request = proto::VerifyStreamRequest;
    type Answer = proto::VerifyStreamResponse;

    fn admits(&self) -> Result<(), Status> {
        still_admitted(&self.plane, &self.caller)
    }

    fn run(
        &self,
        wave: Vec<Self::Request>,
        answers: Answers<Self::Answer>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (plane, caller, arrival) = (self.plane.clone(), self.caller.clone(), Arrival::now());
        async move {
            let ids: Vec<u64> = wave.iter().map(|request| request.id).collect();
            let items = wave.into_iter().map(|item| (item.verify, item.timeout));
            let outcomes = judged(&plane, &caller, arrival, items).await;
            let answer = |(id, outcome)| proto::VerifyStreamResponse {
                id,
                result: Some(streamed(outcome)),
            };
            answers.send(ids.into_iter().zip(outcomes).map(answer).collect());
        }
    }
}

fn streamed(outcome: Result<VerifyVerdict, Refusal>) -> proto::verify_stream_response::Result {
    use proto::verify_stream_response::Result as R;
    match outcome {
        Ok(Ok(claims)) => R::Valid(valid(claims)),
        Ok(Err(reason)) => R::Rejected(rejected(reason)),
        Err(refusal) => R::Error(item_error(refusal)),
    }
}

/// A message of the client: what to verify, and how long it may take.
type Item = (Option<proto::VerifyRequest>, Option<Duration>);

/// The verdicts on items, in their order.
async fn judged(
    plane: &DataPlane,
    caller: &Caller,
    arrival: Arrival,
    items: impl ExactSizeIterator<Item = Item>,
) -> impl ExactSizeIterator<Item = Result<VerifyVerdict, Refusal>> {
    let mut reader = Reader::default();
    let (items, places) = Places::read(items, |(request, timeout)| {
        reader.read(arrival, request, timeout)
    });
    let outcomes = plane.verify_batch(caller, &reader.demands, items).await;
    places.fill(outcomes)
}

/// Reads items, and each set of demands once.
#[derive(Default)]
struct Reader {
    demands: Vec<Demands>,
    last: Option<Last>,
}

/// The fields of the last item that was read, and where its demands are, while the next item may have equal ones.
struct Last {
    request: proto::VerifyRequest,
    at: usize,
}

impl Reader {
    fn read(
        &mut self,
        arrival: Arrival,
        request: Option<proto::VerifyRequest>,
        timeout: Option<Duration>,
    ) -> Result<VerifyItem, Refusal> {
        let mut fields = Fields::default();
        let due = arrival.due(&mut fields, timeout);
        let Some(mut request) = request else {
            fields.violation("verify", "is required");
            return fields.finish(None);
        };
        let token = std::mem::take(&mut request.token);
        let request_id = std::mem::take(&mut request.request_id);
        fields.inside("verify.").request_id(&request_id);
        let at = match &self.last {
            Some(last) if last.request == request => Some(last.at),
            _ => self.another(&mut fields, request),
        };
        fields.finish(at.map(|demands| VerifyItem {
            token,
            demands,
            due,
        }))
    }

    /// Reads demands that differ from those before.
    fn another(&mut self, fields: &mut Fields, request: proto::VerifyRequest) -> Option<usize> {
        let copy = request.clone();
        // Only what is sound as a whole is kept: another item with the same fault names it for itself.
        let demands = demands(fields, request, "verify.").filter(|_| fields.is_sound())?;
        let at = self.demands.len();
        self.demands.push(demands);
        self.last = Some(Last { request: copy, at });
        Some(at)
    }
}
