//! What is counted of the records.

use prometheus_client::metrics::counter::Counter;

use super::IssuedError;

/// Counters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct IssuedMetrics {
    taken: Counter,
    refused: Counter,
    torn: Counter,
    forgotten: Counter,
}

impl IssuedMetrics {
    /// Registers everything.
    pub fn register(&self, metrics: &service_kit::telemetry::Metrics) {
        metrics.with(|registry| {
            registry.register(
                "issued_taken",
                "records of issued tokens that instances have shipped here",
                self.taken.clone(),
            );
            registry.register(
                "issued_refused",
                "shipments of records that were refused",
                self.refused.clone(),
            );
            registry.register(
                "issued_torn",
                "segments of records that a killed process has not ended",
                self.torn.clone(),
            );
            registry.register(
                "issued_forgotten",
                "records that were dropped after their retention",
                self.forgotten.clone(),
            );
        });
    }

    pub(super) fn taken(&self, entries: u64) {
        self.taken.inc_by(entries);
    }

    pub(super) fn refused(&self, error: &IssuedError) {
        self.refused.inc();
        tracing::warn!(%error, "a shipment of records of issued tokens is refused");
    }

    pub(super) fn torn(&self, segments: u64) {
        self.torn.inc_by(segments);
    }

    pub(super) fn forgotten(&self, entries: usize) {
        self.forgotten
            .inc_by(u64::try_from(entries).unwrap_or_default());
    }
}
