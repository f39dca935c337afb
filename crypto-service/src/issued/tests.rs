//! The recorder against a key-manager that the test plays, and processes that are forgotten without a word.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use issued_log::{Entry, Header, Opener, RecipientKey, SubjectKey};
use service_kit::clock::{Clock as _, SharedClock, SystemClock};
use service_kit::config::Span;
use service_kit::identity::{Caller, IdentityRules};
use service_kit::shutdown::Shutdown;
use service_kit::telemetry::Metrics;
use testkit::{CertificateAuthority, Leaf};
use tokio::task::JoinHandle;

use super::carrier::{Carrier, CarrierError, Shipment};
use super::hindrance;
use super::{Issued, IssuedSettings, Recorder, Shipper, WhenUnrecordable};
use crate::keys::{IssuedKeys, KeySet, KeySetSpec, KeysWriter, Profile, Terms, Times, pair};
use crate::refusal::Refusal;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the played key-manager does.
const TAKES: u8 = 0;
const AWAY: u8 = 1;
const REFUSES: u8 = 2;

/// A key-manager that opens what comes, and takes each frame once.
#[derive(Clone)]
struct Played {
    key: Arc<RecipientKey>,
    answers: Arc<AtomicU8>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    entries: Vec<Entry>,
    /// By segment, the next frame.
    next: std::collections::HashMap<Vec<u8>, u32>,
    finished: Vec<String>,
    complete_until: std::collections::HashMap<String, u64>,
    frames: usize,
}

impl Carrier for Played {
    async fn ship(&self, shipment: Shipment) -> Result<(), CarrierError> {
        match self.answers.load(Ordering::SeqCst) {
            AWAY => return Err(CarrierError::Away("away".to_owned())),
            REFUSES if shipment.frames.is_some() => {
                return Err(CarrierError::Refused("refused".to_owned()));
            }
            _ => {}
        }
        let mut taken = self.taken.lock().unwrap();
        if let Some((header, first, bodies)) = shipment.frames {
            let opener = Opener::new(&self.key, &Header::read(&header).unwrap()).unwrap();
            for (number, body) in (first..).zip(&bodies) {
                let opened = opener.open(number, body).unwrap();
                let next = taken.next.entry(header.clone()).or_default();
                assert!(number <= *next, "a frame is missing before {number}");
                if number == *next {
                    *next += 1;
                    taken.entries.extend(opened.entries);
                }
                taken.frames += 1;
            }
        }
        if let Some(until) = shipment.complete_until {
            let known = taken.complete_until.entry(shipment.process.clone());
            let known = known.or_default();
            assert!(until >= *known, "what was complete is not any more");
            *known = until;
        }
        if shipment.finished {
            taken.finished.push(shipment.process);
        }
        Ok(())
    }
}

impl Played {
    fn new() -> Self {
        let secret = RecipientKey::generate_pair().unwrap();
        Self {
            key: Arc::new(RecipientKey::new(&secret[..32]).unwrap()),
            answers: Arc::default(),
            taken: Arc::default(),
        }
    }

    fn answers(&self, how: u8) {
        self.answers.store(how, Ordering::SeqCst);
    }

    fn jtis(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken
            .entries
            .iter()
            .map(|entry| entry.jti.clone())
            .collect()
    }
}

fn settings(folder: &Path) -> IssuedSettings {
    IssuedSettings {
        folder: folder.to_owned(),
        write_interval: Span::millis(5),
        sync_interval: Span::millis(10),
        max_unwritten: Span::secs(10),
        max_unsynced: Span::secs(20),
        ..IssuedSettings::default()
    }
}

/// One process on a folder.
struct Process {
    recorder: Recorder,
    shutdown: Shutdown,
    shipping: Option<JoinHandle<()>>,
    _writer: KeysWriter,
    set: Arc<KeySet>,
    caller: Caller,
    nonce: String,
}

