//! alg x enc x peer x direction.

use std::collections::BTreeMap;
use std::thread;

use jose::jwk::SecretJwk;
use jose::key::KeyMaterial;
use serde_json::{Value, json};

use crate::ours;
use crate::peer::{PEERS, Peer};
use crate::row::Row;
use crate::table::{Sum, print};
use crate::{encryption, signatures};

/// The keys that one peer and we share. Each cell runs with one that we generated and one that the peer did.
#[derive(Default)]
pub(crate) struct Keys {
    by_shape: BTreeMap<String, (KeyMaterial, Value)>,
}

impl Keys {
    /// Both keys for a row: each as we hold it, and as the peer holds it.
    pub(crate) fn both(&mut self, peer: &mut Peer, row: &Row) -> [(SecretJwk, Value); 2] {
        let shape = row.shape();
        let (ours, theirs) = self.by_shape.entry(shape.to_string()).or_insert_with(|| {
            let mut request = shape;
            request["op"] = json!("generate");
            let answer = peer.ask(&request).unwrap_or_else(|refusal| {
                panic!("{} generates no {request}: {refusal:?}", peer.name())
            });
            (ours::generate(row), answer["jwk"].clone())
        });
        let of_us = ours::named(ours.clone(), "key-of-ours", row.algorithm);
        let of_peer = ours::named(ours::read(theirs), "key-of-the-peer", row.algorithm);
        let exposed = ours::exposed(&of_us);
        [(of_us, exposed), (of_peer, theirs.clone())]
    }
}

#[test]
fn matrix_of_peers_opens_both_ways_and_refuses_what_is_altered() {
    let run = |name| {
        let mut peer = Peer::start(name);
        let mut keys = Keys::default();
        let columns = (
            signatures::column(&mut peer, &mut keys),
            encryption::column(&mut peer, &mut keys),
        );
        peer.finish();
        columns
    };
    let columns = thread::scope(|scope| {
        let threads = PEERS.map(|name| (name, scope.spawn(move || run(name))));
        threads.map(|(name, thread)| {
            (
                name,
                thread
                    .join()
                    .unwrap_or_else(|_panic| panic!("{name}: see above")),
            )
        })
    });
    let (jws, jwe): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, (jws, jwe))| ((name, jws), (name, jwe)))
        .unzip();

    let mut sum = Sum::default();
    println!(
        "each cell: a key of ours and a key of the peer's; the token opens, altered ones are refused"
    );
    println!("+ run, - lacking (reason below), ! failed\n");
    print("JWS", &jws, &mut sum);
    println!(
        "\nJWE, marks in the order A128GCM A192GCM A256GCM A128CBC-HS256 A192CBC-HS384 A256CBC-HS512"
    );
    print("", &jwe, &mut sum);
    println!(
        "\n{} cells run, {} lacking, {} failed",
        sum.run,
        sum.lacking,
        sum.failed.len()
    );

    assert!(sum.failed.is_empty(), "{}", sum.failed.join("\n"));
    // 14 JWS and 114 JWE rows, three peers, two directions; ring takes 10 of the 14 from each peer. Every peer of
    // today has every algorithm: a cell that goes missing is a change to be looked at.
    assert_eq!((sum.run, sum.lacking), ((14 + 114) * 6 + 10 * 3, 4 * 3));
}
