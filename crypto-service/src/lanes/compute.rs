//! The work itself, on whatever thread: up to eight of a kind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jose::provider::{Failed, Verify};
use multibuffer::LANES;

use super::agree::Agreement;
use super::class::Kind;
use super::engine::Engine;
use super::multi::{Multi, Signature, Verification};
use super::stats::Stats;
use super::{LaneError, SignJob, VerifyJob};

/// A signature on a curve of up to 256 bits.
const SHORT: usize = 64;
/// RSA with 4096 bits: the longest that lanes make.
const LONG: usize = 512;
/// RSA with 8192 bits.
const LONGEST: usize = 1024;

/// What computes, and where it is counted.
#[derive(Debug)]
pub(super) struct Compute {
    pub(super) engine: Engine,
    pub(super) stats: Stats,
}

/// A verdict on a signature.
pub(super) type Verdict = Result<(), Failed>;

/// Work whose panic costs its own batch only.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, LaneError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| {
        tracing::error!("a crypto operation panicked");
        LaneError::Lost
    })
}

impl Compute {
    /// Signs at most eight jobs of one kind and hands out each with its token. Each item of `items` holds a job.
    pub(super) fn sign<I>(
        &self,
        kind: Kind,
        items: &mut Vec<I>,
        job: impl Fn(&I) -> &SignJob,
        done: impl FnMut(I, Result<&[u8], LaneError>),
    ) {
        if let (Kind::Lanes(_, class), Some(multi)) = (kind, self.engine.multi())
            && items.len() >= multi.sign_pays_from(class)
        {
            let short = class.signature_len() <= SHORT;
            if short {
                self.sign_in_lanes::<SHORT, I>(multi, items, job, done);
            } else {
                self.sign_in_lanes::<LONG, I>(multi, items, job, done);
            }
            return;
        }
        if items
            .iter()
            .all(|item| job(item).key.signature_len() <= SHORT)
        {
            sign_singly::<SHORT, I>(items, job, done);
        } else {
            sign_singly::<LONGEST, I>(items, job, done);
        }
    }

    /// A lane that fails costs nobody the answer: the job is done again by the other engine.
    fn sign_in_lanes<const LEN: usize, I>(
        &self,
        multi: &Multi,
        items: &mut Vec<I>,
        job: impl Fn(&I) -> &SignJob,
        mut done: impl FnMut(I, Result<&[u8], LaneError>),
    ) {
        let mut buffers = [[0; LEN]; LANES];
        let jobs = items.iter().zip(&mut buffers).filter_map(|(item, buffer)| {
            let SignJob { key, token } = job(item);
            Some(Signature {
                key,
                message: token.signing_input(),
                signature: buffer.get_mut(..key.signature_len())?,
            })
        });
        let mut outcomes = multi.sign(jobs);
        for ((item, buffer), outcome) in items.iter().zip(&mut buffers).zip(&mut outcomes) {
            if outcome.is_err() {
                self.stats.lane_failed();
                *outcome = signature(job(item), buffer).map(|_made| ());
            }
        }
        for ((item, buffer), outcome) in items.drain(..).zip(&buffers).zip(outcomes) {
            let made = outcome
                .ok()
                .and_then(|()| buffer.get(..job(&item).key.signature_len()));
            done(item, made.ok_or(LaneError::Failed));
        }
    }

    /// Makes at most eight key agreements, where lanes do that faster than one by one. Those that are not made, or fail, are left
    /// to whoever has the key.
    pub(super) fn agree<'a>(&self, agreements: impl Iterator<Item = &'a mut Agreement>) {
        let Some(multi) = self.engine.multi() else {
            return;
        };
        let mut agreements: Vec<_> = agreements.collect();
        if agreements.len() >= multi.agree_pays_from() {
            multi.agree(&mut agreements);
        }
    }

    /// Checks at most eight signatures of one kind.
    pub(super) fn verify<I>(
        &self,
        kind: Kind,
        items: &mut Vec<I>,
        job: impl Fn(&I) -> &VerifyJob,
        mut done: impl FnMut(I, Verdict),
    ) {
        let mut verdicts = [Err(Failed); LANES];
        let singly = |item| verdict(job(item));
        if let (Kind::Lanes(_, class), Some(multi)) = (kind, self.engine.multi())
            && items.len() >= multi.verify_pays_from(class)
        {
            verdicts = multi.verify(items.iter().map(|item| {
                let VerifyJob {
                    key,
                    message,
                    signature,
                } = job(item);
                Verification {
                    key,
                    message: message.bytes(),
                    signature,
                }
            }));
            // Neither a bad signature nor a bad lane: the other engine tells which.
            for (item, verdict) in items.iter().zip(&mut verdicts) {
                if verdict.is_err() && singly(item).is_ok() {
                    self.stats.lane_failed();
                    *verdict = Ok(());
                }
            }
        } else {
            for (item, verdict) in items.iter().zip(&mut verdicts) {
                *verdict = singly(item);
            }
        }
        for (item, verdict) in items.drain(..).zip(verdicts) {
            done(item, verdict);
        }
    }
}

fn sign_singly<const LEN: usize, I>(
    items: &mut Vec<I>,
    job: impl Fn(&I) -> &SignJob,
    mut done: impl FnMut(I, Result<&[u8], LaneError>),
) {
    let mut buffers = [[0; LEN]; LANES];
    let mut outcomes = [Err(Failed); LANES];
    for ((item, buffer), outcome) in items.iter().zip(&mut buffers).zip(&mut outcomes) {
        *outcome = signature(job(item), buffer).map(<[u8]>::len);
    }
    for ((item, buffer), outcome) in items.drain(..).zip(&buffers).zip(outcomes) {
        let made = outcome.ok().and_then(|len| buffer.get(..len));
        done(item, made.ok_or(LaneError::Failed));
    }
}

/// One signature by the engine that has every algorithm.
pub(super) fn signature<'b>(job: &SignJob, buffer: &'b mut [u8]) -> Result<&'b [u8], Failed> {
    let signature = buffer.get_mut(..job.key.signature_len()).ok_or(Failed)?;
    job.key
        .single()
        .sign(job.token.signing_input(), signature)?;
    Ok(signature)
}

/// A token signed where its caller stands.
pub(super) fn token(job: SignJob) -> Result<String, LaneError> {
    if job.key.signature_len() <= SHORT {
        token_of::<SHORT>(job)
    } else {
        token_of::<LONGEST>(job)
    }
}

fn token_of<const LEN: usize>(job: SignJob) -> Result<String, LaneError> {
    let mut buffer = [0; LEN];
    let signature = signature(&job, &mut buffer).map_err(|_failed| LaneError::Failed)?;
    Ok(job.token.finish(signature))
}

/// A signature checked where its caller stands.
pub(super) fn verdict(job: &VerifyJob) -> Verdict {
    job.key.verify(job.message.bytes(), &job.signature)
}
