use jose::algorithm::{Algorithm, ContentEncryption};
use jose::jwe::{EncryptRequest, MemberValue};
use jose::key::SymmetricKey;
use jose_aws_lc::jwe::SharedKey;
use jose_aws_lc::{AwsLc, GeneratedKey, KeySpec};
use service_kit::clock::FakeClock;

use super::*;
use crate::keys::writer::{ApplyError, KeysReader, pair};
use crate::keys::{SealedError, Terms};

const SECRET: [u8; 32] = [7; 32];
const INSTANCE: &str = "spiffe://crypto.dev/crypto-service#0123";

struct World {
    clock: FakeClock,
    writer: KeysWriter,
    reader: KeysReader,
    session: Session,
}

impl World {
    fn new() -> Self {
        let clock = FakeClock::at(1_800_000_000);
        let (writer, reader) = pair(clock.shared(), Terms::default());
        let session = session(&clock);
        Self {
            clock,
            writer,
            reader,
            session,
        }
    }

    fn receive(&mut self, message: Down) -> Result<Vec<Up>, FeedError> {
        self.session.receive(&mut self.writer, message)
    }

    /// A stream that has its snapshot at `epoch`; the number of its first renewal.
    fn following(epoch: u64, sets: Vec<proto::FedKeySet>) -> (Self, u64) {
        let mut world = Self::new();
        let answers = world.receive(chunk(epoch, sets, true)).unwrap();
        let [Up::Ack(ack), Up::Renewal(renewal)] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        assert_eq!((ack.epoch, renewal.epoch), (epoch, epoch));
        let id = renewal.id;
        (world, id)
    }
}

fn session(clock: &FakeClock) -> Session {
    Session::new(
        Arc::new(StreamKey::new(&SECRET, INSTANCE).unwrap()),
        clock.shared(),
    )
}

fn key() -> GeneratedKey {
    AwsLc
        .generate(&KeySpec::new(Algorithm::parse("ES256").unwrap()))
        .unwrap()
}

/// What the protected header of a wrapped key says.
struct Says<'a> {
    kid: &'a str,
    tenant: &'a str,
    epoch: u64,
    instance: &'a str,
    secret: [u8; 32],
}

fn wrapped(key: &GeneratedKey, says: &Says<'_>) -> String {
    let stream = SharedKey::direct(
        ContentEncryption::A256Gcm,
        &SymmetricKey::new(&says.secret).unwrap(),
    )
    .unwrap();
    let extra = [
        ("tenant", MemberValue::String(says.tenant)),
        ("epoch", MemberValue::Number(says.epoch)),
        ("instance", MemberValue::String(says.instance)),
    ];
    let request = EncryptRequest {
        kid: Some(says.kid),
        extra: &extra,
        ..EncryptRequest::default()
    };
    jose::jwe::encrypt(
        &request,
        &key.material.to_bytes(),
        &stream,
        ContentEncryption::A256Gcm,
        &AwsLc,
    )
    .unwrap()
}

fn set(name: &str, key: &GeneratedKey, wrapped_key: String) -> proto::FedKeySet {
    let version = proto::FedVersion {
        kid: key.kid.as_str().to_owned(),
        algorithm: key.algorithm.name().to_owned(),
        state: proto::KeyState::Active.into(),
        public_jwk: jose::jwk::Jwk::new(key.public.clone().unwrap()).to_json(),
        wrapped_key,
        invocations: 0,
    };
    proto::FedKeySet {
        tenant: "default".to_owned(),
        name: name.to_owned(),
        r#use: proto::KeyUse::Sign.into(),
        versions: vec![version],
        ..proto::FedKeySet::default()
    }
}

fn sound(name: &str, epoch: u64) -> proto::FedKeySet {
    sound_with(&key(), name, epoch)
}

fn sound_with(key: &GeneratedKey, name: &str, epoch: u64) -> proto::FedKeySet {
    let jwe = wrapped(
        key,
        &Says {
            kid: key.kid.as_str(),
            tenant: "default",
            epoch,
            instance: INSTANCE,
            secret: SECRET,
        },
    );
    set(name, key, jwe)
}

fn chunk(epoch: u64, key_sets: Vec<proto::FedKeySet>, last: bool) -> Down {
    Down::Snapshot(proto::SnapshotChunk {
        epoch,
        key_sets,
        last,
        times: None,
    })
}

fn delta(from_epoch: u64, epoch: u64, changed: Vec<proto::FedKeySet>) -> Down {
    Down::Delta(proto::Delta {
        from_epoch,
        epoch,
        changed,
        removed: vec![],
    })
}

fn lease(id: u64, epoch: u64) -> Down {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    Down::Lease(proto::Lease {
        id,
        epoch,
        sign_for: seconds(30),
        verify_for: seconds(60),
    })
}

