//! What must hold of the lanes. Nothing here is timed: a gate holds the only thread of a pool, and what waits behind it
//! is known.

mod callers;
pub(super) mod fake;
mod groups;
mod lines;
mod real;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use jose::algorithm::JwsAlgorithm;
use jose::jws::{EncodedHeader, UnsignedToken};
use jose::provider::{Failed, Sign, Verify};
use multibuffer::{Class as LaneClass, LANES};
use tokio::task::JoinHandle;

use super::class::Operation;
use super::multi::Multi;
use super::stats::Lines;
use super::*;
use fake::FakeLanes;

const RSA: Kind = Kind::Lanes(Operation::Sign, LaneClass::Rsa2048);
const EC: Kind = Kind::Lanes(Operation::Sign, LaneClass::P256);
const EC_VERIFY: Kind = Kind::Lanes(Operation::Verify, LaneClass::P256);

/// One thread a pool, and lanes that pay from `pays_from`.
pub(super) fn lanes(pays_from: usize) -> (Lanes, Arc<FakeLanes>) {
    lanes_with(pays_from, Duration::from_secs(3600))
}

fn lanes_with(pays_from: usize, queue: Duration) -> (Lanes, Arc<FakeLanes>) {
    started(pays_from, |options| options.queue = queue)
}

/// A gate holds a pool for ever, unless a test says otherwise.
fn started(pays_from: usize, change: impl FnOnce(&mut LaneOptions)) -> (Lanes, Arc<FakeLanes>) {
    let fake = Arc::new(FakeLanes::new(pays_from));
    let mut options = LaneOptions {
        engine: Engine::with(Multi::Fake(Arc::clone(&fake))),
        threads: NonZeroUsize::MIN,
        queue: Duration::from_secs(3600),
        idle_patience: Duration::from_secs(3600),
        in_flight: None,
    };
    change(&mut options);
    (Lanes::start(options).unwrap(), fake)
}

pub(super) fn ask() -> Ask {
    of("default")
}

fn of(tenant: &str) -> Ask {
    Ask {
        tenant: tenant.into(),
        deadline: None,
    }
}

/// Holds the only thread of a pool until dropped.
struct Gate {
    _open: mpsc::Sender<()>,
    held: JoinHandle<Result<bool, LaneError>>,
}

impl Gate {
    async fn hold(lanes: &Lanes, class: Class) -> Self {
        let (open, opened) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let lanes = lanes.clone();
        let work = move || {
            begun.send(()).unwrap();
            opened.recv().is_err()
        };
        let held = tokio::spawn(async move { lanes.run(ask(), class, work).await });
        begins.await.unwrap();
        Self { _open: open, held }
    }

    async fn open(self) {
        drop(self._open);
        assert_eq!(self.held.await.unwrap(), Ok(true));
    }
}

/// Lets other tasks run until so many jobs wait for threads.
async fn waiting(lanes: &Lanes, depth: usize) {
    while lanes.depth() != depth {
        tokio::task::yield_now().await;
    }
}

/// What a key does. The signature holds the number in every byte.
#[derive(Debug)]
pub(super) struct TestKey {
    number: u8,
    signatures: AtomicUsize,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fails,
    Panics,
}

impl TestKey {
    pub(super) fn new(number: u8) -> Arc<Self> {
        Self::with(number, None)
    }

    fn with(number: u8, fault: Option<Fault>) -> Arc<Self> {
        let signatures = AtomicUsize::new(0);
        Arc::new(Self {
            number,
            signatures,
            fault,
        })
    }

    fn count(&self) -> usize {
        self.signatures.load(Ordering::SeqCst)
    }

    pub(super) fn job(self: &Arc<Self>, kind: Kind) -> SignJob {
        let single: Arc<dyn Sign> = Arc::<Self>::clone(self);
        SignJob {
            key: SigningKey::of(single, kind),
            token: unsigned(),
        }
    }
}

impl Sign for TestKey {
    fn algorithm(&self) -> JwsAlgorithm {
        JwsAlgorithm::Es256
    }

    fn signature_len(&self) -> usize {
        64
    }

    fn sign(&self, _message: &[u8], signature: &mut [u8]) -> Result<(), Failed> {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.fault, Some(Fault::Panics), "planted");
        signature.fill(self.number);
        self.fault.map_or(Ok(()), |_fails| Err(Failed))
    }
}

/// A signature is good that holds one number in every byte.
impl Verify for TestKey {
    fn algorithm(&self) -> JwsAlgorithm {
        JwsAlgorithm::Es256
    }

    fn verify(&self, _message: &[u8], signature: &[u8]) -> Result<(), Failed> {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        let good = signature.iter().all(|byte| *byte == self.number);
        good.then_some(()).ok_or(Failed)
    }
}

fn unsigned() -> UnsignedToken {
    let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
    UnsignedToken::new(&header, b"{}", 64).unwrap()
}

/// What [`TestKey`] makes of [`unsigned`].
fn token(number: u8) -> String {
    unsigned().finish(&[number; 64])
}

/// Signs in a task of its own.
fn sign(lanes: &Lanes, ask: Ask, job: SignJob) -> JoinHandle<Result<String, LaneError>> {
    let lanes = lanes.clone();
    tokio::spawn(async move { lanes.sign(ask, job).await })
}
