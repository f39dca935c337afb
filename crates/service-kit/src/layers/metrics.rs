//! Counts and latencies per rpc and code.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;
use tonic::Code;

use crate::telemetry::Metrics;

/// The label of every path that is not a known rpc: peers must not be able to make up time series.
const OTHER: &str = "other";
/// gRPC has the codes 0 to 16.
const CODES: usize = 17;

type Labels = Vec<(&'static str, String)>;

/// The metrics of a daemon's rpcs. Clones share them.
#[derive(Clone)]
pub struct RpcMetrics(Arc<Table>);

struct Table {
    by_path: HashMap<String, Arc<RpcRow>>,
    other: Arc<RpcRow>,
}

/// One rpc's metrics, looked up once per call; counting takes no lock.
pub(super) struct RpcRow {
    rpc: String,
    counts: Family<Labels, Counter>,
    by_code: [OnceLock<Counter>; CODES],
    seconds: Histogram,
}

impl RpcMetrics {
    /// Registers `rpcs` and `rpc_duration_seconds` for the rpcs of these names, each `package.Service/Method`.
    pub fn new<'a>(metrics: &Metrics, rpcs: impl IntoIterator<Item = &'a str>) -> Self {
        let counts = Family::<Labels, Counter>::default();
        let seconds = Family::<Labels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_05, 2.0, 18))
        });
        metrics.with(|registry| {
            registry.register("rpcs", "calls, by rpc and code", counts.clone());
            registry.register(
                "rpc_duration_seconds",
                "time to the end of the answer, by rpc",
                seconds.clone(),
            );
        });
        let row = |rpc: &str| {
            let seconds = seconds.get_or_create_owned(&vec![("rpc", rpc.to_owned())]);
            Arc::new(RpcRow {
                rpc: rpc.to_owned(),
                counts: counts.clone(),
                by_code: Default::default(),
                seconds,
            })
        };
        let by_path = rpcs
            .into_iter()
            .map(|rpc| (format!("/{rpc}"), row(rpc)))
            .collect();
        Self(Arc::new(Table {
            by_path,
            other: row(OTHER),
        }))
    }

    pub(super) fn row(&self, path: &str) -> Arc<RpcRow> {
        Arc::clone(self.0.by_path.get(path).unwrap_or(&self.0.other))
    }
}

impl fmt::Debug for RpcMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcMetrics")
            .field("rpcs", &self.0.by_path.len())
            .finish_non_exhaustive()
    }
}

impl RpcRow {
    /// The rpc's full name, or `other`.
    pub(super) fn rpc(&self) -> &str {
        &self.rpc
    }

    pub(super) fn count(&self, code: Code, start: Instant) {
        self.seconds.observe(start.elapsed().as_secs_f64());
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        if let Some(counter) = self.by_code.get(number) {
            counter.get_or_init(|| self.counter(code)).inc();
        }
    }

    /// A series appears with its first call, so that a quiet daemon's page stays short.
    fn counter(&self, code: Code) -> Counter {
        let labels = vec![("rpc", self.rpc.clone()), ("code", format!("{code:?}"))];
        self.counts.get_or_create_owned(&labels)
    }
}
