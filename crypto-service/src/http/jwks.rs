//! `/.well-known/jwks.json` and `/{tenant}/.well-known/jwks.json`, each with `?issuer=`.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::time::Duration;

use crate::refusal::Refusal;
use crate::usecase::{DataPlane, JwksAnswer, JwksQuery};

const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
const ANYWHERE: HeaderValue = HeaderValue::from_static("*");
const NOT_STORED: HeaderValue = HeaderValue::from_static("no-store");

#[derive(Clone)]
struct Jwks {
    plane: DataPlane,
    cap: Option<Duration>,
}

#[derive(Deserialize)]
struct Issuer {
    #[serde(default)]
    issuer: String,
}

/// The routes. `GET` answers `HEAD` too. `cap` shortens the longest max-age.
pub(crate) fn router(plane: DataPlane, cap: Option<Duration>) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(of_default))
        .route("/{tenant}/.well-known/jwks.json", get(of_tenant))
        .with_state(Jwks { plane, cap })
}

async fn of_default(
    State(jwks): State<Jwks>,
    Query(query): Query<Issuer>,
    headers: HeaderMap,
) -> Response {
    jwks.answer("default", &query.issuer, &headers)
}

async fn of_tenant(
    State(jwks): State<Jwks>,
    Path(tenant): Path<String>,
    Query(query): Query<Issuer>,
    headers: HeaderMap,
) -> Response {
    jwks.answer(&tenant, &query.issuer, &headers)
}

impl Jwks {
    fn answer(&self, tenant: &str, issuer: &str, headers: &HeaderMap) -> Response {
        match self
            .plane
            .public_jwks(JwksQuery { tenant, issuer }, self.cap)
        {
            Ok(answer) => document(&answer, headers),
            Err(refusal) => refused(&refusal),
        }
    }
}

fn document(answer: &JwksAnswer, headers: &HeaderMap) -> Response {
    let cache = format!("public, max-age={}", answer.max_age.as_secs());
    let common = [
        (header::ETAG, text(&answer.document.etag)),
        (header::CACHE_CONTROL, text(&cache)),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYWHERE),
    ];
    if has_it(headers, &answer.document.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (
        common,
        [(header::CONTENT_TYPE, JWK_SET)],
        answer.document.json.clone(),
    )
        .into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NOT_FOUND,
    };
    let headers = [
        (header::CACHE_CONTROL, NOT_STORED),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYWHERE),
    ];
    (status, headers, format!("{refusal}\n")).into_response()
}

/// RFC 9110 section 13.1.2: any of the tags, compared weakly, or `*`.
fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    let lines = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// Both are made here, of characters that headers allow.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(NOT_STORED)
}
