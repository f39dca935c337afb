//! `subscriber`: instances of the crypto-service.

use client_admin::Subscriber;
use serde_json::{Value, json};

use crate::{
    args::{self, Global},
    connect::failed,
    error::Error,
    keyset::{client, push_list},
    output::answer,
    token::rfc3339,
};

pub(crate) async fn execute(global: &Global, command: args::Subscriber) -> Result<(), Error> {
    let admin = client(global)?;
    let refused = |error| failed(&global.keys_endpoint, &error);
    match command {
        args::Subscriber::List { live } => {
            let listed = admin.subscribers(live).await.map_err(refused)?;
            let shown = Value::Array(listed.iter().map(subscriber_json).collect());
            answer(global.output, &shown, || {
                listed.iter().map(text).collect::<Vec<_>>().join("\n")
            })
        }
        args::Subscriber::Evict { name, force } => {
            let evicted = admin.evict(&name, force).await.map_err(refused)?;
            let shown = json!({
                "subscriber": subscriber_json(&evicted.subscriber),
                "may_have_broken": evicted.may_have_broken,
            });
            answer(global.output, &shown, || {
                let mut text = text(&evicted.subscriber);
                push_list(&mut text, "may have broken", &evicted.may_have_broken);
                text
            })
        }
    }
}

fn subscriber_json(subscriber: &Subscriber) -> Value {
    json!({
        "name": subscriber.name, "caller": subscriber.caller, "scope": subscriber.scope,
        "acked_epoch": subscriber.acked_epoch, "lease_end": subscriber.lease_end.and_then(rfc3339),
        "live": subscriber.live, "connected": subscriber.connected,
        "clock_offset_ms": subscriber.clock_offset_ms,
        "evicted_at": subscriber.evicted_at.and_then(rfc3339),
        "evicted_by_force": subscriber.evicted_by_force,
    })
}

fn text(subscriber: &Subscriber) -> String {
    let live = if subscriber.live { "live" } else { "over" };
    let connected = if subscriber.connected {
        "connected"
    } else {
        "not connected"
    };
    let lease = subscriber.lease_end.and_then(rfc3339).unwrap_or_default();
    let mut text = format!(
        "{}\n  lease {live}, until {lease}; {connected}; acknowledged epoch {}; fed {}",
        subscriber.name,
        subscriber.acked_epoch,
        subscriber.scope.join(" ")
    );
    if let Some(at) = subscriber.evicted_at.and_then(rfc3339) {
        let how = if subscriber.evicted_by_force {
            " by force"
        } else {
            ""
        };
        text.push_str(&format!("\n  evicted{how} at {at}"));
    }
    text
}
