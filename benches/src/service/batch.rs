//! Many operations a call: batches, and token requests that are one batch each.

use std::sync::Arc;

use client_core::{
    CryptoClient, Error,
    request::{Decrypt, DecryptBatch, EncryptBatch, Sign, SignBatch, VerifyBatch},
};

use super::{
    CLAIMS, Operation, Subject, encrypt,
    single::{opened, valid, verify},
};
use crate::{Fault, load::Call};

/// Batches of `items`; one item that fails fails its call.
pub(super) fn call(client: &CryptoClient, subject: &Subject, items: usize) -> Result<Call, Fault> {
    let (client, done) = (client.clone(), u32::try_from(items)?);
    let tokens = || subject.tokens.iter().cycle().take(items);
    Ok(match subject.operation {
        Operation::Sign => {
            let sign = || Sign::json(&subject.key_set, CLAIMS);
            let batch = (0..items).fold(SignBatch::new(), |batch, _| batch.item(sign()));
            signs(client, batch, done)
        }
        Operation::Verify => {
            let batch: VerifyBatch = tokens().map(|token| verify(token)).collect();
            let shared = Arc::new((client, batch));
            Call::new(move || {
                let shared = Arc::clone(&shared);
                async move {
                    let results = shared.0.verify_batch(&shared.1).await?;
                    all(results, |verdict| valid(&verdict)).map(|()| done)
                }
            })
        }
        Operation::Encrypt => {
            let batch: EncryptBatch = (0..items).map(|_| encrypt(&subject.key_set)).collect();
            let shared = Arc::new((client, batch));
            Call::new(move || {
                let shared = Arc::clone(&shared);
                async move {
                    let results = shared.0.encrypt_batch(&shared.1).await?;
                    all(results, |_token| Ok(1)).map(|()| done)
                }
            })
        }
        Operation::Decrypt => {
            let batch: DecryptBatch = tokens().map(Decrypt::new).collect();
            let shared = Arc::new((client, batch));
            Call::new(move || {
                let shared = Arc::clone(&shared);
                async move {
                    let results = shared.0.decrypt_batch(&shared.1).await?;
                    all(results, |decryption| opened(&decryption)).map(|()| done)
                }
            })
        }
    })
}

/// Batches of tokens; a call counts as `done` operations.
pub fn signs(client: CryptoClient, batch: SignBatch, done: u32) -> Call {
    let shared = Arc::new((client, batch));
    Call::new(move || {
        let shared = Arc::clone(&shared);
        async move {
            let results = shared.0.sign_batch(&shared.1).await?;
            all(results, |_token| Ok(1)).map(|()| done)
        }
    })
}

fn all<T>(
    results: Vec<Result<T, Error>>,
    check: impl Fn(T) -> Result<u32, Error>,
) -> Result<(), Error> {
    results
        .into_iter()
        .try_for_each(|result| result.and_then(&check).map(drop))
}
