//! Tokens: signed in batches by one instance, verified by another, and by the independent verifier; some of them once more when they are old.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use blackbox::Addresses;
use client_core::{
    CryptoClient,
    request::{SignBatch, Verdict, VerifyBatch},
};
use tokio::task::spawn_blocking;

use super::verifier::Verifier;
use crate::{
    Fault,
    dice::Dice,
    now, progress,
    stack::{Instance, sign, verify},
};

/// Tasks that sign and verify without a pause, each with a verifier process of its own.
pub(super) const CALLERS: usize = 2;
/// Tokens of one call.
const BATCH: usize = 200;
/// Of so many tokens one is verified again shortly before it ends.
const OLD_ONE_IN: usize = 400;
/// How long before.
const BEFORE_THE_END: Duration = Duration::from_secs(4);
/// What failed is said, up to so many.
const TOLD: usize = 20;

struct Place {
    token: CryptoClient,
    auth: CryptoClient,
    url: String,
}

/// What goes on while keys rotate.
pub(super) struct Traffic {
    names: Vec<String>,
    cache: Duration,
    lifetime: Duration,
    places: Vec<Place>,
    stopped: AtomicBool,
    signed: AtomicUsize,
    failed: AtomicUsize,
    again: AtomicUsize,
    kids: Mutex<BTreeSet<String>>,
    old: Mutex<Vec<(Instant, String)>>,
}

impl Traffic {
    pub(super) fn new(
        names: Vec<String>,
        cache: Duration,
        lifetime: Duration,
        instances: &[Instance],
    ) -> Self {
        let place = |instance: &Instance| Place {
            token: instance.token.clone(),
            auth: instance.auth.clone(),
            url: jwks(instance.addresses),
        };
        Self {
            names,
            cache,
            lifetime,
            places: instances.iter().map(place).collect(),
            stopped: AtomicBool::new(false),
            signed: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
            kids: Mutex::default(),
            old: Mutex::default(),
        }
    }

    /// Tokens asked for, and how many of them failed anywhere.
    pub(super) fn counted(&self) -> (usize, usize) {
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (of(&self.signed), of(&self.failed))
    }

