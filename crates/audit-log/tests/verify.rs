//! What the verifier finds: every flipped byte, and entries removed, swapped, repeated or cut off.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use audit_log::{Act, Body, Fault, Head, Outcome, Report, Segment, Statement, Verifier, file_name};
use jose::{
    algorithm::{Algorithm, JwsAlgorithm},
    key::{KeyMaterial, PublicKey},
    provider::{Provider, Sign, Verify},
};
use jose_aws_lc::{AwsLc, KeySpec};
use proptest::prelude::*;

const CHAIN: &str = "1800000000000-0a1b2c3d";

struct Key {
    sign: Arc<dyn Sign>,
    verify: Arc<dyn Verify>,
}

fn key() -> Key {
    let generated = AwsLc
        .generate(&KeySpec::new(Algorithm::parse("EdDSA").unwrap()))
        .unwrap();
    let KeyMaterial::Private(private) = &generated.material else {
        panic!("not a private key")
    };
    let public: PublicKey = private.public_key();
    Key {
        sign: AwsLc
            .signing_key(JwsAlgorithm::parse("EdDSA").unwrap(), &generated.material)
            .unwrap(),
        verify: AwsLc
            .verifying_key(JwsAlgorithm::parse("EdDSA").unwrap(), &public)
            .unwrap(),
    }
}

/// Two files of a chain: acts, and a checkpoint after each third.
struct Log {
    key: Key,
    files: Vec<(String, String)>,
    statements: Vec<Statement>,
}

fn act(number: u64) -> Body {
    Body::Act(Box::new(Act {
        caller: "spiffe://crypto.dev/admin".to_owned(),
        act: "RotateKeySet".to_owned(),
        tenant: "default".to_owned(),
        key_set: format!("op/{number}"),
        outcome: if number.is_multiple_of(2) {
            Outcome::Begun
        } else {
            Outcome::Done
        },
        of: if number.is_multiple_of(2) { 0 } else { number },
        ..Act::default()
    }))
}

fn log() -> Log {
    let key = key();
    let (mut head, mut files, mut statements) = (Head::default(), Vec::new(), Vec::new());
    for file in 0..2 {
        let name = file_name(CHAIN, head.seq + 1);
        let mut text = String::new();
        let mut add = |head: &mut Head, body: Body| {
            let (line, next) = head
                .next(&AwsLc, 1_800_000_000_000 + head.seq, body)
                .unwrap();
            text.push_str(&line);
            *head = next;
        };
        let segment = Segment {
            chain: CHAIN.to_owned(),
            previous: head.hash.clone(),
        };
        add(&mut head, Body::Segment(segment));
        for number in 0..6 {
            add(&mut head, act(file * 10 + number));
            if number % 3 == 2 {
                let (statement, jws) =
                    Statement::sign(CHAIN, &head, 5, "k", key.sign.as_ref()).unwrap();
                add(&mut head, Body::Checkpoint(jws));
                statements.push(statement);
            }
        }
        files.push((name, text));
    }
    Log {
        key,
        files,
        statements,
    }
}

impl Log {
    fn verify(&self, files: &[(String, String)], expected: &[Statement]) -> Result<Report, Fault> {
        let mut verifier = Verifier::new(&AwsLc, self.key.verify.as_ref(), expected.to_vec());
        for (name, text) in files {
            verifier.file(name, text.as_bytes())?;
        }
        verifier.finish()
    }

    fn last(&self) -> Vec<Statement> {
        self.statements.last().cloned().into_iter().collect()
    }

    /// The log with the lines of its first file changed.
    fn with(&self, change: impl FnOnce(&mut Vec<&str>)) -> Vec<(String, String)> {
        let mut files = self.files.clone();
        let mut lines: Vec<&str> = self.files[0].1.split_inclusive('\n').collect();
        change(&mut lines);
        files[0].1 = lines.concat();
        files
    }
}

#[test]
fn a_whole_log_is_found_whole() {
    let log = log();
    let report = log.verify(&log.files, &log.last()).unwrap();
    assert_eq!((report.entries, report.checkpoints), (18, 4));
    let (last, after) = &report.chains[CHAIN];
    assert_eq!((last.as_ref(), *after), (log.statements.last(), 0));
    assert_eq!(log.files[1].0, "1800000000000-0a1b2c3d.000000000010.jsonl");
}

