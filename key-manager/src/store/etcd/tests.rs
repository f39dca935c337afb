//! What only a cluster does: members that die, a history that is compacted, clients that lose their answers.

use std::time::Duration;

use service_kit::{
    clock::SystemClock,
    tls::{Credentials, TlsFiles},
};
use testkit::{CertificateAuthority, EtcdCluster, Leaf, PemFolder};

use super::*;
use crate::store::{MOVED, Pair, Precondition};

fn options(cluster: &EtcdCluster) -> EtcdOptions {
    EtcdOptions {
        endpoints: cluster.endpoints(),
        prefix: "test/".to_owned(),
        timeout: Duration::from_secs(30),
        credentials: None,
        user: None,
    }
}

async fn connect(cluster: &EtcdCluster) -> EtcdStore {
    EtcdStore::connect(options(cluster)).await.unwrap()
}

/// A client of the tests' own, past everything that the store does.
async fn raw(cluster: &EtcdCluster) -> etcd_client::Client {
    etcd_client::Client::connect(cluster.endpoints(), None)
        .await
        .unwrap()
}

async fn rises_to(watch: &mut watch::Receiver<u64>, commit: u64) {
    let risen = watch.wait_for(|known| *known >= commit);
    tokio::time::timeout(Duration::from_secs(60), risen)
        .await
        .expect("a commit that is told within a minute")
        .unwrap();
}

#[tokio::test]
async fn what_one_replica_commits_the_others_are_told() {
    let cluster = EtcdCluster::start(1);
    let (one, other) = (connect(&cluster).await, connect(&cluster).await);
    let mut watch = other.watch();
    for round in 0..3 {
        let commit = one
            .commit(Batch::new().put("a", round.to_string()))
            .await
            .unwrap();
        rises_to(&mut watch, commit).await;
        assert_eq!(other.get("a").await.unwrap().unwrap().revision, commit);
    }
}

#[tokio::test]
async fn a_prefix_sees_nothing_of_another() {
    let cluster = EtcdCluster::start(1);
    let one = connect(&cluster).await;
    let other = EtcdStore::connect(EtcdOptions {
        prefix: "test/entry/".to_owned(),
        ..options(&cluster)
    });
    let other = other.await.unwrap();
    one.commit(Batch::new().put("a", "one")).await.unwrap();
    other.commit(Batch::new().put("b", "other")).await.unwrap();
    assert_eq!(other.get("a").await.unwrap(), None);
    assert_eq!(other.scan("", None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_transaction_sent_twice_is_committed_once() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster).await;
    let first = store.commit(Batch::new().put("a", "1")).await.unwrap();
    let batch = Batch::new()
        .check("a", Precondition::Revision(first))
        .put("a", "2");
    let transaction = txn::Transaction::new(&store.names, batch).unwrap();
    let mut client = raw(&cluster).await;
    let mut commits = Vec::new();
    for _ in 0..2 {
        let answer = client.txn(transaction.txn()).await.unwrap();
        match transaction.outcome(&store.names, &answer).unwrap() {
            Outcome::Committed(commit) => commits.push(commit),
            Outcome::Replacing => panic!("nothing is being replaced"),
            Outcome::Refused(error) => panic!("{error}"),
        }
    }
    let written = store.get("a").await.unwrap().unwrap();
    assert_eq!(commits, [written.revision, written.revision]);
    assert_eq!(written.value, b"2");
}

#[tokio::test]
async fn a_stale_write_is_refused_whoever_wrote_meanwhile() {
    let cluster = EtcdCluster::start(1);
    let (one, other) = (connect(&cluster).await, connect(&cluster).await);
    let first = one.commit(Batch::new().put("a", "1")).await.unwrap();
    other.commit(Batch::new().put("a", "2")).await.unwrap();
    let stale = Batch::new()
        .check("a", Precondition::Revision(first))
        .put("a", "stale");
    assert!(one.commit(stale).await.unwrap_err().is_conflict());
    assert_eq!(one.get("a").await.unwrap().unwrap().value, b"2");
}

#[tokio::test]
async fn what_etcd_cannot_take_is_refused_before_it_is_sent() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster).await;
    let many = |count: usize| {
        (0..count).fold(Batch::new(), |batch, number| {
            let key = format!("key/{number}");
            batch.check(&key, Precondition::Absent).put(key, "v")
        })
    };
    let wide = store.commit(many(126)).await.unwrap_err();
    assert!(
        matches!(&wide, StoreError::Refused(text) if text.contains("126 operations")),
        "{wide}"
    );
    let heavy = Batch::new().put("a", vec![0; 1536 * 1024]);
    let heavy = store.commit(heavy).await.unwrap_err();
    assert!(
        matches!(&heavy, StoreError::Refused(text) if text.contains("bytes")),
        "{heavy}"
    );
    // what is just within is taken
    store.commit(many(125)).await.unwrap();
    let large = Batch::new().put("a", vec![0; 1535 * 1024]);
    store.commit(large).await.unwrap();
    assert_eq!(store.scan("", None, 500).await.unwrap().len(), 126);
}

