//! An operation a call.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use client_core::{
    Code, CryptoClient, Error,
    request::{Decrypt, Decryption, Encrypt, Sign, Verdict, Verify},
};

use super::{AUDIENCE, CLAIMS, Operation, Subject, encrypt};
use crate::load::Call;

pub(super) fn call(client: &CryptoClient, subject: &Subject) -> Call {
    let client = client.clone();
    match subject.operation {
        Operation::Sign => signs(client, Sign::json(&subject.key_set, CLAIMS)),
        Operation::Encrypt => encrypts(client, encrypt(&subject.key_set)),
        Operation::Verify => verifies(client, in_turn(subject, verify)),
        Operation::Decrypt => decrypts(client, in_turn(subject, |token| Decrypt::new(token))),
    }
}

/// Requests cross tasks behind one pointer: they are built once.
fn signs(client: CryptoClient, sign: Sign) -> Call {
    let shared = Arc::new((client, sign));
    Call::new(move || {
        let shared = Arc::clone(&shared);
        async move { shared.0.sign(&shared.1).await.map(|_token| 1) }
    })
}

fn encrypts(client: CryptoClient, encrypt: Encrypt) -> Call {
    let shared = Arc::new((client, encrypt));
    Call::new(move || {
        let shared = Arc::clone(&shared);
        async move { shared.0.encrypt(&shared.1).await.map(|_token| 1) }
    })
}

fn verifies(client: CryptoClient, requests: InTurn<Verify>) -> Call {
    Call::new(move || {
        let (client, requests) = (client.clone(), requests.clone());
        async move { valid(&client.verify(requests.next()?).await?) }
    })
}

fn decrypts(client: CryptoClient, requests: InTurn<Decrypt>) -> Call {
    Call::new(move || {
        let (client, requests) = (client.clone(), requests.clone());
        async move { opened(&client.decrypt(requests.next()?).await?) }
    })
}

pub(super) fn verify(token: &str) -> Verify {
    Verify::new(token, AUDIENCE)
}

/// A verdict against a good token is a failure here.
pub(super) fn valid(verdict: &Verdict) -> Result<u32, Error> {
    match verdict {
        Verdict::Valid(_) => Ok(1),
        other => Err(unexpected(&format!("{other:?}"))),
    }
}

pub(super) fn opened(decryption: &Decryption) -> Result<u32, Error> {
    match decryption {
        Decryption::Decrypted(_) => Ok(1),
        Decryption::Failed => Err(unexpected("a token was not decrypted")),
    }
}

pub(super) fn unexpected(what: &str) -> Error {
    Error::new(Code::Internal, what)
}

/// Requests for different tokens, one after the other, without end.
pub(super) struct InTurn<T> {
    requests: Arc<[T]>,
    turn: Arc<AtomicUsize>,
}

impl<T> InTurn<T> {
    pub(super) fn next(&self) -> Result<&T, Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let requests = self.requests.get(turn % self.requests.len().max(1));
        requests.ok_or_else(|| unexpected("there is no token"))
    }
}

impl<T> Clone for InTurn<T> {
    fn clone(&self) -> Self {
        Self {
            requests: Arc::clone(&self.requests),
            turn: Arc::clone(&self.turn),
        }
    }
}

pub(super) fn in_turn<T>(subject: &Subject, request: impl Fn(&str) -> T) -> InTurn<T> {
    InTurn {
        requests: subject.tokens.iter().map(|token| request(token)).collect(),
        turn: Arc::default(),
    }
}
