//! Operations on streams, as the client crate keeps them: its callers share one stream a connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use client_core::{CryptoClient, Error, request::Sign};

use super::{
    CLAIMS, Operation, Subject,
    single::{in_turn, unexpected, valid, verify},
};
use crate::{Fault, load::Call};

/// A call takes the next of `streams` streams.
pub(super) fn call(
    client: &CryptoClient,
    subject: &Subject,
    streams: usize,
) -> Result<Call, Fault> {
    match subject.operation {
        Operation::Sign => {
            let streams = Streams::open(streams, || client.sign_stream());
            let shared = Arc::new((streams, Sign::json(&subject.key_set, CLAIMS)));
            Ok(Call::new(move || {
                let shared = Arc::clone(&shared);
                async move { shared.0.next()?.sign(&shared.1).await.map(|_token| 1) }
            }))
        }
        Operation::Verify => {
            let streams = Streams::open(streams, || client.verify_stream());
            let shared = Arc::new((streams, in_turn(subject, verify)));
            Ok(Call::new(move || {
                let shared = Arc::clone(&shared);
                async move { valid(&shared.0.next()?.verify(shared.1.next()?).await?) }
            }))
        }
        Operation::Encrypt | Operation::Decrypt => Err("there are no streams of JWE".into()),
    }
}

struct Streams<T> {
    streams: Vec<T>,
    turn: AtomicUsize,
}

impl<T> Streams<T> {
    fn open(streams: usize, open: impl Fn() -> T) -> Self {
        Self {
            streams: (0..streams).map(|_| open()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Result<&T, Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let stream = self.streams.get(turn % self.streams.len().max(1));
        stream.ok_or_else(|| unexpected("there is no stream"))
    }
}