#[tokio::test]
async fn nobody_writes_to_a_store_that_was_moved() {
    let cluster = EtcdCluster::start(1);
    let (mover, other) = (connect(&cluster).await, connect(&cluster).await);
    let mark = Batch::new()
        .check(MOVED, Precondition::Absent)
        .put(MOVED, "being moved");
    let mark = mover.commit(mark).await.unwrap();
    for batch in [
        Batch::new().put("a", "1"),
        Batch::new().check("a", Precondition::Absent).put("a", "1"),
    ] {
        let refused = other.commit(batch).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Moved) && !refused.retry_helps(),
            "{refused}"
        );
    }
    let unmark = Batch::new()
        .check(MOVED, Precondition::Revision(mark))
        .delete(MOVED);
    mover.commit(unmark).await.unwrap();
    other.commit(Batch::new().put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_after_the_cluster_was_away() {
    let mut cluster = EtcdCluster::start(1);
    let store = connect(&cluster).await;
    let mut watch = store.watch();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    cluster.restart(0);
    cluster.wait();
    // written by another client, so that only the watch can tell
    let mut client = raw(&cluster).await;
    let put = client.put("test/entry/b", "1", None).await.unwrap();
    rises_to(&mut watch, revision_of(put.header()).unwrap()).await;
}

#[tokio::test]
async fn a_compacted_history_is_read_anew_and_nothing_is_missed() {
    let mut cluster = EtcdCluster::start(1);
    let store = connect(&cluster).await;
    let mut watch = store.watch();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    // The watch falls behind while the member is away, and what it missed is compacted away as soon as it is back.
    cluster.restart(0);
    cluster.wait();
    let (mut client, mut last) = (raw(&cluster).await, 0);
    for round in 0..20 {
        let put = client.put("test/entry/b", round.to_string(), None).await;
        last = put.unwrap().header().unwrap().revision();
        client.compact(last, None).await.unwrap();
    }
    let last = u64::try_from(last).unwrap();
    rises_to(&mut watch, last).await;
    assert_eq!(store.newer("", last - 1).await.unwrap().entries.len(), 1);
    assert_eq!(store.scan("", None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_watch_that_begins_in_a_compacted_history_tells_what_is() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster).await;
    let mut last = 0;
    for round in 0..5 {
        last = store
            .commit(Batch::new().put("a", round.to_string()))
            .await
            .unwrap();
    }
    let mut client = raw(&cluster).await;
    client
        .compact(i64::try_from(last).unwrap(), None)
        .await
        .unwrap();
    // a follower that has seen nothing since the first commit
    let commits = watch::Sender::new(1);
    let mut watch = commits.subscribe();
    let _task = watcher::run(Arc::clone(&store.cluster), store.names.entries(), commits);
    rises_to(&mut watch, last).await;
    let next = store.commit(Batch::new().put("a", "next")).await.unwrap();
    rises_to(&mut watch, next).await;
}

#[tokio::test]
async fn writes_go_on_when_the_leader_is_killed_and_each_is_there_once() {
    let mut cluster = EtcdCluster::start(3);
    let store = Arc::new(connect(&cluster).await);
    let other = connect(&cluster).await;
    let mut watch = other.watch();
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        let mut present = writer.commit(Batch::new().put("a", "0")).await.unwrap();
        for round in 1..=60_u32 {
            // by compare-and-swap: a write that happened twice, or was lost, would end the row
            let batch = Batch::new()
                .check("a", Precondition::Revision(present))
                .check(format!("round/{round}"), Precondition::Absent)
                .put("a", round.to_string())
                .put(format!("round/{round}"), "");
            present = writer
                .commit(batch)
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        present
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let leader = cluster.leader();
    cluster.kill(leader);
    let last = writing.await.unwrap();
    rises_to(&mut watch, last).await;
    assert_eq!(other.scan("round/", None, 500).await.unwrap().len(), 60);
    assert_eq!(store.get("a").await.unwrap().unwrap().value, b"60");
}

#[tokio::test]
async fn without_a_quorum_calls_say_so_and_go_on_when_it_is_back() {
    let mut cluster = EtcdCluster::start(3);
    let store = EtcdStore::connect(EtcdOptions {
        timeout: Duration::from_secs(3),
        ..options(&cluster)
    });
    let store = store.await.unwrap();
    let first = store.commit(Batch::new().put("a", "1")).await.unwrap();
    cluster.kill(0);
    cluster.kill(1);
    for _ in 0..2 {
        let batch = Batch::new()
            .check("a", Precondition::Revision(first))
            .put("b", "half");
        let lost = store.commit(batch).await.unwrap_err();
        assert!(lost.retry_helps(), "{lost}");
        let lost = store.get("a").await.unwrap_err();
        assert!(lost.retry_helps(), "{lost}");
    }
    cluster.restart(0);
    cluster.restart(1);
    cluster.wait();
    let patient = connect(&cluster).await;
    assert_eq!(patient.get("a").await.unwrap().unwrap().revision, first);
    let mut written = store.commit(Batch::new().put("a", "2")).await;
    for _ in 0..20 {
        if written.is_ok() {
            break;
        }
        written = store.commit(Batch::new().put("a", "2")).await;
    }
    written.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_connecting_ends_within_its_time_with_the_reason() {
    let mut cluster = EtcdCluster::start(1);
    cluster.kill(0);
    let error = EtcdStore::connect(EtcdOptions {
        timeout: Duration::from_secs(1),
        ..options(&cluster)
    });
    let error = error.await.unwrap_err();
    assert!(error.retry_helps(), "{error}");
    assert!(error.to_string().contains("etcd"), "{error}");
}

fn credentials(
    folder: &PemFolder,
    ca: &CertificateAuthority,
    issuer: &CertificateAuthority,
) -> Credentials {
    let files = folder.write(
        "key-manager",
        &issuer.issue(&Leaf::client("key-manager")),
        ca,
    );
    let files = TlsFiles {
        cert: files.cert,
        key: files.key,
        ca: files.ca,
    };
    Credentials::open(&files, SystemClock::shared()).unwrap()
}

#[tokio::test]
async fn over_tls_both_sides_prove_who_they_are() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("etcd"));
    let cluster = EtcdCluster::start_secure(1, &ca);
    let with = |credentials| EtcdOptions {
        credentials: Some(credentials),
        timeout: Duration::from_secs(20),
        ..options(&cluster)
    };
    let store = EtcdStore::connect(with(credentials(&folder, &ca, &ca)))
        .await
        .unwrap();
    let commit = store.commit(Batch::new().put("a", "1")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().revision, commit);
    let stranger = CertificateAuthority::new("etcd");
    for (what, trusted, issuer) in [
        ("a client of another authority", &ca, &stranger),
        ("a server of another authority", &stranger, &ca),
    ] {
        let mut wrong = with(credentials(&folder, trusted, issuer));
        wrong.timeout = Duration::from_secs(2);
        let error = EtcdStore::connect(wrong).await.unwrap_err();
        assert!(error.retry_helps(), "{what}: {error}");
    }
}

#[tokio::test]
async fn users_are_let_in_with_their_password_and_only_below_their_prefix() {
    let cluster = EtcdCluster::start(1);
    let mut client = raw(&cluster).await;
    client.user_add("root", "root's", None).await.unwrap();
    client
        .user_grant_role("root", "root")
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    client.role_add("keys").await.unwrap();
    let below = etcd_client::Permission::read_write("test/").with_prefix();
    client.role_grant_permission("keys", below).await.unwrap();
    client
        .user_add("key-manager", "secret", None)
        .await
        .unwrap();
    client.user_grant_role("key-manager", "keys").await.unwrap();
    client.auth_enable().await.unwrap();
    let with = |user: Option<&str>, prefix: &str| EtcdOptions {
        user: user.map(|password| {
            (
                "key-manager".to_owned(),
                Zeroizing::new(password.to_owned()),
            )
        }),
        prefix: prefix.to_owned(),
        ..options(&cluster)
    };
    let store = EtcdStore::connect(with(Some("secret"), "test/"))
        .await
        .unwrap();
    let commit = store.commit(Batch::new().put("a", "1")).await.unwrap();
    let other = EtcdStore::connect(with(Some("secret"), "test/"))
        .await
        .unwrap();
    let mut watch = other.watch();
    assert!(*watch.borrow_and_update() >= commit);
    let next = store.commit(Batch::new().put("a", "2")).await.unwrap();
    rises_to(&mut watch, next).await;
    for (what, options) in [
        ("a wrong password", with(Some("guess"), "test/")),
        ("no password", with(None, "test/")),
        ("another prefix", with(Some("secret"), "other/")),
    ] {
        let refused = EtcdStore::connect(options).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Denied(_)) && !refused.retry_helps(),
            "{what}: {refused}"
        );
        assert!(!refused.to_string().contains("guess"), "{what}: {refused}");
    }
}

