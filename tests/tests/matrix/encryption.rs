//! The cells of the encryption algorithms.

use jose::algorithm::ContentEncryption;
use jose::jwe::Fault;
use jose::jwk::SecretJwk;
use serde_json::{Value, json};

use crate::matrix::Keys;
use crate::peer::{Peer, Refusal, payload, token};
use crate::row::Row;
use crate::table::{Cell, Column, Direction};
use crate::{altered, ours};

/// Every algorithm on every curve with every content encryption, in both directions.
pub(crate) fn column(peer: &mut Peer, keys: &mut Keys) -> Column {
    let mut column = Vec::new();
    for (row, _, enc) in Row::encryptions() {
        let both = keys.both(peer, &row);
        let cells = [
            (
                Direction::Out,
                both.iter()
                    .try_for_each(|(key, private)| out(peer, key, private, enc)),
            ),
            (
                Direction::In,
                both.iter().try_for_each(|(key, _)| back(peer, key, enc)),
            ),
        ];
        column.extend(
            cells.map(|(direction, outcome)| {
                (row.label(), direction, named(Cell::from(outcome), enc))
            }),
        );
    }
    column
}

fn out(
    peer: &mut Peer,
    key: &SecretJwk,
    private: &Value,
    enc: ContentEncryption,
) -> Result<(), Refusal> {
    let made = ours::encrypt(key, enc);
    let mut decrypt = |token: &str| {
        peer.ask(&json!({"op": "decrypt", "token": token, "jwk": private, "algs": [name(key)], "encs": [enc.name()]}))
    };
    let answer = decrypt(&made)?;
    if payload(&answer) != ours::CLAIMS.as_bytes()
        || answer["header"]["kid"].as_str() != key.kid.as_ref().map(AsRef::as_ref)
    {
        return Err(Refusal::Failed(format!("opened something else: {answer}")));
    }
    for (what, bad) in altered::encrypted(&made) {
        match decrypt(&bad) {
            Err(Refusal::Failed(_)) => {}
            other => return Err(Refusal::Failed(format!("another {what}: {other:?}"))),
        }
    }
    Ok(())
}

fn back(peer: &mut Peer, key: &SecretJwk, enc: ContentEncryption) -> Result<(), Refusal> {
    let kid = key.kid.as_ref().map(AsRef::<str>::as_ref);
    let answer = peer.ask(&json!({
        "op": "encrypt", "alg": name(key), "enc": enc.name(), "jwk": ours::published(key), "kid": kid,
        "payload": jose::base64url::encode(ours::CLAIMS),
    }))?;
    let made = token(&answer);
    let decrypter = ours::decrypter(key, enc);
    let opened = ours::decrypt(decrypter.as_ref(), &made);
    if opened != Ok((ours::CLAIMS.as_bytes().to_vec(), kid.map(str::to_owned))) {
        return Err(Refusal::Failed(format!("{opened:?}: {made}")));
    }
    for (what, bad) in altered::encrypted(&made) {
        let verdict = ours::decrypt(decrypter.as_ref(), &bad);
        if verdict != Err(Fault::Decryption) {
            return Err(Refusal::Failed(format!(
                "another {what}: {verdict:?}: {bad}"
            )));
        }
    }
    Ok(())
}

/// The content encryptions share a line of the table; what is said about a cell names its own.
fn named(cell: Cell, enc: ContentEncryption) -> Cell {
    match cell {
        Cell::Failed(detail) => Cell::Failed(format!("{enc}: {detail}")),
        other => other,
    }
}

fn name(key: &SecretJwk) -> &'static str {
    key.algorithm.expect("every key has its algorithm").name()
}
