//! Tokens that are signed at one instance and verified at the next, without a pause and without a second try.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use client_core::CryptoClient;

use super::SETS;
use crate::{
    progress,
    stack::{Instance, sign, verdict},
};

const PAUSE: Duration = Duration::from_millis(5);
/// What failed is said, up to so many.
const TOLD: usize = 20;

pub(super) struct Tokens {
    places: Vec<(CryptoClient, CryptoClient)>,
    stopped: AtomicBool,
    called: AtomicUsize,
    failed: AtomicUsize,
}

impl Tokens {
    pub(super) fn of(instances: &[Instance]) -> Arc<Self> {
        let place = |instance: &Instance| (instance.token.clone(), instance.auth.clone());
        Arc::new(Self {
            places: instances.iter().map(place).collect(),
            stopped: AtomicBool::new(false),
            called: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        })
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Calls, and how many of them failed.
    pub(super) fn counted(&self) -> (usize, usize) {
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (of(&self.called), of(&self.failed))
    }

    pub(super) fn told(&self) -> String {
        let (called, failed) = self.counted();
        format!("{called} calls, {failed} failed")
    }

    pub(super) async fn keep_going(self: Arc<Self>) {
        let pairs = self.places.iter().zip(self.places.iter().cycle().skip(1));
        for (((signer, _), (_, verifier)), set) in pairs.cycle().zip(SETS.iter().cycle()) {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            self.once(signer, verifier, set).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(&self, signer: &CryptoClient, verifier: &CryptoClient, set: &str) {
        self.called.fetch_add(1, Ordering::SeqCst);
        let token = match signer.sign(&sign(set)).await {
            Ok(signed) => signed.token,
            Err(error) => return self.fail(&format!("not signed: {error}")),
        };
        self.called.fetch_add(1, Ordering::SeqCst);
        match verdict(verifier, &token).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => self.fail(&format!("rejected: {reason:?}")),
            Err(error) => self.fail(&format!("not verified: {error}")),
        }
    }

    fn fail(&self, why: &str) {
        if self.failed.fetch_add(1, Ordering::SeqCst) < TOLD {
            progress(&format!("etcd: {why}"));
        }
    }
}
