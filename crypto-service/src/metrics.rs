//! The service's own metrics; those of its rpcs are service-kit's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jose::algorithm::JwsAlgorithm;
use jose::jwt::RejectReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Unit;
use service_kit::telemetry::Metrics;

use crate::keys::{KeysReader, PrivateKeys};
use crate::lanes::{Lanes, LineReport, Report};

type Labels = [(&'static str, &'static str); 1];

/// Counters of what was done. Their label values are fixed at start, so that counting takes no lock.
#[derive(Clone)]
pub struct ServiceMetrics(Arc<Counters>);

struct Counters {
    signatures: HashMap<&'static str, Counter>,
    verdicts: HashMap<&'static str, Counter>,
    decrypted: Counter,
    not_decrypted: Counter,
    feed_connected: Gauge,
    feed_streams: Counter,
}

impl ServiceMetrics {
    /// Registers the counters.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let signatures = Family::<Labels, Counter>::default();
        let verdicts = Family::<Labels, Counter>::default();
        let decryptions = Family::<Labels, Counter>::default();
        let (feed_connected, feed_streams) = (Gauge::default(), Counter::default());
        metrics.with(|registry| {
            registry.register(
                "signatures",
                "signatures made, by algorithm",
                signatures.clone(),
            );
            registry.register(
                "verdicts",
                "verdicts on signed tokens: valid, or the reason",
                verdicts.clone(),
            );
            registry.register(
                "decryptions",
                "verdicts on encrypted tokens",
                decryptions.clone(),
            );
            registry.register(
                "feed_connected",
                "1 while the key feed is connected",
                feed_connected.clone(),
            );
            registry.register(
                "feed_streams",
                "streams of the key feed that were opened",
                feed_streams.clone(),
            );
        });
        let names = RejectReason::ALL.map(RejectReason::name);
        Self(Arc::new(Counters {
            signatures: rows(
                &signatures,
                "algorithm",
                JwsAlgorithm::ALL.iter().map(|algorithm| algorithm.name()),
            ),
            verdicts: rows(&verdicts, "verdict", names.into_iter().chain(["VALID"])),
            decrypted: decryptions.get_or_create_owned(&[("verdict", "DECRYPTED")]),
            not_decrypted: decryptions.get_or_create_owned(&[("verdict", "DECRYPTION_FAILED")]),
            feed_connected,
            feed_streams,
        }))
    }

    pub(crate) fn signed(&self, algorithm: &'static str) {
        count(&self.0.signatures, algorithm);
    }

    /// A verdict: valid, or the reason.
    pub(crate) fn verified(&self, rejected: Option<&'static str>) {
        count(&self.0.verdicts, rejected.unwrap_or("VALID"));
    }

    pub(crate) fn decrypted(&self, decrypted: bool) {
        if decrypted {
            self.0.decrypted.inc()
        } else {
            self.0.not_decrypted.inc()
        };
    }

    pub(crate) fn feed_connected(&self, connected: bool) {
        self.0.feed_connected.set(i64::from(connected));
        if connected {
            self.0.feed_streams.inc();
        }
    }
}

impl fmt::Debug for ServiceMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceMetrics").finish_non_exhaustive()
    }
}

fn rows(
    family: &Family<Labels, Counter>,
    label: &'static str,
    values: impl IntoIterator<Item = &'static str>,
) -> HashMap<&'static str, Counter> {
    values
        .into_iter()
        .map(|value| (value, family.get_or_create_owned(&[(label, value)])))
        .collect()
}

fn count(rows: &HashMap<&'static str, Counter>, label: &'static str) {
    if let Some(counter) = rows.get(label) {
        counter.inc();
    }
}

/// What is read when the page is asked for: keys, lease, cache, queue.
#[derive(Debug)]
pub(crate) struct StateCollector {
    pub(crate) keys: KeysReader,
    pub(crate) private: PrivateKeys,
    pub(crate) lanes: Lanes,
}