#[test]
fn each_flipped_bit_of_each_byte_is_found_and_names_its_entry() {
    let log = log();
    for file in 0..log.files.len() {
        let bytes = log.files[file].1.as_bytes();
        let mut line = if file == 0 { 1 } else { 10 };
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[place] ^= 1 << bit;
                let mut verifier = Verifier::new(&AwsLc, log.key.verify.as_ref(), log.last());
                let mut found = Ok(());
                for (number, (name, text)) in log.files.iter().enumerate() {
                    let text = if number == file {
                        &changed
                    } else {
                        text.as_bytes()
                    };
                    found = found.and_then(|()| verifier.file(name, text));
                }
                let fault = found.expect_err("undetected");
                assert_eq!(fault.seq, line, "byte {place} bit {bit}: {fault}");
            }
            line += u64::from(bytes[place] == b'\n');
        }
    }
}

#[test]
fn what_was_removed_swapped_repeated_or_put_in_is_found() {
    let log = log();
    for (what, files, first_bad) in [
        (
            "an entry removed",
            log.with(|lines| {
                lines.remove(3);
            }),
            4,
        ),
        (
            "the first removed",
            log.with(|lines| {
                lines.remove(0);
            }),
            1,
        ),
        ("two swapped", log.with(|lines| lines.swap(2, 3)), 3),
        (
            "one repeated",
            log.with(|lines| lines.insert(3, lines[2])),
            4,
        ),
        (
            "a checkpoint moved",
            log.with(|lines| {
                let c = lines.remove(4);
                lines.insert(2, c);
            }),
            3,
        ),
        ("the end of a file", log.with(|lines| lines.truncate(7)), 8),
        ("an empty line", log.with(|lines| lines.insert(3, "\n")), 4),
        ("a file emptied", log.with(|lines| lines.clear()), 1),
        ("the first file removed", log.files[1..].to_vec(), 1),
        (
            "the files swapped",
            vec![log.files[1].clone(), log.files[0].clone()],
            1,
        ),
        (
            "a file twice",
            vec![log.files[0].clone(), log.files[0].clone()],
            10,
        ),
    ] {
        let fault = log.verify(&files, &log.last()).expect_err(what);
        assert_eq!(fault.seq, first_bad, "{what}: {fault}");
    }
    let mut renamed = log.files.clone();
    renamed[1].0 = file_name(CHAIN, 11);
    assert_eq!(log.verify(&renamed, &[]).unwrap_err().seq, 10);
}

#[test]
fn a_log_that_was_cut_off_is_found_by_a_checkpoint_that_was_kept() {
    let log = log();
    let lines = log.files[1].1.split_inclusive('\n').count();
    for kept in 0..lines {
        let mut files = log.files.clone();
        files[1].1 = log.files[1].1.split_inclusive('\n').take(kept).collect();
        if kept == 0 {
            files.pop();
        }
        let last = lines - 1;
        // The last line is the last checkpoint itself: what it covers is still there.
        let found = log.verify(&files, &log.last());
        assert_eq!(found.is_err(), kept < last, "{kept} lines: {found:?}");
        if let Err(fault) = found {
            let next = 10 + u64::try_from(kept).unwrap();
            assert_eq!(fault.seq, next, "{fault}");
        }
    }
    let fault = log.verify(&[], &log.last()).unwrap_err();
    assert!(fault.to_string().contains("cut off"), "{fault}");
}

#[test]
fn a_rewritten_chain_is_found_by_its_checkpoints_or_by_one_that_was_kept() {
    let (log, forger) = (log(), log_of_another_key());
    let fault = log.verify(&forger.files, &[]).unwrap_err();
    assert!(fault.problem.contains("not signed with the key"), "{fault}");
    assert_eq!(fault.seq, 5, "the first checkpoint");
    let kept = forger.verify(&forger.files, &log.statements).unwrap_err();
    assert!(kept.problem.contains("rewritten"), "{kept}");
}

fn log_of_another_key() -> Log {
    let mut forged = log();
    // Another key signs another JWS, so hashes differ from the first checkpoint on; the acts before it differ too.
    let mut head = Head::default();
    let mut text = String::new();
    let segment = Segment {
        chain: CHAIN.to_owned(),
        previous: head.hash.clone(),
    };
    for body in [Body::Segment(segment), act(1), act(2), act(4)] {
        let (line, next) = head.next(&AwsLc, 9, body).unwrap();
        text.push_str(&line);
        head = next;
    }
    let (_, jws) = Statement::sign(CHAIN, &head, 5, "k", forged.key.sign.as_ref()).unwrap();
    let (line, _) = head.next(&AwsLc, 9, Body::Checkpoint(jws)).unwrap();
    forged.files = vec![(file_name(CHAIN, 1), text + &line)];
    forged
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let log = log();
        let mut verifier = Verifier::new(&AwsLc, log.key.verify.as_ref(), Vec::new());
        let _refused = verifier.file(&file_name(CHAIN, 1), &bytes);
        let _refused = verifier.file(&String::from_utf8_lossy(&bytes), &bytes);
    }
}
