//! A segment as it is written, and everything that may be done to it on the way.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up stops"
)]

use issued_log::{
    Entry, EntryRef, FrameBuilder, Frames, HEADER_LEN, Header, Opened, Opener, RecipientKey,
    Sealer, SubjectKey, Unopened, pack, read_entries,
};

const PROCESS: [u8; 16] = [7; 16];

fn entry(number: u64) -> Entry {
    Entry {
        at: 1_800_000_000_000 + number,
        tenant: "default".to_owned(),
        key_set: format!("op/{}", number % 3),
        kid: format!("kid-{}", number % 5),
        caller: format!("spiffe://crypto.dev/{}", number % 2),
        jti: format!("jti-{number}"),
        subject: (!number.is_multiple_of(4)).then_some([3; 16]),
        expires_at: (!number.is_multiple_of(7)).then_some(1_800_000_300),
    }
}

fn by_ref(entry: &Entry) -> EntryRef<'_> {
    EntryRef {
        at: entry.at,
        tenant: &entry.tenant,
        key_set: &entry.key_set,
        kid: &entry.kid,
        caller: &entry.caller,
        jti: &entry.jti,
        subject: entry.subject,
        expires_at: entry.expires_at,
    }
}

fn key() -> RecipientKey {
    RecipientKey::new(&RecipientKey::generate_pair().unwrap()[..32]).unwrap()
}

/// A segment of three frames; the last one is marked.
fn segment(key: &RecipientKey) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut sealer = Sealer::begin(&key.recipient(), PROCESS).unwrap();
    let mut bodies = Vec::new();
    for frame in 0..3 {
        let mut builder = FrameBuilder::default();
        (0..4).for_each(|place| builder.push(&by_ref(&entry(frame * 4 + place))));
        bodies.push(sealer.seal(builder.take(), frame == 2).unwrap());
    }
    (sealer.header().bytes(), bodies)
}

fn open(key: &RecipientKey, header: &[u8], bodies: &[Vec<u8>]) -> Result<Vec<Opened>, Unopened> {
    let header = Header::read(header).ok_or(Unopened::Recipient)?;
    let opener = Opener::new(key, &header)?;
    let numbered = bodies.iter().zip(0..);
    numbered
        .map(|(body, number)| opener.open(number, body))
        .collect()
}

#[test]
fn what_was_sealed_is_opened_by_the_recipient_and_nobody_else() {
    let key = key();
    let (header, bodies) = segment(&key);
    assert_eq!(header.len(), HEADER_LEN);
    let opened = open(&key, &header, &bodies).unwrap();
    let entries: Vec<_> = opened
        .iter()
        .flat_map(|frame| frame.entries.clone())
        .collect();
    assert_eq!(entries, (0..12).map(entry).collect::<Vec<_>>());
    let marks: Vec<_> = opened.iter().map(|frame| frame.last).collect();
    assert_eq!(marks, [false, false, true]);
    assert_eq!(Header::read(&header).unwrap().process, PROCESS);
    assert_eq!(
        open(&self::key(), &header, &bodies),
        Err(Unopened::Recipient)
    );
}

#[test]
fn every_flipped_byte_of_header_and_frames_is_seen() {
    let key = key();
    let (header, bodies) = segment(&key);
    for at in 0..header.len() {
        let mut altered = header.clone();
        altered[at] ^= 1;
        assert!(open(&key, &altered, &bodies).is_err(), "header byte {at}");
    }
    for frame in 0..bodies.len() {
        for at in 0..bodies[frame].len() {
            let mut altered = bodies.clone();
            altered[frame][at] ^= 1;
            let opened = open(&key, &header, &altered);
            assert_eq!(opened, Err(Unopened::Frame), "byte {at} of frame {frame}");
        }
    }
}

#[test]
fn frames_that_are_swapped_removed_repeated_or_of_another_segment_are_seen() {
    let key = key();
    let (header, bodies) = segment(&key);
    let (_, others) = segment(&key);
    for (what, order) in [
        ("swapped", vec![&bodies[1], &bodies[0]]),
        ("removed", vec![&bodies[0], &bodies[2]]),
        ("repeated", vec![&bodies[0], &bodies[0]]),
        ("foreign", vec![&bodies[0], &others[1]]),
    ] {
        let order: Vec<_> = order.into_iter().cloned().collect();
        assert_eq!(open(&key, &header, &order), Err(Unopened::Frame), "{what}");
    }
}

#[test]
fn a_file_cut_anywhere_or_damaged_anywhere_gives_the_whole_frames_before() {
    let (_, bodies) = segment(&key());
    let packed: Vec<_> = bodies.iter().map(|body| pack(body)).collect();
    let file = packed.concat();
    let whole = |bytes: &[u8]| {
        let mut frames = Frames::new(bytes);
        let given: Vec<_> = frames.by_ref().map(<[u8]>::to_vec).collect();
        (given, frames.whole(), frames.ended())
    };
    assert_eq!(whole(&file), (bodies.clone(), file.len(), true));
    for cut in 0..file.len() {
        let mut end = 0;
        let kept = packed.iter().take_while(|frame| {
            end += frame.len();
            end <= cut
        });
        let kept = kept.count();
        let (given, length, ended) = whole(&file[..cut]);
        assert_eq!(given, bodies[..kept], "cut at {cut}");
        assert_eq!(length, packed[..kept].concat().len(), "cut at {cut}");
        assert!(!ended, "cut at {cut}");
        let mut damaged = file.clone();
        damaged[cut] ^= 0x80;
        let (given, _, ended) = whole(&damaged);
        assert_eq!(given, bodies[..kept], "damaged at {cut}");
        assert!(!ended, "damaged at {cut}");
    }
}

#[test]
fn a_text_that_was_never_written_is_refused_and_never_stops_the_reader() {
    let mut builder = FrameBuilder::default();
    (0..4).for_each(|number| builder.push(&by_ref(&entry(number))));
    assert!(!builder.is_empty() && builder.len() > 100);
    let text = builder.take();
    assert!(builder.is_empty());
    for cut in 1..text.len() {
        if let Ok(entries) = read_entries(&text[..cut]) {
            assert!(entries.len() < 4, "cut at {cut}");
        }
    }
    for at in 0..text.len() {
        let mut altered = text.clone();
        altered[at] = 0xff;
        let _refused_or_other = read_entries(&altered);
    }
}

#[test]
fn subjects_are_equal_within_a_tenant_and_key_and_nowhere_else() {
    let (key, other) = (SubjectKey::new(&[1; 32]), SubjectKey::new(&[2; 32]));
    let alice = key.digest("default", "alice");
    assert_eq!(alice, key.digest("default", "alice"));
    assert_ne!(alice, key.digest("default", "bob"));
    assert_ne!(alice, key.digest("other", "alice"));
    assert_ne!(alice, other.digest("default", "alice"));
    assert_eq!(format!("{key:?}"), "SubjectKey(redacted)");
}

#[test]
fn no_key_shows_itself() {
    let secret = RecipientKey::generate_pair().unwrap();
    let shown = format!("{:?}", RecipientKey::new(&secret[..32]).unwrap());
    let start = format!("{:?}", &secret[..4]);
    assert!(!shown.contains(start.trim_matches(['[', ']'])), "{shown}");
    assert_eq!(
        RecipientKey::new(&[1; 31]).unwrap_err(),
        issued_log::SealFailed
    );
}