impl StateCollector {
    pub(crate) fn register(self, metrics: &Metrics) {
        metrics.with(|registry| registry.register_collector(Box::new(self)));
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.keys.snapshot();
        let seconds = |left: Result<Duration, _>| left.unwrap_or_default().as_secs();
        let gauges = [
            (
                "key_epoch",
                "the epoch of the key store that is applied",
                snapshot.epoch(),
            ),
            (
                "key_sets",
                "key sets held",
                u64::try_from(snapshot.key_sets()).unwrap_or(u64::MAX),
            ),
            (
                "token_revocations",
                "live revocations of tokens held",
                u64::try_from(snapshot.revoked_tokens()).unwrap_or(u64::MAX),
            ),
            (
                "key_cache_keys",
                "parsed private keys held, about",
                self.private.len(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let leases = [
            (
                "sign_lease",
                "what is left of the lease to sign",
                seconds(self.keys.sign_lease()),
            ),
            (
                "verify_lease",
                "what is left of the lease to verify",
                seconds(self.keys.verify_lease()),
            ),
        ];
        for (name, help, value) in leases {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                gauge.metric_type(),
            )?)?;
        }
        let counters = [
            (
                "key_cache_hits",
                "look-ups that found the parsed key",
                self.private.hits(),
            ),
            (
                "key_cache_misses",
                "look-ups that parsed the key",
                self.private.misses(),
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        lanes(&self.lanes.report(), &mut encoder)
    }
}

/// What waits for crypto and what was done together.
fn lanes(report: &Report, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let labels = |line: &LineReport| [("class", line.class), ("operation", line.operation)];
    let mut engine = encoder.encode_descriptor(
        "lane_engine",
        "what computes signatures",
        None,
        MetricType::Gauge,
    )?;
    let gauge = ConstGauge::new(1_u64);
    gauge.encode(engine.encode_family(&[("engine", report.engine)])?)?;
    let mut depths = encoder.encode_descriptor(
        "lane_queue_depth",
        "operations that wait, by cost class",
        None,
        MetricType::Gauge,
    )?;
    for line in &report.lines {
        let gauge = ConstGauge::new(u64::try_from(line.depth).unwrap_or(u64::MAX));
        gauge.encode(depths.encode_family(&labels(line))?)?;
    }
    let mut waits = encoder.encode_descriptor(
        "lane_queue_wait",
        "how long what waits will take, by cost class; an estimate",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for line in &report.lines {
        let gauge = ConstGauge::new(line.wait.as_secs_f64());
        gauge.encode(waits.encode_family(&labels(line))?)?;
    }
    let mut fills = encoder.encode_descriptor(
        "lane_batch_fill",
        "operations that were computed at once",
        None,
        MetricType::Histogram,
    )?;
    for line in &report.lines {
        fills
            .encode_family(&labels(line))?
            .encode_histogram::<Labels>(
                line.operations(),
                line.fills.iter().sum(),
                &line.buckets(),
                None,
            )?;
    }
    let mut refused = encoder.encode_descriptor(
        "lane_refusals",
        "operations that were not begun, by reason",
        None,
        MetricType::Counter,
    )?;
    for (reason, count) in [("overloaded", report.overloaded), ("deadline", report.late)] {
        let counter = ConstCounter::new(count);
        counter.encode(refused.encode_family(&[("reason", reason)])?)?;
    }
    let counter = ConstCounter::new(report.lane_failures);
    counter.encode(encoder.encode_descriptor(
        "lane_failures",
        "operations that failed in a lane and were done again one by one",
        None,
        MetricType::Counter,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Reported(fn() -> Report);

    impl Collector for Reported {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            lanes(&(self.0)(), &mut encoder)
        }
    }

    fn report() -> Report {
        let line = LineReport {
            class: "ec",
            operation: "sign",
            depth: 3,
            wait: Duration::from_millis(20),
            fills: [4, 0, 0, 0, 0, 0, 0, 2],
        };
        Report {
            engine: "multibuffer",
            lines: vec![line],
            overloaded: 5,
            late: 6,
            lane_failures: 7,
        }
    }

    #[test]
    fn the_lanes_show_what_waits_and_what_was_done_together() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Reported(report)));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for line in [
            r#"lane_engine{engine="multibuffer"} 1"#,
            r#"lane_queue_depth{class="ec",operation="sign"} 3"#,
            r#"lane_queue_wait_seconds{class="ec",operation="sign"} 0.02"#,
            r#"lane_batch_fill_sum{class="ec",operation="sign"} 20.0"#,
            r#"lane_batch_fill_count{class="ec",operation="sign"} 6"#,
            r#"lane_batch_fill_bucket{le="1.0",class="ec",operation="sign"} 4"#,
            r#"lane_batch_fill_bucket{le="8.0",class="ec",operation="sign"} 6"#,
            r#"lane_refusals_total{reason="overloaded"} 5"#,
            r#"lane_refusals_total{reason="deadline"} 6"#,
            "lane_failures_total 7",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
