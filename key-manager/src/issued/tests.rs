use issued_log::{EntryRef, FrameBuilder, Sealer, Unopened};
use service_kit::clock::FakeClock;
use tempfile::TempDir;

use super::*;
use crate::{seal::LocalKek, store::MemoryStore};

const NOW: u64 = 1_800_000_000;
const CALLER: &str = "spiffe://crypto.dev/crypto-service";

struct World {
    folder: TempDir,
    vault: Vault,
    clock: FakeClock,
}

impl World {
    async fn new() -> Self {
        let kek = Arc::new(LocalKek::new(&[1; 32]).unwrap());
        let store = Arc::new(MemoryStore::new());
        Self {
            folder: tempfile::tempdir().unwrap(),
            vault: Vault::open(store, kek).await.unwrap(),
            clock: FakeClock::at(NOW),
        }
    }

    async fn open(&self) -> IssuedLog {
        self.open_as("issued.db").await.unwrap()
    }

    async fn open_as(&self, name: &str) -> Result<IssuedLog, IssuedError> {
        let path = self.folder.path().join(name);
        let retention = Span::from_days(90);
        IssuedLog::open(&path, &self.vault, retention, self.clock.shared()).await
    }
}

/// A process that issues, and the frames of its one segment.
struct Issuing {
    nonce: String,
    sealer: Sealer,
    bodies: Vec<Vec<u8>>,
}

impl Issuing {
    fn new(log: &IssuedLog, nonce: u8) -> Self {
        let recipient = log.keys().recipient().recipient();
        Self {
            nonce: format!("{nonce:02x}").repeat(16),
            sealer: Sealer::begin(&recipient, [nonce; 16]).unwrap(),
            bodies: Vec::new(),
        }
    }

    /// A frame with these: set, kid, caller, jti, sub, seconds after `NOW`.
    fn frame(&mut self, log: &IssuedLog, entries: &[(&str, &str, &str, &str, &str, u64)]) {
        let mut builder = FrameBuilder::default();
        for (key_set, kid, caller, jti, sub, after) in entries {
            let subject = log.keys().subjects().digest("default", sub);
            builder.push(&EntryRef {
                at: (NOW + after) * 1_000,
                tenant: "default",
                key_set,
                kid,
                caller,
                jti,
                subject: (!sub.is_empty()).then_some(subject),
                expires_at: Some(NOW + after + 300),
            });
        }
        let body = self.sealer.seal(builder.take(), false).unwrap();
        self.bodies.push(body);
    }

    fn shipment(&self, first: usize) -> Shipment {
        Shipment {
            caller: CALLER.to_owned(),
            nonce: self.nonce.clone(),
            frames: Some(Frames {
                header: self.sealer.header().bytes(),
                first: first.try_into().unwrap(),
                bodies: self.bodies[first..].to_vec(),
            }),
            complete_until: Some(Time::from_millis(NOW * 1_000)),
            ..Shipment::default()
        }
    }
}

fn all(_tenant: &str, _set: &str) -> bool {
    true
}

fn query() -> Query {
    Query {
        tenant: "default".to_owned(),
        limit: 100,
        ..Query::default()
    }
}

async fn jtis(log: &IssuedLog, query: Query) -> Vec<String> {
    let page = log.list(query, |_| true).await.unwrap();
    let counted: u64 = page.counts.iter().map(|counted| counted.count).sum();
    let shown = u64::try_from(page.entries.len()).unwrap();
    assert_eq!(counted, shown, "count and page agree");
    page.entries
        .into_iter()
        .map(|listed| listed.entry.jti)
        .collect()
}

/// Two sets, three keys, two callers, two subjects.
async fn filled(log: &IssuedLog) -> Issuing {
    let mut issuing = Issuing::new(log, 1);
    issuing.frame(
        log,
        &[
            ("op/a", "k1", "token", "1", "alice", 1),
            ("op/a", "k1", "token", "2", "bob", 2),
            ("op/b", "k3", "userinfo", "3", "alice", 3),
        ],
    );
    issuing.frame(
        log,
        &[
            ("op/a", "k2", "userinfo", "4", "alice", 4),
            ("op/a", "k2", "token", "5", "", 5),
        ],
    );
    assert_eq!(log.take(issuing.shipment(0), all).await.unwrap(), 2);
    issuing
}