    /// The same as a sentence.
    pub(super) fn told(&self) -> String {
        let (signed, failed) = self.counted();
        format!(
            "{signed} tokens by {} keys, {} verified again when old, {failed} failed",
            lock(&self.kids).len(),
            self.again.load(Ordering::SeqCst)
        )
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Waits for so many tokens; the sets keep rotating meanwhile.
    pub(super) async fn wait_for<F: Future<Output = Result<(), Fault>>>(
        &self,
        tokens: usize,
        rotate: impl Fn() -> F,
    ) -> Result<(), Fault> {
        let mut stands = (now(), 0);
        while self.counted().0 < tokens {
            rotate().await?;
            progress(&format!("rotation: {} of {tokens}", self.told()));
            if self.counted().0 != stands.1 {
                stands = (now(), self.counted().0);
            } else if stands.0.elapsed() > super::PATIENCE {
                return Err("no tokens are signed any more".into());
            }
        }
        Ok(())
    }

    pub(super) async fn keep_signing(
        self: Arc<Self>,
        caller: usize,
        mut dice: Dice,
    ) -> Result<(), Fault> {
        let mut verifier = Verifier::start(self.cache)?;
        let mut round = caller;
        while !self.stopped.load(Ordering::SeqCst) {
            round += 1;
            let tokens = self.sign(round, &mut dice).await;
            self.verify(round + 1 + round % 2, &tokens).await;
            verifier = self
                .verify_independently(verifier, dice.index(self.places.len()), tokens)
                .await?;
            let old = self.take_old();
            if !old.is_empty() {
                self.again.fetch_add(old.len(), Ordering::SeqCst);
                self.verify(round, &old).await;
                verifier = self.verify_independently(verifier, round, old).await?;
            }
        }
        Ok(())
    }

    fn place(&self, index: usize) -> Result<&Place, Fault> {
        let all = self.places.len();
        let place = index
            .checked_rem(all)
            .and_then(|index| self.places.get(index));
        place.ok_or_else(|| "no instance".into())
    }

    fn fail(&self, many: usize, why: &str) {
        if many > 0 && self.failed.fetch_add(many, Ordering::SeqCst) < TOLD {
            progress(&format!("rotation: failed: {why}"));
        }
    }

    /// A batch over sets that the dice choose.
    async fn sign(&self, index: usize, dice: &mut Dice) -> Vec<String> {
        let mut batch = SignBatch::new();
        for _ in 0..BATCH {
            if let Some(name) = dice.pick(&self.names) {
                batch = batch.item(sign(name));
            }
        }
        self.signed.fetch_add(BATCH, Ordering::SeqCst);
        let Ok(place) = self.place(index) else {
            return Vec::new();
        };
        let results = match place.token.sign_batch(&batch).await {
            Ok(results) => results,
            Err(error) => {
                self.fail(BATCH, &format!("a batch is not signed: {error}"));
                return Vec::new();
            }
        };
        let mut tokens = Vec::with_capacity(BATCH);
        for result in results {
            match result {
                Ok(signed) => {
                    lock(&self.kids).insert(signed.kid);
                    tokens.push(signed.token);
                }
                Err(error) => self.fail(1, &format!("not signed: {error}")),
            }
        }
        self.keep_some(&tokens);
        tokens
    }

    fn keep_some(&self, tokens: &[String]) {
        let due = now() + self.lifetime.saturating_sub(BEFORE_THE_END);
        let some = tokens.iter().step_by(OLD_ONE_IN);
        lock(&self.old).extend(some.map(|token| (due, token.clone())));
    }

    fn take_old(&self) -> Vec<String> {
        let (mut old, now) = (lock(&self.old), now());
        let (due, later): (Vec<_>, Vec<_>) = old.drain(..).partition(|(due, _)| *due <= now);
        *old = later;
        due.into_iter().map(|(_, token)| token).collect()
    }

    async fn verify(&self, index: usize, tokens: &[String]) {
        let Ok(place) = self.place(index) else { return };
        for part in tokens.chunks(BATCH) {
            let batch: VerifyBatch = part.iter().map(|token| verify(token)).collect();
            match place.auth.verify_batch(&batch).await {
                Err(error) => self.fail(part.len(), &format!("a batch is not verified: {error}")),
                Ok(verdicts) => {
                    for (token, verdict) in part.iter().zip(verdicts) {
                        if !matches!(verdict, Ok(Verdict::Valid(_))) {
                            let head = token.split('.').next().unwrap_or_default();
                            self.fail(1, &format!("{head} at {}: {verdict:?}", place.url));
                        }
                    }
                }
            }
        }
    }

    async fn verify_independently(
        &self,
        mut verifier: Verifier,
        index: usize,
        tokens: Vec<String>,
    ) -> Result<Verifier, Fault> {
        let url = self.place(index)?.url.clone();
        let verified = spawn_blocking(move || {
            let failed = verifier.verify(&url, &tokens)?;
            Ok::<_, Fault>((verifier, failed))
        });
        let (verifier, failed) = verified.await??;
        failed.iter().for_each(|why| self.fail(1, why));
        Ok(verifier)
    }

    /// What is left of the old ones, when they are due.
    pub(super) async fn verify_the_old(&self) -> Result<(), Fault> {
        let mut verifier = Verifier::start(self.cache)?;
        while !lock(&self.old).is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let old = self.take_old();
            self.again.fetch_add(old.len(), Ordering::SeqCst);
            self.verify(0, &old).await;
            verifier = self.verify_independently(verifier, 1, old).await?;
        }
        Ok(())
    }
}

fn jwks(addresses: Addresses) -> String {
    format!("http://{}/.well-known/jwks.json", addresses.http)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
