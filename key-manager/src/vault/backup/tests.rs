//! The form of the file: whatever happens to its bytes is seen.

use std::sync::Arc;

use super::{
    file::{FileError, Header, Opener, Sealer},
    *,
};
use crate::{
    seal::{Keks, LocalKek},
    store::Pair,
};

fn kek(number: u8) -> Keks {
    Arc::new(LocalKek::new(&[number; 32]).unwrap()).into()
}

fn header(entries: usize) -> Header {
    Header {
        created_at: 1_800_000_000_000,
        epoch: 7,
        entries: u64::try_from(entries).unwrap(),
        kek: "file kek".to_owned(),
        ..Header::default()
    }
}

/// Records of which each fills a frame, so that the file has several.
fn records(count: usize) -> Vec<Pair> {
    let record = |number: usize| (format!("set/default/{number}"), vec![b'x'; 130 * 1024]);
    (0..count).map(record).collect()
}

async fn sealed(header: &Header, records: &[Pair]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let (mut sealer, mut file) = Sealer::begin(&kek(1), header).await.unwrap();
    let mut frames = Vec::new();
    for (key, value) in records {
        if let Some(frame) = sealer.add(key, value).unwrap() {
            frames.push(file.len()..file.len() + frame.len());
            file.extend(frame);
        }
    }
    let (end, size, sha256) = sealer.end().unwrap();
    frames.push(file.len()..file.len() + end.len() - 32);
    file.extend(end);
    assert_eq!(u64::try_from(file.len()).unwrap(), size);
    assert_eq!(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file).as_ref(),
        sha256
    );
    (file, frames)
}

async fn open_with(
    kek: &Keks,
    file: &[u8],
    chunk: usize,
) -> Result<(Header, Vec<Pair>), FileError> {
    let (mut opener, mut records) = (Opener::new(), Vec::new());
    for bytes in file.chunks(chunk) {
        records.extend(opener.push(kek, bytes).await?);
    }
    opener.finish().map(|(header, _)| (header, records))
}

async fn open(file: &[u8]) -> Result<(Header, Vec<Pair>), FileError> {
    open_with(&kek(1), file, 64 * 1024).await
}

#[tokio::test]
async fn what_was_sealed_opens_however_it_is_cut_into_chunks() {
    let (header, records) = (header(3), records(3));
    let (file, _) = sealed(&header, &records).await;
    for chunk in [1 << 10, 100 * 1024 + 7, 10 << 20] {
        let (read, found) = open_with(&kek(1), &file, chunk).await.unwrap();
        assert!(read == header && found == records, "{chunk}");
    }
    let none = self::header(0);
    let (file, _) = sealed(&none, &[]).await;
    assert_eq!(open_with(&kek(1), &file, 1).await.unwrap(), (none, vec![]));
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_is_seen() {
    let records = vec![
        ("epoch".to_owned(), b"e".to_vec()),
        ("key/default/a".to_owned(), Vec::new()),
        ("root".to_owned(), b"r".to_vec()),
    ];
    let (file, _) = sealed(&header(3), &records).await;
    for at in 0..file.len() {
        for bit in [1, 0x80] {
            let mut altered = file.clone();
            altered[at] ^= bit;
            assert!(open(&altered).await.is_err(), "byte {at}");
        }
        assert!(open(&file[..at]).await.is_err(), "cut at {at}");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert!(matches!(
        open(&longer).await,
        Err(FileError::Altered("something stands behind its end"))
    ));
    assert_eq!(open(&file[..file.len() - 1]).await, Err(FileError::CutOff));
}

#[tokio::test]
async fn frames_that_are_swapped_left_out_repeated_or_foreign_do_not_open() {
    let (header, records) = (header(4), records(4));
    let (file, frames) = sealed(&header, &records).await;
    let (other, other_frames) = sealed(&header, &records).await;
    assert_eq!(frames.len(), 5);
    let start = &file[..frames[0].start];
    let frame = |number: usize| &file[frames[number].clone()];
    let foreign = &other[other_frames[1].clone()];
    for (what, order) in [
        (
            "swapped",
            vec![frame(1), frame(0), frame(2), frame(3), frame(4)],
        ),
        ("left out", vec![frame(0), frame(2), frame(3), frame(4)]),
        (
            "repeated",
            vec![frame(0), frame(0), frame(1), frame(2), frame(3), frame(4)],
        ),
        (
            "the last left out",
            vec![frame(0), frame(1), frame(2), frame(3)],
        ),
        (
            "the last early",
            vec![frame(0), frame(1), frame(2), frame(4)],
        ),
        (
            "foreign",
            vec![frame(0), foreign, frame(2), frame(3), frame(4)],
        ),
    ] {
        let mut made = [start, &order.concat()].concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &made);
        made.extend_from_slice(digest.as_ref());
        let refused = open(&made).await.unwrap_err();
        let seen = matches!(refused, FileError::Altered(_) | FileError::CutOff);
        assert!(seen, "{what}: {refused}");
    }
    let mut mixed = other[..other_frames[0].start].to_vec();
    mixed.extend_from_slice(&file[frames[0].start..]);
    assert!(open(&mixed).await.is_err(), "the header of another file");
}

#[tokio::test]
async fn other_files_later_formats_and_other_keys_are_told_apart() {
    let (file, _) = sealed(&header(1), &records(1)).await;
    assert_eq!(open(b"").await, Err(FileError::CutOff));
    assert_eq!(open(b"CKeB").await, Err(FileError::CutOff));
    for foreign in [b"SQLite format 3\0".as_slice(), b"\0", b"CKeBKUQ\n"] {
        assert_eq!(open(foreign).await, Err(FileError::NoBackup), "{foreign:?}");
    }
    let mut newer = file.clone();
    newer[11] = 2;
    assert_eq!(open(&newer).await, Err(FileError::Newer(2)));
    let said = FileError::Newer(2).to_string();
    assert!(
        said.contains("format 2") && said.contains("later"),
        "{said}"
    );
    let wrong = open_with(&kek(2), &file, 1 << 20).await;
    assert_eq!(wrong, Err(FileError::Kek));
}

#[tokio::test]
async fn records_that_no_backup_holds_are_refused() {
    for (what, keys) in [
        ("a mark", vec!["moved"]),
        ("an instance", vec!["root", "subscriber/x"]),
        ("twice", vec!["root", "root"]),
        ("out of order", vec!["root", "epoch"]),
        ("fewer than the header says", vec![]),
    ] {
        let records: Vec<Pair> = keys
            .iter()
            .map(|key| ((*key).to_owned(), vec![1]))
            .collect();
        let (file, _) = sealed(&header(records.len().max(1)), &records).await;
        let refused = open(&file).await;
        assert!(
            matches!(refused, Err(FileError::Altered(_))),
            "{what}: {refused:?}"
        );
    }
}

#[test]
fn what_belongs_to_the_moment_is_left_out_and_everything_else_is_kept() {
    for (key, left_out) in [
        ("subscriber/x", true),
        ("replica/x", true),
        ("request/x", true),
        ("request-at/1/x", true),
        ("changed/1", true),
        ("moved", true),
        ("arriving", true),
        ("restored", true),
        ("root", false),
        ("epoch", false),
        ("data-key/default", false),
        ("set/default/subscriber/x", false),
        ("audit-key", false),
        ("revoked/default/op/a/x", false),
        ("a-kind-that-comes-later/x", false),
    ] {
        assert_eq!(belongs_to_the_moment(key), left_out, "{key}");
    }
}
