//! What is counted of the records.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use service_kit::telemetry::Metrics;

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) recorded: Counter,
    pub(super) refused: Counter,
    pub(super) unrecorded: Counter,
    pub(super) shipped: Counter,
    pub(super) lost_bytes: Counter,
    pub(super) bytes: Gauge,
    pub(super) recording: Gauge,
}

impl Counters {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.with(|registry| {
            let counters = [
                ("issued_recorded", "issued tokens that were recorded", &self.recorded),
                ("issued_refused", "tokens that were not signed because they could not be recorded", &self.refused),
                ("issued_unrecorded", "tokens that were signed without the record that their key set asks for", &self.unrecorded),
                ("issued_shipped_frames", "frames of records that a key-manager has taken", &self.shipped),
                ("issued_lost_bytes", "bytes of records that a crash or somebody else cut off, or that cannot be read", &self.lost_bytes),
            ];
            for (name, help, counter) in counters {
                registry.register(name, help, counter.clone());
            }
            registry.register("issued_bytes", "bytes of records that no key-manager has yet", self.bytes.clone());
            registry.register("issued_recording", "1 while what is issued can be recorded", self.recording.clone());
        });
    }
}
