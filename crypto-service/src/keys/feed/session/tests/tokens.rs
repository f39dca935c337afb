//! Revocations of tokens on the feed: none is lost over chunks, gaps and streams.

use jose::revocation::{Entry, Id, NEVER, encode};

use super::*;

fn entry(jti: &str) -> Entry {
    Entry {
        id: Id::of_jti(jti, &AwsLc),
        issued_before: 0,
        forget_at: NEVER,
    }
}

fn fed(jtis: &[&str]) -> Vec<proto::FedRevocations> {
    let entries = jtis.iter().map(|jti| entry(jti));
    vec![proto::FedRevocations {
        tenant: "default".to_owned(),
        key_set: "a".to_owned(),
        entries: encode(entries.collect::<Vec<_>>()),
    }]
}

fn chunk_of(epoch: u64, jtis: &[&str], last: bool) -> Down {
    Down::Snapshot(proto::SnapshotChunk {
        epoch,
        last,
        revocations: fed(jtis),
        ..proto::SnapshotChunk::default()
    })
}

fn delta_of(from_epoch: u64, epoch: u64, jtis: &[&str]) -> Down {
    Down::Delta(proto::Delta {
        from_epoch,
        epoch,
        revocations: fed(jtis),
        ..proto::Delta::default()
    })
}

fn revoked(world: &World, jti: &str) -> bool {
    let snapshot = world.reader.snapshot();
    let tenant = snapshot.tenant("default");
    let tokens = tenant.and_then(|tenant| tenant.revoked("a"));
    tokens.is_some_and(|tokens| tokens.table().get(&entry(jti).id).is_some())
}

#[test]
fn revocations_come_in_the_chunks_of_a_snapshot_and_count_with_the_last() {
    let mut world = World::new();
    world.receive(chunk_of(4, &["x"], false)).unwrap();
    assert!(!revoked(&world, "x"));
    world.receive(chunk_of(4, &["y"], true)).unwrap();
    assert!(revoked(&world, "x") && revoked(&world, "y"));
    assert_eq!(world.reader.snapshot().revoked_tokens(), 2);
}

#[test]
fn a_revocation_behind_a_gap_is_not_acknowledged_and_comes_with_the_next_snapshot() {
    let (mut world, _) = World::following(4, vec![sound("a", 4)]);
    let answers = world.receive(delta_of(4, 5, &["x"])).unwrap();
    assert!(
        matches!(answers.as_slice(), [Up::Ack(ack)] if ack.epoch == 5),
        "{answers:?}"
    );
    let gap = world.receive(delta_of(6, 7, &["z"]));
    assert!(
        matches!(
            gap,
            Err(FeedError::Apply(ApplyError::Gap { from: 6, at: 5 }))
        ),
        "{gap:?}"
    );
    assert!(revoked(&world, "x") && !revoked(&world, "z"));
    // the stream is opened again, and begins with everything
    world.session = session(&world.clock);
    world.receive(chunk_of(7, &["x", "y", "z"], true)).unwrap();
    assert!(["x", "y", "z"].iter().all(|jti| revoked(&world, jti)));
}

#[test]
fn what_is_no_revocation_ends_the_stream_and_is_not_acknowledged() {
    let (mut world, _) = World::following(4, vec![]);
    let Down::Delta(mut broken) = delta_of(4, 5, &["x"]) else {
        panic!("no delta")
    };
    broken.revocations[0].entries.pop();
    let refused = world.receive(Down::Delta(broken));
    assert!(
        matches!(refused, Err(FeedError::Protocol(_))),
        "{refused:?}"
    );
    assert_eq!(world.reader.snapshot().epoch(), 4);
}

#[test]
fn a_lease_waits_for_the_epoch_of_a_revocation_as_for_any_other() {
    let (mut world, id) = World::following(4, vec![]);
    world.receive(lease(id, 5)).unwrap();
    assert!(world.reader.verify_lease().is_err());
    world.receive(delta_of(4, 5, &["x"])).unwrap();
    assert!(world.reader.verify_lease().is_ok());
}

#[test]
fn forgetting_comes_after_what_the_same_delta_adds() {
    let (mut world, _) = World::following(4, vec![]);
    let until = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let short = Entry {
        forget_at: 100,
        ..entry("short")
    };
    let mut revocations = fed(&["x"]);
    revocations[0].entries.extend(encode([short]));
    let delta = proto::Delta {
        from_epoch: 4,
        epoch: 5,
        revocations,
        revocations_forgotten: until(100),
        ..proto::Delta::default()
    };
    world.receive(Down::Delta(delta)).unwrap();
    assert!(revoked(&world, "x") && !revoked(&world, "short"));
}
