//! Concurrent calls that share rpcs, without a timer.
//!
//! Of each class, four calls go out at once, each as it is. What arrives while four are out waits, and as soon as one of the four
//! returns, what waits goes out as one batch, which then counts as one of the four. So a call on its own never waits, and under
//! load the batches grow by themselves to what arrives within a quarter of an rpc's time.
//!
//! ```text
//!   call --- fewer than four out ---> permit, unary ---> answer
//!     |                                 | dropped: what waits takes the permit's place
//!     +----- four are out --> waits ----+--> one batch, or unary where one waits alone ---> an answer for each
//! ```
//!
//! - A permit is released when it is dropped, however its call ends: nobody waits for a caller that was cancelled.
//! - What waited is sent by a task of its own, which depends on none of its callers and ends with the last of them.
//! - Each item keeps its deadline (the item's `timeout` is what is left of it), its request id, and the repetitions of a call of its own.
//! - A service that knows no batches is asked one by one from then on.
//!
//! # Classes
//!
//! The answer of a batch waits for its slowest item, so one never holds operations whose costs differ: a class is what the client
//! knows of the key: see `class`.

mod batch;
mod class;
mod kind;
mod lot;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::class::Classes;
use self::kind::Kind;
pub(crate) use self::kind::{Decrypting, Encrypting, Signing, Verifying};
use self::lot::{Lot, Permit, Reply, Waiter};
use crate::channel::{Channel, Course};
use crate::error::{Code, Error};
use crate::retry::Repeat;

/// The calls of a channel that are out or wait, by their kind.
#[derive(Default)]
pub(crate) struct Lots {
    classes: Classes,
    sign: Lot<Signing>,
    verify: Lot<Verifying>,
    encrypt: Lot<Encrypting>,
    decrypt: Lot<Decrypting>,
}

/// A try that failed, and the endpoint that it was made at.
struct Failed {
    error: Error,
    endpoint: Option<usize>,
}

impl Channel {
    /// Makes a call of its own or as an item of a batch, and repeats it as one that does no harm.
    pub(crate) async fn coalesced<K: Kind>(&self, ask: &K::Ask) -> Result<K::Answer, Error> {
        let Some(lots) = &self.pool.lots else {
            return self
                .repeated(Repeat::Harmless, |attempt| {
                    K::unary(attempt, K::message(ask))
                })
                .await;
        };
        let class = K::class(ask, &lots.classes);
        let mut course = self.begin();
        loop {
            let failed = match self.once::<K>(lots, class, ask, &course).await {
                Ok(answer) => {
                    K::learn(ask, &answer, &lots.classes);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            let Failed { error, endpoint } = failed;
            self.again(&mut course, Repeat::Harmless, error, endpoint)
                .await?;
        }
    }

    async fn once<K: Kind>(
        &self,
        lots: &Lots,
        class: u64,
        ask: &K::Ask,
        course: &Course,
    ) -> Result<K::Answer, Failed> {
        let lot = K::lot(lots);
        let message = K::message(ask);
        if lot.alone() {
            return self.unary::<K>(message, course, None).await;
        }
        let now = Instant::now();
        if lot.enter(class, now) {
            let permit = Permit::<K>::new(&self.pool, class);
            return self.unary(message, course, Some(permit)).await;
        }
        let (reply, replied) = oneshot::channel();
        if let Some(waiter) = lot.wait(class, Waiter::new(message, course, reply), now) {
            let permit = Permit::<K>::new(&self.pool, class);
            return self.unary(waiter.message, course, Some(permit)).await;
        }
        match timeout_at(course.end, replied).await {
            Ok(Ok(Reply::Alone)) => self.unary::<K>(K::message(ask), course, None).await,
            Ok(Ok(Reply::Done(result, endpoint))) => result.map_err(|error| Failed {
                error,
                endpoint: Some(endpoint),
            }),
            Ok(Err(_dropped)) if Instant::now() < course.end => Err(Failed {
                error: Error::new(Code::Unavailable, "the channel's runtime has ended"),
                endpoint: None,
            }),
            // A waiter whose time has passed is dropped without a word: it knows by itself.
            Ok(Err(_)) | Err(_) => Err(Failed {
                error: self.too_late(),
                endpoint: None,
            }),
        }
    }

    async fn unary<K: Kind>(
        &self,
        message: K::Message,
        course: &Course,
        permit: Option<Permit<K>>,
    ) -> Result<K::Answer, Failed> {
        let member = self.pool.pick(&course.tried).map_err(|error| Failed {
            error,
            endpoint: None,
        })?;
        let result = self
            .attempt(member, course.end, |attempt| K::unary(attempt, message))
            .await;
        drop(permit);
        result.map_err(|error| Failed {
            error,
            endpoint: Some(member.endpoint),
        })
    }
}
