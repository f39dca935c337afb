//! Three key-managers on one etcd, and what a user sees when one is killed, or the leader of the cluster.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use blackbox::{Addresses, PATIENCE, Process, Stack, read, write_whole};
use client_admin::{RevokeKey, RotateKeySet};
use testkit::EtcdCluster;

use crate::support::{active_kid, admin, crypto, eventually, sign, signing_set};

const SET: &str = "op/access-token";

/// What stands in front of replicas in production: new connections go to the first that accepts, beginning with another each time.
struct Balancer {
    turns: Arc<AtomicUsize>,
}

impl Balancer {
    fn start(address: SocketAddr, replicas: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let turns: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&turns);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let turn = counted.fetch_add(1, Ordering::Relaxed);
                let mut tries =
                    (0..replicas.len()).map(|step| replicas[(turn + step) % replicas.len()]);
                if let Some(server) = tries.find_map(|replica| TcpStream::connect(replica).ok()) {
                    join(client, server);
                }
            }
        });
        Self { turns }
    }
}

/// Copies both ways until both sides have ended.
fn join(one: TcpStream, other: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // an end is an end, however it came
            let _copied = io::copy(&mut from, &mut to);
            let _closed = to.shutdown(std::net::Shutdown::Both);
            let _closed = from.shutdown(std::net::Shutdown::Both);
        })
    };
    copy(one.try_clone().unwrap(), other.try_clone().unwrap());
    copy(other, one);
}

/// A replica where `addresses` say, with the set-up's files.
fn replica(stack: &Stack, addresses: &Addresses) -> Process {
    let process = stack.spawn(
        "key-manager",
        &[
            ("KEYS_GRPC", addresses.grpc.to_string()),
            ("KEYS_HTTP", addresses.http.to_string()),
            (
                "KEY_MANAGER_AUDIT_FOLDER",
                format!("audit-{}", addresses.grpc.port()),
            ),
        ],
    );
    stack.ready(addresses.http);
    process
}

fn keep_in(stack: &Stack, cluster: &EtcdCluster) {
    let path = stack.dev().join("key-manager.toml");
    let text = String::from_utf8(read(&path)).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("path = "))
        .unwrap();
    let endpoints = format!("endpoints = {:?}\ntimeout = \"20s\"", cluster.endpoints());
    write_whole(&path, &text.replace(line, &endpoints));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_and_a_killed_leader_cost_no_signature_and_no_key() {
    let mut cluster = EtcdCluster::start(3);
    let mut stack = Stack::init();
    keep_in(&stack, &cluster);
    let places = [Addresses::free(), Addresses::free(), Addresses::free()];
    let mut replicas: Vec<Option<Process>> = places
        .iter()
        .map(|place| Some(replica(&stack, place)))
        .collect();
    let balancer = Balancer::start(
        stack.keys.grpc,
        places.iter().map(|place| place.grpc).collect(),
    );
    stack.crypto_service = Some(stack.spawn("crypto-service", &[]));
    stack.ready(stack.crypto.http);
    signing_set(&stack, SET, "ES256").await;

    let stop = Arc::new(AtomicBool::new(false));
    let (token, stopped) = (crypto(&stack, "token"), Arc::clone(&stop));
    let signing = tokio::spawn(async move {
        let mut signed = 0;
        while !stopped.load(Ordering::Relaxed) {
            sign(&token, SET).await.expect("no signature fails");
            signed += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        signed
    });
    for (number, place) in places.iter().enumerate() {
        replicas[number].take().unwrap().kill();
        if number == 1 {
            let leader = cluster.leader();
            cluster.kill(leader);
            rotates(&stack).await;
            cluster.restart(leader);
        } else {
            rotates(&stack).await;
        }
        replicas[number] = Some(replica(&stack, place));
    }
    assert!(
        balancer.turns.load(Ordering::Relaxed) > 3,
        "the balancer was used"
    );
    stop.store(true, Ordering::Relaxed);
    assert!(signing.await.unwrap() > 10);
}

/// Rotates by whoever answers, and waits until what is signed is signed with the new key; then the old one is revoked.
async fn rotates(stack: &Stack) {
    let (admin, token) = (admin(stack), crypto(stack, "token"));
    let before = admin.get("", SET).await.unwrap().key_set;
    let mut rotated = None;
    let done = eventually(PATIENCE, async || {
        let request = RotateKeySet::new(SET).force();
        rotated = admin.rotate(&request).await.ok();
        rotated.is_some()
    });
    assert!(done.await, "nobody rotates\n{}", stack.logs());
    let kid = active_kid(&rotated.unwrap().key_set);
    assert_ne!(kid, active_kid(&before));
    let signs = eventually(PATIENCE, async || {
        sign(&token, SET)
            .await
            .is_ok_and(|signed| signed.kid == kid)
    });
    assert!(signs.await, "{kid} does not sign\n{}", stack.logs());
    let revoked = eventually(PATIENCE, async || {
        let request = RevokeKey::new(SET, active_kid(&before));
        admin.revoke(&request).await.is_ok()
    });
    assert!(revoked.await, "nobody revokes\n{}", stack.logs());
}
