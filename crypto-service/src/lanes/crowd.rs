//! Whether anybody else is there: a caller that is alone waits for nobody.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use service_kit::layers::InFlight;

/// Calls in flight.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// The service's own count: it knows of calls that have arrived and not come here yet.
    service: Option<InFlight>,
    /// What is here: of a stream, many come in one call.
    asks: AtomicUsize,
}

/// One ask, until dropped.
#[derive(Debug)]
pub(super) struct OneMore<'c>(&'c AtomicUsize);

impl Crowd {
    pub(super) const fn new(service: Option<InFlight>) -> Self {
        let asks = AtomicUsize::new(0);
        Self { service, asks }
    }

    pub(super) fn enter(&self) -> OneMore<'_> {
        self.asks.fetch_add(1, Relaxed);
        OneMore(&self.asks)
    }

    /// Whether there is more than one.
    pub(super) fn is_crowded(&self) -> bool {
        let in_service = || self.service.as_ref().is_some_and(|calls| calls.count() > 1);
        self.asks.load(Relaxed) > 1 || in_service()
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