impl Process {
    fn start(settings: IssuedSettings, nonce: u8, played: &Played) -> Self {
        let clock: SharedClock = SystemClock::shared();
        let (mut writer, keys) = pair(clock.clone(), Terms::default());
        let set = KeySetSpec {
            tenant: "default".to_owned(),
            name: "op/a".to_owned(),
            key_use: keyring::Use::Sign,
            issuer: String::new(),
            publish: keyring::Publish::None,
            profile: Profile {
                record_issued: true,
                ..Profile::default()
            },
            enc: None,
            versions: Vec::new(),
            next_change: None,
            ready_at: None,
        };
        writer.replace(1, Times::default(), vec![set]).unwrap();
        writer.record_with(Some(IssuedKeys {
            recipient: played.key.recipient(),
            subjects: SubjectKey::new(&[1; 32]),
        }));
        let set = Arc::clone(keys.snapshot().set("default", "op/a").unwrap());
        let metrics = Metrics::new("test", "0");
        let (recorder, running) =
            Recorder::start(settings, keys, clock, &metrics, [nonce; 16]).unwrap();
        let shutdown = Shutdown::new();
        let shipper = Shipper::new(recorder.clone(), running.unwrap(), played.clone());
        let shipping = Some(tokio::spawn(shipper.run(shutdown.clone())));
        let leaf = CertificateAuthority::new("test").issue(&Leaf::client("token"));
        let caller = Caller::from_leaf(&leaf.der(), IdentityRules::default()).unwrap();
        Self {
            recorder,
            shutdown,
            shipping,
            _writer: writer,
            set,
            caller,
            nonce: format!("{nonce:02x}").repeat(16),
        }
    }

    fn issue(&self, jti: &str) -> Result<(), Refusal> {
        let permit = self.recorder.admit()?;
        permit.record(Issued {
            set: Arc::clone(&self.set),
            kid: "k".into(),
            caller: self.caller.clone(),
            jti: jti.to_owned(),
            subject: None,
            expires_at: Some(2_000_000_000),
        });
        Ok(())
    }

    async fn ready(&self) {
        eventually("a permit", || self.recorder.admit().is_ok()).await;
    }

    /// As a kill would: the shipper goes, what is written stays.
    async fn killed(mut self) {
        if let Some(shipping) = self.shipping.take() {
            shipping.abort();
            let _aborted = shipping.await;
        }
        self.recorder.stop();
    }

    async fn drained(mut self) {
        self.shutdown.trigger();
        self.shipping.take().unwrap().await.unwrap();
    }
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "not seen: {what}");
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths
}

fn unready(refused: &Refusal, says: &str) {
    let text = refused.to_string();
    assert!(text.contains(says), "{text}");
}

#[tokio::test]
async fn what_is_issued_arrives_once_and_leaves_no_file_behind() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let process = Process::start(settings(folder.path()), 1, &played);
    process.ready().await;
    for number in 0..1_000 {
        process.issue(&format!("{number}")).unwrap();
    }
    let before = SystemClock.since_epoch();
    eventually("1,000 entries", || played.jtis().len() == 1_000).await;
    eventually("a report that all is there", || {
        let taken = played.taken.lock().unwrap();
        let until = taken.complete_until.get(&process.nonce).copied();
        until.is_some_and(|until| u128::from(until) >= before.as_millis())
    })
    .await;
    let nonce = process.nonce.clone();
    process.drained().await;
    let expected: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    assert_eq!(played.jtis(), expected);
    assert_eq!(played.taken.lock().unwrap().finished, [nonce]);
    assert!(files(folder.path(), "issued").is_empty());
    assert!(files(folder.path(), "process").is_empty());
}