#[tokio::test]
async fn what_was_shipped_is_found_by_key_set_caller_subject_and_time() {
    let world = World::new().await;
    let log = world.open().await;
    filled(&log).await;
    let text = |text: &str| text.to_owned();
    let at = |after: u64| Some(Time::from_millis((NOW + after) * 1_000));
    for (what, asked, found) in [
        ("all", query(), vec!["1", "2", "3", "4", "5"]),
        (
            "kid",
            Query {
                kid: text("k1"),
                ..query()
            },
            vec!["1", "2"],
        ),
        (
            "set",
            Query {
                key_set: text("op/b"),
                ..query()
            },
            vec!["3"],
        ),
        (
            "caller",
            Query {
                caller: text("userinfo"),
                ..query()
            },
            vec!["3", "4"],
        ),
        (
            "sub",
            Query {
                sub: text("alice"),
                ..query()
            },
            vec!["1", "3", "4"],
        ),
        (
            "sub and set",
            Query {
                sub: text("alice"),
                key_set: text("op/a"),
                ..query()
            },
            vec!["1", "4"],
        ),
        (
            "kid and caller",
            Query {
                kid: text("k2"),
                caller: text("token"),
                ..query()
            },
            vec!["5"],
        ),
        (
            "from",
            Query {
                from: at(4),
                ..query()
            },
            vec!["4", "5"],
        ),
        (
            "until",
            Query {
                until: at(2),
                ..query()
            },
            vec!["1"],
        ),
        (
            "kid of another set",
            Query {
                kid: text("k3"),
                key_set: text("op/a"),
                ..query()
            },
            vec![],
        ),
        (
            "tenant",
            Query {
                tenant: text("other"),
                ..query()
            },
            vec![],
        ),
        (
            "unknown caller",
            Query {
                caller: text("nobody"),
                ..query()
            },
            vec![],
        ),
    ] {
        assert_eq!(jtis(&log, asked).await, found, "{what}");
    }
    let page = log.list(query(), |_| true).await.unwrap();
    let counts: Vec<_> = page
        .counts
        .iter()
        .map(|c| (c.kid.as_str(), c.count))
        .collect();
    assert_eq!(counts, [("k1", 2), ("k2", 2), ("k3", 1)]);
    let entry = &page.entries[0].entry;
    assert_eq!(
        (entry.caller.as_str(), entry.expires_at),
        ("token", Some(NOW + 301))
    );
    let hidden = log.list(query(), |set| set == "op/b").await.unwrap();
    assert_eq!(
        hidden.entries.len(),
        1,
        "sets that may not be shown are left out"
    );
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_and_know_whose_they_are() {
    let world = World::new().await;
    let (log, other) = (world.open().await, world.open_as("other.db").await.unwrap());
    filled(&log).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let asked = Query {
            limit: 2,
            after: after.clone(),
            ..query()
        };
        let page = log.list(asked, |_| true).await.unwrap();
        assert_eq!(page.counts.is_empty(), after.is_some());
        found.extend(page.entries.into_iter().map(|listed| listed.entry.jti));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["1", "2", "3", "4", "5"]);
    let page = log
        .list(
            Query {
                limit: 1,
                ..query()
            },
            |_| true,
        )
        .await
        .unwrap();
    let foreign = Query {
        after: page.next,
        ..query()
    };
    let refused = other.list(foreign, |_| true).await.unwrap_err();
    assert!(
        matches!(
            refused,
            IssuedError::Form {
                field: "page_token",
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn frames_are_taken_once_whatever_is_sent_again_and_replicas_fill_gaps() {
    let world = World::new().await;
    let log = world.open().await;
    let mut issuing = filled(&log).await;
    assert_eq!(log.take(issuing.shipment(0), all).await.unwrap(), 2);
    issuing.frame(&log, &[("op/a", "k1", "token", "6", "", 6)]);
    assert_eq!(log.take(issuing.shipment(1), all).await.unwrap(), 3);
    assert_eq!(log.take(issuing.shipment(0), all).await.unwrap(), 3);
    assert_eq!(jtis(&log, query()).await.len(), 6);
    // Another replica, which hears of the segment only from its second frame on.
    let other = world.open_as("other.db").await.unwrap();
    assert_eq!(other.take(issuing.shipment(1), all).await.unwrap(), 3);
    assert_eq!(jtis(&other, query()).await, ["4", "5", "6"]);
    let (here, there) = (
        log.list(query(), |_| true).await.unwrap(),
        other.list(query(), |_| true).await.unwrap(),
    );
    assert_eq!(
        here.entries[3].id, there.entries[0].id,
        "an entry has one name"
    );
    assert_ne!(here.store, there.store);
}

#[tokio::test]
async fn a_shipment_is_taken_whole_or_not_at_all() {
    let world = World::new().await;
    let log = world.open().await;
    let mut issuing = Issuing::new(&log, 1);
    issuing.frame(&log, &[("op/a", "k1", "token", "1", "", 1)]);
    issuing.frame(&log, &[("op/b", "k1", "token", "2", "", 2)]);
    let refused = log.take(issuing.shipment(0), |_, set| set == "op/a").await;
    assert!(
        matches!(refused, Err(IssuedError::NotGranted { .. })),
        "{refused:?}"
    );
    let mut altered = issuing.shipment(0);
    altered.frames.as_mut().unwrap().bodies[1][5] ^= 1;
    let refused = log.take(altered, all).await;
    assert!(
        matches!(refused, Err(IssuedError::Unopened(Unopened::Frame))),
        "{refused:?}"
    );
    let mut swapped = issuing.shipment(0);
    swapped.frames.as_mut().unwrap().bodies.swap(0, 1);
    let refused = log.take(swapped, all).await;
    assert!(
        matches!(refused, Err(IssuedError::Unopened(Unopened::Frame))),
        "{refused:?}"
    );
    let foreign = Shipment {
        nonce: "02".repeat(16),
        ..issuing.shipment(0)
    };
    let refused = log.take(foreign, all).await;
    assert!(
        matches!(refused, Err(IssuedError::Form { .. })),
        "{refused:?}"
    );
    let stranger = World::new().await;
    let refused = stranger.open().await.take(issuing.shipment(0), all).await;
    assert!(
        matches!(refused, Err(IssuedError::Unopened(Unopened::Recipient))),
        "{refused:?}"
    );
    assert_eq!(jtis(&log, query()).await, [""; 0]);
    assert_eq!(log.take(issuing.shipment(0), all).await.unwrap(), 2);
    let thief = Shipment {
        caller: "spiffe://crypto.dev/other".to_owned(),
        ..issuing.shipment(0)
    };
    let refused = log.take(thief, all).await;
    assert!(matches!(refused, Err(IssuedError::NotYours)), "{refused:?}");
}

#[tokio::test]
async fn completeness_is_that_of_the_process_that_is_furthest_behind() {
    let world = World::new().await;
    let log = world.open().await;
    let ask = async || log.list(query(), |_| true).await.unwrap();
    let now = Time::from_millis(NOW * 1_000);
    let page = ask().await;
    assert_eq!(
        (page.complete_until, page.behind.len()),
        (now, 0),
        "nobody issues"
    );
    let report = |nonce: &str, until: Option<u64>, finished: bool, unrecorded: u64| Shipment {
        caller: CALLER.to_owned(),
        nonce: nonce.repeat(16),
        complete_until: until.map(|before| Time::from_millis((NOW - before) * 1_000)),
        finished,
        unrecorded,
        ..Shipment::default()
    };
    log.take(report("0a", Some(60), false, 2), all)
        .await
        .unwrap();
    log.take(report("0b", Some(1), false, 3), all)
        .await
        .unwrap();
    let page = ask().await;
    assert_eq!(page.complete_until, Time::from_millis((NOW - 60) * 1_000));
    assert_eq!(page.behind.len(), 1);
    assert_eq!(
        page.behind[0].subscriber,
        format!("{CALLER}#{}", "0a".repeat(16))
    );
    assert_eq!(page.unrecorded, 5);
    // An older report takes nothing back.
    log.take(report("0b", Some(30), false, 1), all)
        .await
        .unwrap();
    log.take(report("0a", None, true, 0), all).await.unwrap();
    let page = ask().await;
    assert_eq!(page.complete_until, Time::from_millis((NOW - 1) * 1_000));
    assert_eq!((page.behind.len(), page.unrecorded), (0, 5));
}

#[tokio::test]
async fn segments_that_a_finished_process_has_not_ended_are_counted_as_torn() {
    let world = World::new().await;
    let log = world.open().await;
    let mut killed = filled(&log).await;
    let mut drained = Issuing::new(&log, 2);
    let last = drained.sealer.seal(Vec::new(), true).unwrap();
    drained.bodies.push(last);
    log.take(drained.shipment(0), all).await.unwrap();
    for issuing in [&mut killed, &mut drained] {
        let finished = Shipment {
            frames: None,
            finished: true,
            ..issuing.shipment(0)
        };
        log.take(finished, all).await.unwrap();
    }
    let registry = service_kit::telemetry::Metrics::new("test", "0");
    log.metrics().register(&registry);
    let page = registry.render();
    assert!(page.contains("issued_torn_total 1"), "{page}");
    assert!(page.contains("issued_taken_total 5"), "{page}");
}

#[tokio::test]
async fn records_outlive_their_tokens_by_the_retention_and_a_restart() {
    let world = World::new().await;
    let log = world.open().await;
    filled(&log).await;
    drop(log);
    let log = world.open().await;
    assert_eq!(jtis(&log, query()).await.len(), 5, "they are on the disk");
    world
        .clock
        .advance(std::time::Duration::from_secs(90 * 86_400 + 303));
    assert_eq!(log.forget().await.unwrap(), 2);
    assert_eq!(jtis(&log, query()).await, ["3", "4", "5"]);
    world.clock.advance(std::time::Duration::from_secs(86_400));
    assert_eq!(log.forget().await.unwrap(), 3);
    assert_eq!(log.forget().await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_of_somebody_else_and_one_that_cannot_be_written_are_refused_with_the_reason() {
    let world = World::new().await;
    let path = world.folder.path().join("foreign.db");
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(foreign);
    let refused = world.open_as("foreign.db").await.unwrap_err();
    assert!(matches!(refused, IssuedError::Damaged(_)), "{refused}");
    std::fs::write(
        world.folder.path().join("text.db"),
        "no database at all, but long enough to be read as one",
    )
    .unwrap();
    let refused = world.open_as("text.db").await.unwrap_err();
    assert!(matches!(refused, IssuedError::Damaged(_)), "{refused}");
    let refused = world.open_as("no/folder.db").await.unwrap_err();
    assert!(matches!(refused, IssuedError::Database(_)), "{refused}");
}

#[tokio::test]
async fn the_keys_are_made_once_and_are_sealed_in_the_store() {
    let world = World::new().await;
    let (first, second) = (world.open().await, world.open_as("other.db").await.unwrap());
    assert_eq!(first.keys().public_key(), second.keys().public_key());
    assert_eq!(first.keys().subject_key(), second.keys().subject_key());
    let shown = format!("{:?} {:?}", first, first.keys());
    let secret = format!("{:?}", &first.keys().subject_key()[..4]);
    assert!(!shown.contains(secret.trim_matches(['[', ']'])), "{shown}");
    let kept = world.vault.issued_key().await.unwrap().unwrap();
    assert_eq!(kept.len(), 64);
    assert_eq!(&kept[32..], first.keys().subject_key());
}
