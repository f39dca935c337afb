use std::{
    fs,
    path::{Path, PathBuf},
};

use audit_log::{Statement, Verifier, parse_file_name};
use jose::{algorithm::JwsAlgorithm, jwk::PublicJwk, provider::Provider as _};
use jose_aws_lc::AwsLc;
use service_kit::clock::FakeClock;
use tempfile::TempDir;

use super::*;
use crate::{seal::LocalKek, store::MemoryStore};

const NOW: u64 = 1_800_000_000;
const ROOMY: u64 = 1_000_000;

struct World {
    folder: TempDir,
    vault: Arc<Vault>,
    clock: FakeClock,
}

impl World {
    async fn new() -> Self {
        let kek = Arc::new(LocalKek::new(&[1; 32]).unwrap());
        let vault = Vault::open(Arc::new(MemoryStore::new()), kek)
            .await
            .unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            vault: Arc::new(vault),
            clock: FakeClock::at(NOW),
        }
    }

    async fn open(&self) -> AuditLog {
        self.open_with(ROOMY).await.unwrap()
    }

    async fn open_with(&self, segment_bytes: u64) -> Result<AuditLog, AuditError> {
        let (vault, clock) = (Arc::clone(&self.vault), self.clock.shared());
        // As a process does that starts later: chains are named by their time.
        self.clock.advance(Duration::from_secs(1));
        AuditLog::open_with(&self.path(), vault, clock, segment_bytes).await
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn files(&self) -> Vec<PathBuf> {
        let names = recover::segments(&self.path()).unwrap();
        names.iter().map(|name| self.path().join(name)).collect()
    }

    fn last(&self) -> PathBuf {
        self.files().pop().unwrap()
    }

    /// The verifier's word on the whole folder, with what the store knows.
    async fn verify(&self) -> Result<audit_log::Report, audit_log::Fault> {
        let signer = Signer::load(&self.vault).await.unwrap();
        let jwk = PublicJwk::parse(signer.public_jwk().as_bytes()).unwrap();
        let key = AwsLc
            .verifying_key(JwsAlgorithm::parse("EdDSA").unwrap(), &jwk.key)
            .unwrap();
        let anchors = self.vault.anchors().await.unwrap();
        let expected: Vec<Statement> = anchors
            .into_iter()
            .map(|anchor| {
                assert_eq!(
                    Statement::verify(&anchor.jws, key.as_ref()).unwrap(),
                    anchor.statement
                );
                anchor.statement
            })
            .collect();
        let mut verifier = Verifier::new(&AwsLc, key.as_ref(), expected);
        for file in self.files() {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            verifier.file(&name, &fs::read(&file).unwrap())?;
        }
        verifier.finish()
    }

    /// Everything that the log says was done, with its reasons.
    async fn acts(&self, log: &AuditLog) -> Vec<(String, String)> {
        let query = Query {
            limit: 10_000,
            ..Query::default()
        };
        let page = log.query(query, |_| true).await.unwrap();
        assert_eq!(page.next, None);
        let acts = page.entries.into_iter();
        acts.map(|(_, _, _, act)| (act.act, act.reason)).collect()
    }
}

fn act(number: usize) -> Act {
    Act {
        caller: format!("caller-{}", number % 2),
        act: format!("Act{number}"),
        tenant: "default".to_owned(),
        key_set: format!("op/{}", number % 3),
        ..Act::default()
    }
}

async fn fill(log: &AuditLog, acts: usize) {
    for number in 0..acts {
        log.append(act(number)).await.unwrap();
    }
}

