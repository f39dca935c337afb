//! A fake of the service that knows batches: it shows what it was asked, answers when it is let, and refuses what it is told to.

#![expect(clippy::unwrap_used, reason = "tests")]

mod jwe;
mod jwt;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client_core::{CryptoClient, Error, Options};
use crypto_proto::batch::v1::{FieldViolation, ItemError};
use crypto_proto::jwe::v1::jwe_service_server::JweServiceServer;
use crypto_proto::jwt::v1::jwt_service_server::JwtServiceServer;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::serve::{Pki, Served};

/// The header of a token by a key set. What stands before a `~` in a set's name is its algorithm.
fn header(set: &str) -> String {
    let alg = set.split('~').next().unwrap_or_default();
    jose::base64url::encode(format!(r#"{{"alg":"{alg}"}}"#))
}

/// One rpc, as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) rpc: &'static str,
    /// The request ids of the call or of its items, in their order.
    pub(crate) ids: Vec<String>,
    /// The key set, audience or other mark of each.
    pub(crate) marks: Vec<String>,
    pub(crate) timeouts: Vec<Option<Duration>>,
    pub(crate) deadline: Option<Duration>,
}

pub(crate) struct Batcher {
    /// Each rpc takes one to be answered.
    pub(crate) gate: Semaphore,
    pub(crate) seen: watch::Sender<Vec<Seen>>,
    /// What an item is refused with, by its request id; each once.
    pub(crate) refusals: Mutex<HashMap<String, VecDeque<Refusal>>>,
    /// What batches are refused with as a whole; each once.
    pub(crate) broken: Mutex<VecDeque<Status>>,
    /// Batches lose this many of their results.
    pub(crate) lost: AtomicUsize,
    /// Calls whose callers went away before the answer.
    pub(crate) abandoned: watch::Sender<usize>,
}

/// Why an item, or the call that stands for it, is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: &'static str,
    pub(crate) field: Option<&'static str>,
    pub(crate) retry_in: Option<Duration>,
}

impl Refusal {
    pub(crate) fn of(code: Code, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            field: None,
            retry_in: None,
        }
    }

    pub(crate) fn status(&self) -> Status {
        let mut details = ErrorDetails::with_error_info(
            self.reason,
            "crypto-service",
            HashMap::<String, String>::new(),
        );
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, "is wrong");
        }
        details.set_retry_info(self.retry_in);
        Status::with_error_details(self.code, "refused", details)
    }

    /// The same, for an item that stands in the field `of`.
    pub(crate) fn item(&self, of: &str) -> ItemError {
        let violation = |field| FieldViolation {
            field: format!("{of}.{field}"),
            description: "is wrong".into(),
        };
        ItemError {
            code: self.code.into(),
            reason: self.reason.into(),
            message: "refused".into(),
            field_violations: self.field.map(violation).into_iter().collect(),
            retry_in: self.retry_in.map(|after| after.try_into().unwrap()),
        }
    }
}

impl Batcher {
    /// Answers `open` rpcs, then waits for more to be let through.
    pub(crate) fn open(open: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(open),
            seen: watch::Sender::default(),
            refusals: Mutex::default(),
            broken: Mutex::default(),
            lost: AtomicUsize::new(0),
            abandoned: watch::Sender::default(),
        })
    }

    pub(crate) async fn serve(self: &Arc<Self>, pki: &Pki) -> Served {
        let routes = Routes::new(JwtServiceServer::from_arc(Arc::clone(self)))
            .add_service(JweServiceServer::from_arc(Arc::clone(self)));
        pki.serve("127.0.0.1:0", routes).await
    }

    pub(crate) fn let_through(&self, rpcs: usize) {
        self.gate.add_permits(rpcs);
    }

    pub(crate) fn refuse(&self, id: &str, refusal: Refusal) {
        let mut refusals = self.refusals.lock().unwrap();
        refusals.entry(id.into()).or_default().push_back(refusal);
    }

    pub(crate) fn refuse_batch(&self, status: Status) {
        self.broken.lock().unwrap().push_back(status);
    }

    /// Returns what was asked, once it is at least `rpcs` rpcs.
    pub(crate) async fn seen(&self, rpcs: usize) -> Vec<Seen> {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|seen| seen.len() >= rpcs)
            .await
            .unwrap()
            .clone()
    }

    pub(crate) fn rpcs(&self) -> Vec<&'static str> {
        self.seen.borrow().iter().map(|seen| seen.rpc).collect()
    }

    pub(crate) fn refusal(&self, id: &str) -> Option<Refusal> {
        let mut refusals = self.refusals.lock().unwrap();
        refusals.get_mut(id).and_then(VecDeque::pop_front)
    }

    /// Notes an rpc and waits until it may be answered.
    async fn arrived(&self, rpc: &'static str, deadline: Option<Duration>, items: Vec<Asked>) {
        let seen = Seen {
            rpc,
            ids: items.iter().map(|item| item.id.clone()).collect(),
            marks: items.iter().map(|item| item.mark.clone()).collect(),
            timeouts: items.iter().map(|item| item.timeout).collect(),
            deadline,
        };
        self.seen.send_modify(|all| all.push(seen));
        let mut left = Left(Some(self));
        self.gate.acquire().await.unwrap().forget();
        left.0 = None;
    }

    fn batch_refusal(&self) -> Result<(), Status> {
        match self.broken.lock().unwrap().pop_front() {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    fn results<T>(&self, mut results: Vec<T>) -> Vec<T> {
        let lost = self.lost.load(Ordering::SeqCst);
        results.truncate(results.len() - lost);
        results
    }
}

/// One thing that was asked for.
struct Asked {
    id: String,
    mark: String,
    timeout: Option<Duration>,
}

/// Counts a call whose caller went away.
struct Left<'a>(Option<&'a Batcher>);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Some(fake) = self.0 {
            fake.abandoned.send_modify(|abandoned| *abandoned += 1);
        }
    }
}

/// `grpc-timeout`.
fn told<T>(request: &Request<T>) -> Option<Duration> {
    let value = request.metadata().get("grpc-timeout")?.to_str().unwrap();
    let (number, unit) = value.split_at(value.len() - 1);
    let number: u64 = number.parse().unwrap();
    Some(match unit {
        "n" => Duration::from_nanos(number),
        "u" => Duration::from_micros(number),
        "m" => Duration::from_millis(number),
        _ => Duration::from_secs(number),
    })
}

fn timeout(wire: Option<prost_types::Duration>) -> Option<Duration> {
    wire.map(|timeout| timeout.try_into().unwrap())
}

pub(crate) fn client(options: Options) -> CryptoClient {
    CryptoClient::new(options.channel().unwrap())
}

/// Polls a call once, so that it is out or waits when this returns, and then lets it run.
pub(crate) async fn begun<T: Send + 'static>(
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> JoinHandle<Result<T, Error>> {
    let mut call = Box::pin(call);
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
    match polled {
        std::task::Poll::Ready(done) => tokio::spawn(async { done }),
        std::task::Poll::Pending => tokio::spawn(call),
    }
}
