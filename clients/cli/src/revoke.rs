//! `token revoke`: tokens that shall not count any more.

use std::time::SystemTime;

use client_management::{ManagementClient, Matching, RevokeToken};
use serde_json::json;

use crate::{
    args::{self, Global},
    connect::{channel, failed},
    error::Error,
    output::answer,
    token::rfc3339,
};

pub(crate) async fn token(global: &Global, which: args::RevokeToken) -> Result<(), Error> {
    let client = channel(global, &global.keys_endpoint, "management").map(ManagementClient::new)?;
    let revoked = client.revoke_token(&request(global, which)?).await;
    let revoked = revoked.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let elapsed_ms = u64::try_from(revoked.elapsed.as_millis()).ok();
    let issued_before = revoked.issued_before.and_then(rfc3339);
    let forgotten_at = revoked.forgotten_at.and_then(rfc3339);
    let shown = json!({
        "key_sets": revoked.key_sets, "issued_before": issued_before, "forgotten_at": forgotten_at,
        "acked": revoked.acked, "total": revoked.total, "stragglers": revoked.stragglers, "elapsed_ms": elapsed_ms,
    });
    answer(global.output, &shown, || {
        let mut text = format!(
            "{} of {} instances refuse it after {} ms, in {}",
            revoked.acked,
            revoked.total,
            revoked.elapsed.as_millis(),
            revoked.key_sets.join(", ")
        );
        for straggler in &revoked.stragglers {
            text.push_str(&format!("\n  accepts it until its lease ends: {straggler}"));
        }
        text
    })
}

fn request(global: &Global, which: args::RevokeToken) -> Result<RevokeToken, Error> {
    let revoke = match which.jti {
        Some(jti) => match which.expires_at {
            Some(end) => RevokeToken::jti_until(jti, SystemTime::from(end)),
            None => RevokeToken::jti(jti),
        },
        None => RevokeToken::matching(matching(
            which.sub,
            which.sid,
            which.client,
            which.issued_before,
        )?),
    };
    let revoke = revoke.tenant(&global.tenant);
    let revoke = match which.request_id {
        Some(id) => revoke.request_id(id),
        None => revoke,
    };
    Ok(which.key_set.into_iter().fold(revoke, RevokeToken::key_set))
}

fn matching(
    sub: Option<String>,
    sid: Option<String>,
    client: Option<String>,
    issued_before: Option<jiff::Timestamp>,
) -> Result<Matching, Error> {
    let matching = match (sub, sid, client) {
        (Some(sub), sid, client) => with(Matching::subject(sub), sid, client),
        (None, Some(sid), client) => with(Matching::session(sid), None, client),
        (None, None, Some(client)) => Matching::client(client),
        (None, None, None) => {
            return Err(Error::usage("name tokens: --jti, --sub, --sid or --client"));
        }
    };
    Ok(match issued_before {
        Some(at) => matching.issued_before(SystemTime::from(at)),
        None => matching,
    })
}

fn with(matching: Matching, sid: Option<String>, client: Option<String>) -> Matching {
    let matching = match sid {
        Some(sid) => matching.and_session(sid),
        None => matching,
    };
    match client {
        Some(client) => matching.and_client(client),
        None => matching,
    }
}