#[test]
fn a_snapshot_counts_with_its_last_chunk() {
    let mut world = World::new();
    assert!(
        world
            .receive(chunk(4, vec![sound("a", 4)], false))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        (
            world.reader.snapshot().key_sets(),
            world.session.is_following()
        ),
        (0, false)
    );
    world.receive(chunk(4, vec![sound("b", 4)], true)).unwrap();
    assert_eq!(
        (
            world.reader.snapshot().key_sets(),
            world.reader.snapshot().epoch()
        ),
        (2, 4)
    );
    let mut world = World::new();
    world.receive(chunk(4, vec![], false)).unwrap();
    assert!(matches!(
        world.receive(chunk(5, vec![], true)),
        Err(FeedError::Protocol(_))
    ));
}

#[test]
fn a_delta_over_a_gap_is_refused_and_changes_nothing() {
    let (mut world, _) = World::following(4, vec![sound("a", 4)]);
    let refused = world.receive(delta(5, 6, vec![sound("b", 6)]));
    assert!(
        matches!(
            refused,
            Err(FeedError::Apply(ApplyError::Gap { from: 5, at: 4 }))
        ),
        "{refused:?}"
    );
    assert_eq!(
        (
            world.reader.snapshot().epoch(),
            world.reader.snapshot().key_sets()
        ),
        (4, 1)
    );
    let answers = world.receive(delta(4, 6, vec![sound("b", 6)])).unwrap();
    assert!(
        matches!(answers.as_slice(), [Up::Ack(ack)] if ack.epoch == 6),
        "{answers:?}"
    );
    assert_eq!(world.reader.snapshot().key_sets(), 2);
}

#[test]
fn a_delta_before_the_snapshot_is_refused() {
    let mut world = World::new();
    assert!(matches!(
        world.receive(delta(0, 1, vec![])),
        Err(FeedError::Protocol(_))
    ));
}

#[test]
fn an_older_epoch_than_the_highest_seen_is_refused_on_a_later_stream_too() {
    let (mut world, _) = World::following(9, vec![sound("a", 9)]);
    world.session = session(&world.clock);
    let refused = world.receive(chunk(8, vec![], true));
    assert!(
        matches!(
            refused,
            Err(FeedError::Apply(ApplyError::Older {
                offered: 8,
                seen: 9
            }))
        ),
        "{refused:?}"
    );
    assert_eq!(world.reader.snapshot().key_sets(), 1);
}

#[test]
fn a_lease_counts_from_its_renewal_and_once_its_epoch_is_applied() {
    let (mut world, id) = World::following(4, vec![]);
    world.clock.advance(Duration::from_secs(10));
    world.receive(lease(id, 4)).unwrap();
    assert_eq!(world.reader.sign_lease(), Ok(Duration::from_secs(20)));

    let Up::Renewal(renewal) = world.session.renew(&world.writer).unwrap() else {
        panic!("no renewal")
    };
    world.receive(lease(renewal.id, 5)).unwrap();
    assert_eq!(
        world.reader.sign_lease(),
        Ok(Duration::from_secs(20)),
        "epoch 5 is not applied yet"
    );
    world.clock.advance(Duration::from_secs(1));
    world.receive(delta(4, 5, vec![])).unwrap();
    assert_eq!(world.reader.sign_lease(), Ok(Duration::from_secs(29)));

    let unasked = world.receive(lease(renewal.id, 5));
    assert!(
        matches!(unasked, Err(FeedError::Protocol(_))),
        "{unasked:?}"
    );
}

#[test]
fn a_key_manager_that_answers_nothing_is_given_up() {
    let (mut world, _) = World::following(4, vec![]);
    world.clock.advance(Duration::from_secs(15));
    assert!(world.session.renew(&world.writer).is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(
        world.session.renew(&world.writer),
        Err(FeedError::Silent)
    ));
}

#[test]
fn a_wrapped_key_for_somebody_else_is_refused_on_receipt() {
    let key = key();
    let kid = key.kid.as_str();
    let right = || Says {
        kid,
        tenant: "default",
        epoch: 4,
        instance: INSTANCE,
        secret: SECRET,
    };
    for (says, expected) in [
        (
            Says {
                kid: "other",
                ..right()
            },
            "kid",
        ),
        (
            Says {
                tenant: "acme",
                ..right()
            },
            "tenant",
        ),
        (
            Says {
                epoch: 3,
                ..right()
            },
            "epoch",
        ),
        (
            Says {
                instance: "spiffe://crypto.dev/crypto-service#9999",
                ..right()
            },
            "instance",
        ),
    ] {
        let refused =
            World::new().receive(chunk(4, vec![set("a", &key, wrapped(&key, &says))], true));
        assert!(
            matches!(&refused, Err(FeedError::Sealed(SealedError::For(member))) if *member == expected),
            "{refused:?}"
        );
    }
    let refused = World::new().receive(chunk(4, vec![set("a", &key, "a.b.c".to_owned())], true));
    assert!(matches!(
        refused,
        Err(FeedError::Sealed(SealedError::Malformed))
    ));
    assert!(
        World::new()
            .receive(chunk(
                4,
                vec![set("a", &key, wrapped(&key, &right()))],
                true
            ))
            .is_ok()
    );
}