fn append(path: &Path, text: &str) {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend_from_slice(text.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_log_goes_on_where_it_ended_and_is_whole() {
    let world = World::new().await;
    let first = world.open().await;
    let key = first.public_jwk().to_owned();
    fill(&first, 5).await;
    drop(first);
    let second = world.open().await;
    assert_eq!(second.public_jwk(), key);
    fill(&second, 5).await;
    second.checkpoint().await.unwrap();
    let report = world.verify().await.unwrap();
    // A segment, its note, ten acts, and a checkpoint at the start, at the second start and at the end.
    assert_eq!((report.entries, report.checkpoints), (15, 3));
    assert_eq!(world.files().len(), 1);
    assert!(
        report
            .chains
            .values()
            .all(|(last, after)| last.is_some() && *after == 0)
    );
    second.checkpoint().await.unwrap();
    assert_eq!(
        world.verify().await.unwrap(),
        report,
        "nothing new, no checkpoint"
    );
}

#[tokio::test]
async fn a_full_segment_is_followed_by_another_of_the_same_chain() {
    let world = World::new().await;
    let log = world.open_with(2_000).await.unwrap();
    fill(&log, 40).await;
    log.checkpoint().await.unwrap();
    let files = world.files();
    assert!(files.len() > 3, "{files:?}");
    let report = world.verify().await.unwrap();
    assert_eq!(report.chains.len(), 1);
    assert_eq!(world.acts(&log).await.len(), 41);
    drop(log);
    let log = world.open_with(2_000).await.unwrap();
    fill(&log, 10).await;
    log.checkpoint().await.unwrap();
    assert_eq!(world.verify().await.unwrap().chains.len(), 1);
}

#[tokio::test]
async fn what_a_power_cut_left_unfinished_is_cut_off_and_said() {
    let world = World::new().await;
    fill(&world.open().await, 3).await;
    append(&world.last(), r#"{"hash":"abc","#);
    let log = world.open().await;
    let acts = world.acts(&log).await;
    let recovered = (
        "RecoverLog".to_owned(),
        "14 bytes of an unfinished entry were cut off".to_owned(),
    );
    assert_eq!(acts.last(), Some(&recovered));
    assert_eq!(world.verify().await.unwrap().chains.len(), 1);

    // A segment of which not even the first entry was finished.
    drop(log);
    let (chain, _) = parse_file_name("x.000000000001.jsonl").unwrap();
    assert_eq!(chain, "x");
    let name = world
        .last()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let (chain, _) = parse_file_name(&name).unwrap();
    fs::write(
        world.path().join(audit_log::file_name(chain, 99)),
        r#"{"ha"#,
    )
    .unwrap();
    let log = world.open().await;
    fill(&log, 1).await;
    log.checkpoint().await.unwrap();
    assert_eq!(world.verify().await.unwrap().chains.len(), 1);
}

/// What is done to the last file of a log; whether the verifier sees it in that file.
type Harm = fn(&Path);

#[tokio::test]
async fn a_log_that_was_changed_or_cut_off_stays_as_it_is_and_a_new_chain_says_so() {
    let harms: [(&str, Harm); 4] = [
        ("a changed entry", |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("Act1", "Act9", 1)).unwrap();
        }),
        ("an entry removed", |path| {
            let text = fs::read_to_string(path).unwrap();
            let kept: Vec<&str> = text
                .split_inclusive('\n')
                .enumerate()
                .filter(|(n, _)| *n != 4)
                .map(|(_, l)| l)
                .collect();
            fs::write(path, kept.concat()).unwrap();
        }),
        ("cut off before the last checkpoint", |path| {
            let text = fs::read_to_string(path).unwrap();
            let kept: String = text.split_inclusive('\n').take(4).collect();
            fs::write(path, kept).unwrap();
        }),
        ("emptied", |path| fs::write(path, "\n").unwrap()),
    ];
    for (what, harm) in harms {
        let world = World::new().await;
        let log = world.open().await;
        fill(&log, 5).await;
        log.checkpoint().await.unwrap();
        drop(log);
        let path = world.last();
        harm(&path);
        let harmed = fs::read(&path).unwrap();
        let log = world.open().await;
        fill(&log, 1).await;
        log.checkpoint().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), harmed, "{what}");
        assert_eq!(world.files().len(), 2, "{what}");
        let (said, reason) = world.acts(&log).await.into_iter().rev().nth(1).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            said == "RecoverLog" && reason.contains(&name),
            "{what}: {said} {reason}"
        );
        let fault = world.verify().await.expect_err(what);
        assert_eq!(fault.file, name, "{what}: {fault}");
    }
}

#[tokio::test]
async fn a_disk_that_refuses_refuses_the_act_and_nothing_of_it_stays() {
    let world = World::new().await;
    let log = world.open_with(2_000).await.unwrap();
    // A folder stands where the next segment has to go.
    let mut refused = 0;
    let mut blocked: Option<PathBuf> = None;
    for number in 0..40 {
        let before = world.acts(&log).await.len();
        let name = world
            .last()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let (chain, _) = parse_file_name(&name).unwrap();
        if blocked.is_none() && number > 3 {
            for seq in 10..30 {
                let path = world.path().join(audit_log::file_name(chain, seq));
                if !path.exists() {
                    fs::create_dir(&path).unwrap();
                }
            }
            blocked = Some(world.path());
        }
        let appended = log.append(act(number)).await;
        if appended.is_err() {
            refused += 1;
            let kept = recover::segments(&world.path()).unwrap();
            assert!(!kept.is_empty());
            if refused == 3 {
                for seq in 10..30 {
                    let path = world.path().join(audit_log::file_name(chain, seq));
                    if path.is_dir() {
                        fs::remove_dir(&path).unwrap();
                    }
                }
                let after = log.append(act(number)).await;
                assert!(after.is_ok(), "it goes on without hands: {after:?}");
                break;
            }
        } else if blocked.is_none() {
            assert_eq!(world.acts(&log).await.len(), before + 1);
        }
    }
    assert_eq!(refused, 3);
    log.checkpoint().await.unwrap();
    assert_eq!(world.verify().await.unwrap().chains.len(), 1);
}