#[tokio::test]
async fn a_replacement_that_was_decided_and_broken_off_is_ended_by_whoever_comes_next() {
    let cluster = EtcdCluster::start(1);
    let (one, other) = (connect(&cluster).await, connect(&cluster).await);
    one.commit(Batch::new().put("old", "1").put("both", "1"))
        .await
        .unwrap();
    let part = |count: usize| -> Vec<Pair> {
        let many = (0..count).map(|number| (format!("new/{number:03}"), b"2".to_vec()));
        many.chain([("both".to_owned(), b"2".to_vec())]).collect()
    };
    // killed while it stages: nothing has changed, and nobody is held up
    replace::begin(&one.cluster, &one.names, [1; 16])
        .await
        .unwrap();
    replace::stage(&one.cluster, &one.names, [1; 16], part(50))
        .await
        .unwrap();
    other.settle().await.unwrap();
    other.commit(Batch::new().put("more", "1")).await.unwrap();
    assert_eq!(other.scan("", None, 500).await.unwrap().len(), 3);
    // a later one clears that away, and is killed right after its decision
    let id = [2; 16];
    replace::begin(&one.cluster, &one.names, id).await.unwrap();
    let overtaken = replace::decide(&one.cluster, &one.names, [1; 16], &[]).await;
    assert!(
        matches!(&overtaken, Err(error) if error.retry_helps()),
        "{overtaken:?}"
    );
    replace::stage(&one.cluster, &one.names, id, part(100))
        .await
        .unwrap();
    replace::decide(&one.cluster, &one.names, id, &[])
        .await
        .unwrap();
    // asked once more, because the answer was lost
    replace::decide(&one.cluster, &one.names, id, &[])
        .await
        .unwrap();
    let refused = other
        .commit(Batch::new().put("late", "1"))
        .await
        .unwrap_err();
    assert!(refused.retry_helps(), "{refused}");
    let keys: Vec<String> = other
        .scan("", None, 500)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.key)
        .collect();
    assert_eq!(keys.len(), 101, "{keys:?}");
    assert!(keys.contains(&"both".to_owned()) && !keys.contains(&"late".to_owned()));
    assert_eq!(other.get("both").await.unwrap().unwrap().value, b"2");
    other.commit(Batch::new().put("late", "1")).await.unwrap();
    // many at once bring it to its end once
    replace::begin(&one.cluster, &one.names, id).await.unwrap();
    replace::stage(&one.cluster, &one.names, id, part(90))
        .await
        .unwrap();
    replace::decide(&one.cluster, &one.names, id, &[])
        .await
        .unwrap();
    let (first, second) = tokio::join!(one.settle(), other.settle());
    first.and(second).unwrap();
    one.settle().await.unwrap();
    assert_eq!(one.scan("", None, 500).await.unwrap().len(), 91);
}