#[tokio::test]
async fn nothing_is_permitted_before_a_key_manager_has_taken_something_and_nothing_without_a_folder()
 {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    played.answers(AWAY);
    let process = Process::start(settings(folder.path()), 1, &played);
    tokio::time::sleep(Duration::from_millis(50)).await;
    unready(&process.issue("a").unwrap_err(), "no key-manager takes");
    played.answers(TAKES);
    process.ready().await;
    process.issue("a").unwrap();
    process.drained().await;
    assert_eq!(played.jtis(), ["a"]);

    let (_, keys) = pair(SystemClock::shared(), Terms::default());
    let recorder = Recorder::off(keys, SystemClock::shared());
    unready(&recorder.admit().unwrap_err(), "issued.folder");
}

#[tokio::test]
async fn a_key_manager_that_is_away_loses_nothing_and_what_fills_the_folder_is_refused() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let small = IssuedSettings {
        segment_bytes: 4_096,
        max_bytes: 16_384,
        ..settings(folder.path())
    };
    let process = Process::start(small, 1, &played);
    process.ready().await;
    played.answers(AWAY);
    let mut issued = Vec::new();
    let refused = loop {
        let jti = format!("{}-{}", issued.len(), "x".repeat(100));
        match process.issue(&jti) {
            Ok(()) => issued.push(jti),
            Err(refused) => break refused,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(matches!(refused, Refusal::Unrecordable(_)), "{refused:?}");
    unready(&refused, "fill their folder");
    assert!(
        files(folder.path(), "issued").len() > 1,
        "segments are ended"
    );
    played.answers(TAKES);
    process.ready().await;
    process.issue("after").unwrap();
    issued.push("after".to_owned());
    process.drained().await;
    assert_eq!(played.jtis(), issued);
}

#[tokio::test]
async fn what_a_killed_process_has_written_is_shipped_by_the_next_and_a_torn_end_is_cut_off() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let process = Process::start(settings(folder.path()), 1, &played);
    process.ready().await;
    played.answers(AWAY);
    for number in 0..50 {
        process.issue(&format!("{number}")).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    process.killed().await;
    let segment = || files(folder.path(), "issued").pop().unwrap();
    eventually("the segment is closed", || {
        let size = || std::fs::metadata(segment()).unwrap().len();
        let before = size();
        std::thread::sleep(Duration::from_millis(50));
        before == size()
    })
    .await;
    // A write that a power cut has torn.
    let mut bytes = std::fs::read(segment()).unwrap();
    bytes.extend([0, 0, 1, 0, 9, 9, 9]);
    std::fs::write(segment(), &bytes).unwrap();
    std::fs::write(folder.path().join("0-torn.issued"), "CISG").unwrap();

    let next = Process::start(settings(folder.path()), 2, &played);
    let lost = next.recorder.shared().counters.lost_bytes.get();
    assert_eq!(lost, 7, "bytes that are cut off are counted");
    assert!(next.recorder.admit().is_err(), "the key-manager is away");
    played.answers(TAKES);
    next.ready().await;
    next.issue("next").unwrap();
    next.drained().await;
    let mut expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    expected.push("next".to_owned());
    assert_eq!(played.jtis(), expected);
    let taken = played.taken.lock().unwrap();
    assert_eq!(taken.finished, ["01".repeat(16), "02".repeat(16)]);
}

#[tokio::test]
async fn a_refused_segment_is_kept_and_does_not_hold_up_reports() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let process = Process::start(settings(folder.path()), 1, &played);
    process.ready().await;
    played.answers(REFUSES);
    process.issue("a").unwrap();
    let reported = |process: &Process| {
        let taken = played.taken.lock().unwrap();
        taken.complete_until.get(&process.nonce).copied()
    };
    let before = reported(&process);
    tokio::time::sleep(Duration::from_millis(100)).await;
    process.issue("b").unwrap();
    let nonce = process.nonce.clone();
    process.drained().await;
    assert_eq!(played.jtis(), [""; 0]);
    assert_eq!(files(folder.path(), "issued").len(), 1, "it is kept");
    assert!(!played.taken.lock().unwrap().finished.contains(&nonce));
    assert!(before.is_some());
    played.answers(TAKES);
    let next = Process::start(settings(folder.path()), 2, &played);
    next.ready().await;
    next.drained().await;
    assert_eq!(played.jtis(), ["a", "b"]);
}