#[tokio::test]
async fn a_segment_that_is_taken_away_while_it_is_written_is_missed_at_once() {
    let world = World::new().await;
    let log = world.open().await;
    fill(&log, 3).await;
    world.clock.advance(Duration::from_secs(1));
    fs::remove_file(world.last()).unwrap();
    fill(&log, 1).await;
    log.checkpoint().await.unwrap();
    let acts = world.acts(&log).await;
    assert!(
        acts[0].0 == "RecoverLog" && acts[0].1.contains("is gone"),
        "{acts:?}"
    );
    assert!(
        world.verify().await.is_err(),
        "the store knows the chain that is gone"
    );

    world.clock.advance(Duration::from_secs(1));
    fs::remove_dir_all(world.path()).unwrap();
    assert!(log.append(act(1)).await.is_err(), "nowhere to write");
    fs::create_dir(world.path()).unwrap();
    fill(&log, 1).await;
    assert_eq!(world.acts(&log).await[0].0, "RecoverLog");
}

#[tokio::test]
async fn who_comes_second_to_a_folder_takes_one_inside_and_a_file_is_none() {
    let world = World::new().await;
    let log = world.open().await;
    let second = world.open().await;
    assert_eq!(log.folder(), world.path());
    assert_eq!(second.folder(), world.path().join("2"));
    assert_eq!(
        log.checkpoints().await.unwrap().len(),
        2,
        "a chain for each"
    );
    drop((log, second));
    fs::remove_dir_all(world.path()).unwrap();
    fs::write(world.path(), "a file").unwrap();
    let refused = world.open_with(ROOMY).await;
    assert!(
        matches!(refused, Err(AuditError::Disk { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_query_gives_pages_of_what_fits_and_is_visible() {
    let world = World::new().await;
    let log = world.open_with(2_000).await.unwrap();
    fill(&log, 30).await;
    let query = |cursor| Query {
        caller: "caller-1".to_owned(),
        limit: 4,
        cursor,
        ..Query::default()
    };
    let (mut cursor, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = log
            .query(query(cursor), |act| act.key_set != "op/0")
            .await
            .unwrap();
        assert!(page.entries.len() <= 4);
        found.extend(page.entries.into_iter().map(|(_, _, _, act)| act.act));
        pages += 1;
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = (0..30)
        .filter(|n| n % 2 == 1 && n % 3 != 0)
        .map(|n| format!("Act{n}"))
        .collect();
    assert_eq!(found, expected);
    assert!(pages >= 3, "{pages}");

    let from = Query {
        from: Some(NOW * 1_000 + 3_600_000),
        limit: 10,
        ..Query::default()
    };
    assert!(log.query(from, |_| true).await.unwrap().entries.is_empty());
    let name = world
        .last()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    for offset in [1, 7, u64::MAX] {
        let cursor = Some(Cursor {
            file: name.clone(),
            offset,
        });
        let refused = log.query(query(cursor), |_| true).await;
        assert!(
            matches!(refused, Err(AuditError::Cursor)),
            "{offset}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn replicas_on_one_store_share_the_key_and_keep_chains_of_their_own() {
    let world = World::new().await;
    let other = World {
        folder: tempfile::tempdir().unwrap(),
        vault: Arc::clone(&world.vault),
        clock: FakeClock::at(NOW),
    };
    let (one, two) = (world.open().await, other.open().await);
    assert_eq!(one.public_jwk(), two.public_jwk());
    assert_eq!(one.checkpoints().await.unwrap().len(), 2);
    let shown = format!("{:?}", Signer::load(&world.vault).await.unwrap());
    assert!(
        shown.starts_with("Signer { kid:") && !shown.contains("key:"),
        "{shown}"
    );
}