#[test]
fn a_key_wrapped_under_another_streams_key_does_not_open() {
    let key = key();
    let says = Says {
        kid: key.kid.as_str(),
        tenant: "default",
        epoch: 4,
        instance: INSTANCE,
        secret: [8; 32],
    };
    let (world, _) = World::following(4, vec![set("a", &key, wrapped(&key, &says))]);
    let snapshot = world.reader.snapshot();
    let version = snapshot.set("default", "a").unwrap().active().unwrap();
    assert_eq!(
        version.sealed.as_ref().unwrap().open().unwrap_err(),
        SealedError::Opening
    );
}

#[test]
fn a_key_of_an_unknown_algorithm_is_left_out_and_the_others_serve() {
    let mut mixed = sound("a", 4);
    let unknown = proto::FedVersion {
        kid: "new".to_owned(),
        algorithm: "ML-DSA-65".to_owned(),
        ..mixed.versions[0].clone()
    };
    mixed.versions.push(unknown);
    let (world, _) = World::following(4, vec![mixed]);
    let snapshot = world.reader.snapshot();
    assert_eq!(snapshot.set("default", "a").unwrap().versions.len(), 1);
}

#[test]
fn high_water_marks_and_signatures_under_way_are_reported() {
    let (mut world, _) = World::following(4, vec![sound("a", 4)]);
    let snapshot = world.reader.snapshot_owned();
    let version = snapshot.set("default", "a").unwrap().active().unwrap();
    let signing = world.reader.usage().begin(&version.usage);
    signing.will_expire(1_800_000_300);
    let Up::Renewal(renewal) = world.session.renew(&world.writer).unwrap() else {
        panic!("no renewal")
    };
    assert_eq!(renewal.in_flight_kids, [version.kid.to_string()]);
    assert_eq!(
        renewal.high_water[0].expires_at.unwrap().seconds,
        1_800_000_300
    );
    // The key's usage goes on in the snapshots that follow.
    world.receive(delta(4, 5, vec![])).unwrap();
    drop(signing);
    let Up::Renewal(renewal) = world.session.renew(&world.writer).unwrap() else {
        panic!("no renewal")
    };
    assert_eq!(
        (renewal.in_flight_kids.len(), renewal.high_water.len()),
        (0, 0)
    );
}

#[test]
fn encryptions_that_are_granted_are_counted_reported_and_never_taken_back() {
    let key = key();
    let limited = |granted: u64, epoch: u64| {
        let mut set = sound_with(&key, "a", epoch);
        set.versions[0].invocations = granted;
        set
    };
    let (mut world, _) = World::following(4, vec![limited(2, 4)]);
    let usage = |world: &World| {
        let snapshot = world.reader.snapshot_owned();
        let version = snapshot.set("default", "a").unwrap().active().unwrap();
        assert!(version.limited);
        Arc::clone(&version.usage)
    };
    let book = world.reader.usage();
    assert_eq!(
        [0; 3].map(|_| book.invoke(&usage(&world))),
        [true, true, false]
    );
    let Up::Renewal(renewal) = world.session.renew(&world.writer).unwrap() else {
        panic!("no renewal")
    };
    assert_eq!(
        (renewal.invocations.len(), renewal.invocations[0].used),
        (1, 2)
    );
    // More is granted, and an older message after that takes nothing back. What was made still counts.
    for (from, granted) in [(4, 5), (5, 1)] {
        world
            .receive(delta(from, from + 1, vec![limited(granted, from + 1)]))
            .unwrap();
    }
    let made = [0; 4].map(|_| world.reader.usage().invoke(&usage(&world)));
    assert_eq!(made, [true, true, true, false]);
}

#[test]
fn no_type_that_holds_a_secret_shows_it() {
    let (world, _) = World::following(4, vec![sound("a", 4)]);
    let snapshot = world.reader.snapshot_owned();
    let set = snapshot.set("default", "a").unwrap();
    let sealed = set.active().unwrap().sealed.as_ref().unwrap();
    let stream_key = StreamKey::new(&SECRET, INSTANCE).unwrap();
    let shown = format!(
        "{set:?} {sealed:?} {stream_key:?} {:?} {:?}",
        world.session, world.writer
    );
    assert!(
        !shown.contains("eyJ") && !shown.contains("7, 7, 7, 7"),
        "{shown}"
    );
}