#[tokio::test]
async fn a_folder_that_is_taken_away_refuses_until_it_is_back() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let place = folder.path().join("issued");
    let process = Process::start(settings(&place), 1, &played);
    process.ready().await;
    let moved = folder.path().join("moved");
    std::fs::rename(&place, &moved).unwrap();
    // The first entry finds no folder for its segment; what is permitted until then waits in memory.
    process.issue("a").unwrap();
    eventually("a refusal", || process.recorder.admit().is_err()).await;
    let failing = process.recorder.shared().hindrances() & hindrance::FAILING;
    assert_ne!(failing, 0);
    unready(&process.issue("b").unwrap_err(), "disk");
    std::fs::rename(&moved, &place).unwrap();
    process.ready().await;
    process.issue("c").unwrap();
    process.drained().await;
    assert_eq!(played.jtis(), ["a", "c"]);
}

#[tokio::test]
async fn a_segment_that_somebody_removes_is_said_to_be_lost_and_the_next_one_works() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let process = Process::start(settings(folder.path()), 1, &played);
    process.ready().await;
    played.answers(AWAY);
    process.issue("lost").unwrap();
    let written = || files(folder.path(), "issued");
    eventually("a segment", || !written().is_empty()).await;
    std::fs::remove_file(&written()[0]).unwrap();
    // Whoever of the two looks first, the writer or the shipper, says so.
    process.issue("kept").unwrap();
    let lost = || process.recorder.shared().counters.lost_bytes.get() > 0;
    played.answers(TAKES);
    eventually("the loss is counted", lost).await;
    eventually("what came after", || {
        played.jtis().contains(&"kept".to_owned())
    })
    .await;
    process.drained().await;
}

#[tokio::test]
async fn who_prefers_to_sign_signs_and_the_tokens_without_a_record_are_counted() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    played.answers(AWAY);
    let lax = IssuedSettings {
        when_unrecordable: WhenUnrecordable::Sign,
        ..settings(folder.path())
    };
    let process = Process::start(lax, 1, &played);
    for _ in 0..3 {
        process.issue("unrecorded").unwrap();
    }
    assert_eq!(process.recorder.shared().counters.unrecorded.get(), 3);
    played.answers(TAKES);
    process.drained().await;
    assert_eq!(played.jtis(), [""; 0]);
}

#[tokio::test]
async fn more_than_the_queue_takes_is_refused_and_unused_permits_are_given_back() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let narrow = IssuedSettings {
        queue: 3,
        write_interval: Span::secs(3_600),
        max_unwritten: Span::secs(36_000),
        max_unsynced: Span::secs(36_000),
        ..settings(folder.path())
    };
    let process = Process::start(narrow, 1, &played);
    process.ready().await;
    let permits: Vec<_> = (0..3).map(|_| process.recorder.admit().unwrap()).collect();
    let refused = process.recorder.admit().unwrap_err();
    assert!(matches!(refused, Refusal::Unrecordable(_)), "{refused:?}");
    drop(permits);
    for number in 0..3 {
        process.issue(&format!("{number}")).unwrap();
    }
    assert!(process.issue("3").is_err());
    process.drained().await;
    assert_eq!(played.jtis(), ["0", "1", "2"]);
}

#[tokio::test]
async fn two_processes_do_not_share_a_folder() {
    let (folder, played) = (testkit::PemFolder::new(), Played::new());
    let first = Process::start(settings(folder.path()), 1, &played);
    let second = Process::start(settings(folder.path()), 2, &played);
    first.ready().await;
    second.ready().await;
    first.issue("first").unwrap();
    second.issue("second").unwrap();
    assert!(folder.path().join("2").is_dir());
    first.drained().await;
    second.drained().await;
    let mut jtis = played.jtis();
    jtis.sort();
    assert_eq!(jtis, ["first", "second"]);
}
