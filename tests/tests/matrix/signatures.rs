//! The cells of the signature algorithms.

use jose::jwk::SecretJwk;
use jose::jwt::{NotVerified, RejectReason};
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use serde_json::{Value, json};

use crate::matrix::Keys;
use crate::peer::{Peer, Refusal, payload, token};
use crate::row::Row;
use crate::table::{Cell, Column, Direction};
use crate::views::View;
use crate::{altered, ours};

/// Every algorithm in both directions, and what the peer signed a second time under ring.
pub(crate) fn column(peer: &mut Peer, keys: &mut Keys) -> Column {
    let mut column = Vec::new();
    for (row, _) in Row::signatures() {
        let both = keys.both(peer, &row);
        let cells = [
            (
                Direction::Out,
                both.iter().try_for_each(|(key, _)| out(peer, key)),
            ),
            (
                Direction::In,
                both.iter().try_for_each(|(key, private)| {
                    back(peer, key, private, &ours::view_of(&AwsLc, key))
                }),
            ),
            (
                Direction::InByRing,
                both.iter()
                    .try_for_each(|(key, private)| by_ring(peer, key, private)),
            ),
        ];
        column.extend(
            cells.map(|(direction, outcome)| (row.label(), direction, Cell::from(outcome))),
        );
    }
    column
}

fn out(peer: &mut Peer, key: &SecretJwk) -> Result<(), Refusal> {
    let made = ours::sign(key);
    let mut verify = |token: &str| {
        peer.ask(&json!({"op": "verify", "token": token, "jwk": ours::published(key), "algs": [name(key)]}))
    };
    let answer = verify(&made)?;
    if payload(&answer) != ours::CLAIMS.as_bytes()
        || answer["header"]["kid"].as_str() != key.kid.as_ref().map(AsRef::as_ref)
    {
        return Err(Refusal::Failed(format!("opened something else: {answer}")));
    }
    for (what, bad) in altered::signed(&made) {
        match verify(&bad) {
            Err(Refusal::Failed(_)) => {}
            other => return Err(Refusal::Failed(format!("another {what}: {other:?}"))),
        }
    }
    Ok(())
}

fn back(peer: &mut Peer, key: &SecretJwk, private: &Value, view: &View) -> Result<(), Refusal> {
    let answer = peer.ask(&json!({
        "op": "sign", "alg": name(key), "jwk": private, "kid": key.kid.as_ref().map(AsRef::<str>::as_ref),
        "header": {"typ": "JWT"}, "payload": jose::base64url::encode(ours::CLAIMS),
    }))?;
    let made = token(&answer);
    let verdict = ours::verify(view, &made);
    if verdict.as_deref() != Ok(ours::CLAIMS) {
        return Err(Refusal::Failed(format!("{verdict:?}: {made}")));
    }
    for (what, bad) in altered::signed(&made) {
        let verdict = ours::verify(view, &bad);
        if verdict != Err(NotVerified::Rejected(RejectReason::Signature)) {
            return Err(Refusal::Failed(format!(
                "another {what}: {verdict:?}: {bad}"
            )));
        }
    }
    Ok(())
}

fn by_ring(peer: &mut Peer, key: &SecretJwk, private: &Value) -> Result<(), Refusal> {
    if key.public().is_none() {
        return Err(Refusal::Lacks(
            "shared secrets never reach a thin client: it asks the service".to_owned(),
        ));
    }
    if name(key) == "ES512" {
        return Err(Refusal::Lacks(
            "ring has no P-521: the client asks the service".to_owned(),
        ));
    }
    back(peer, key, private, &ours::view_of(&Ring, key))
}

fn name(key: &SecretJwk) -> &'static str {
    key.algorithm.expect("every key has its algorithm").name()
}
