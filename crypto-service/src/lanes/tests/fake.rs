//! Lanes that work one by one, remember how they were filled, and fail where a test says so.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jose::key::{EcCurve, PublicKey};
use jose::provider::{Failed, Verify};
use multibuffer::{Class, LANES, Outcomes};

use crate::lanes::multi::{Signature, Verification};

#[derive(Debug)]
pub(crate) struct FakeLanes {
    pub(crate) pays_from: usize,
    /// The lane that fails; none at [`LANES`].
    pub(crate) fails: AtomicUsize,
    pub(crate) fills: Mutex<Vec<usize>>,
}

impl FakeLanes {
    pub(crate) fn new(pays_from: usize) -> Self {
        Self {
            pays_from,
            fails: AtomicUsize::new(LANES),
            fills: Mutex::default(),
        }
    }

    pub(crate) fn fills(&self) -> Vec<usize> {
        std::mem::take(&mut *self.fills.lock().unwrap())
    }

    pub(crate) fn sign<'a>(&self, jobs: impl Iterator<Item = Signature<'a>>) -> Outcomes {
        self.each(jobs.map(|job| job.key.single().sign(job.message, job.signature)))
    }

    pub(crate) fn verify<'a>(&self, jobs: impl Iterator<Item = Verification<'a>>) -> Outcomes {
        self.each(jobs.map(|job| job.key.verify(job.message, job.signature)))
    }

    fn each(&self, jobs: impl Iterator<Item = Result<(), Failed>>) -> Outcomes {
        let (mut outcomes, mut fill) = ([Err(Failed); LANES], 0);
        for (outcome, done) in outcomes.iter_mut().zip(jobs) {
            *outcome = done;
            fill += 1;
        }
        self.fills.lock().unwrap().push(fill);
        if let Some(outcome) = outcomes.get_mut(self.fails.load(Ordering::SeqCst)) {
            *outcome = Err(Failed);
        }
        outcomes
    }
}

pub(crate) fn class(key: &PublicKey) -> Option<Class> {
    match key {
        PublicKey::Rsa(key) if key.bits() == 2048 => Some(Class::Rsa2048),
        PublicKey::Ec(key) if key.curve() == EcCurve::P256 => Some(Class::P256),
        PublicKey::Okp(_) => Some(Class::Ed25519),
        _ => None,
    }
}
