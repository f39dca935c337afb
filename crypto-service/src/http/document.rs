//! A JWK Set as it is served: rendered once per change, with its ETag.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::keys::KeySet;

/// A rendered JWK Set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksDocument {
    /// The JSON text.
    pub json: Bytes,
    /// A strong ETag, with its quotes.
    pub etag: String,
    /// When the next planned change of the document comes, in seconds since the epoch.
    pub next_change: Option<u64>,
}

impl JwksDocument {
    /// Renders the published keys of these sets, in their order.
    pub(crate) fn render(sets: &[&Arc<KeySet>]) -> Arc<Self> {
        let keys: Vec<String> = sets.iter().flat_map(|set| set.published()).collect();
        let json = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let hash = digest(&SHA256, json.as_bytes());
        let etag = format!("\"{}\"", jose::base64url::encode(hash.as_ref()));
        let next_change = sets.iter().filter_map(|set| set.next_change).min();
        Arc::new(Self {
            json: json.into(),
            etag,
            next_change,
        })
    }

    /// How long the document may be kept: the cap, until the next change, and not beyond the lease.
    pub(crate) fn max_age(&self, cap: Duration, lease: Duration, now: Duration) -> Duration {
        let until_change = self
            .next_change
            .map(|at| Duration::from_secs(at).saturating_sub(now));
        let bound = until_change.unwrap_or(cap).min(cap).min(lease);
        Duration::from_secs(bound.as_secs())
    }
}

impl Default for JwksDocument {
    /// A JWK Set without keys.
    fn default() -> Self {
        Arc::unwrap_or_clone(Self::render(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_the_least_of_cap_next_change_and_lease() {
        let secs = Duration::from_secs;
        for (next_change, lease, expected) in [
            (None, 900, 300),
            (None, 20, 20),
            (Some(1_100), 900, 100),
            (Some(1_100), 50, 50),
            (Some(5_000), 900, 300),
            (Some(900), 900, 0),
        ] {
            let document = JwksDocument {
                next_change,
                ..JwksDocument::default()
            };
            let age = document.max_age(secs(300), secs(lease), secs(1_000));
            assert_eq!(age, secs(expected), "change {next_change:?}, lease {lease}");
        }
    }

    #[test]
    fn no_keys_are_an_empty_set_with_a_quoted_etag() {
        let document = JwksDocument::default();
        assert_eq!(document.json, r#"{"keys":[]}"#);
        assert!(
            document.etag.starts_with('"') && document.etag.len() == 45,
            "{}",
            document.etag
        );
    }
}
