//! Logs, metrics and the operational HTTP routes.
//!
//! Log lines are lower-case, without a full stop, with values as fields; never a token, a key or a claim value.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What is logged: a level, or directives such as `info,h2=warn`.
    pub filter: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was started before in this process.
    #[error("logging has been started before in this process")]
    Twice,
}

/// Starts logging to standard error, for the whole process.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(false);
    let started = match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_second| TelemetryError::Twice)
}

/// The metrics of a daemon. Clones share the registry.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A registry whose names begin with `prefix`, and a `build` metric that says what runs.
    pub fn new(prefix: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        let build = Info::new(vec![("version", version)]);
        registry.register("build", "the version that runs", build);
        Self(Arc::new(Mutex::new(registry)))
    }

    /// Registers metrics. The lock is held for registration and rendering only: metrics themselves are atomics.
    pub fn with<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String fails only when a metric's own encoder does; what was written stays sound.
        let _partial = self.with(|registry| encode(&mut text, registry));
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An answer of `/healthz` or `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// 200.
    Ok,
    /// 503, with the reason as the body: for operators, without secrets.
    Failing(Cow<'static, str>),
}

impl IntoResponse for Probe {
    fn into_response(self) -> Response {
        match self {
            Self::Ok => (StatusCode::OK, "ok\n").into_response(),
            Self::Failing(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
            }
        }
    }
}

/// The routes `/healthz` (is the process sound), `/readyz` (shall it get traffic) and `/metrics`.
pub fn operations_router(
    metrics: Metrics,
    healthy: impl Fn() -> Probe + Clone + Send + Sync + 'static,
    ready: impl Fn() -> Probe + Clone + Send + Sync + 'static,
) -> Router {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let render = move || async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render()) };
    Router::new()
        .route("/healthz", get(move || async move { healthy() }))
        .route("/readyz", get(move || async move { ready() }))
        .route("/metrics", get(render))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_and_metrics_say_what_is_so() {
        let metrics = Metrics::new("crypto", "1.2.3");
        let not_yet = || Probe::Failing("no snapshot yet".into());
        let router = operations_router(metrics, || Probe::Ok, not_yet);
        assert_eq!(
            ask(&router, "/healthz").await,
            (StatusCode::OK, "ok\n".to_owned())
        );
        let (status, reason) = ask(&router, "/readyz").await;
        assert_eq!(
            (status, reason.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "no snapshot yet\n")
        );
        let (_, text) = ask(&router, "/metrics").await;
        assert!(
            text.contains(r#"crypto_build_info{version="1.2.3"} 1"#),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let settings = LogSettings {
            filter: "info,=,[".to_owned(),
            ..LogSettings::default()
        };
        let error = init(&settings).unwrap_err().to_string();
        assert!(error.starts_with("log.filter"), "{error}");
    }
}
