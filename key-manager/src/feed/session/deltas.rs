//! What follows the snapshot, cut into messages.
//!
//! Deltas are cut between epochs: what an instance acknowledges it has whole. A write of this replica is one epoch and one set; what
//! others wrote is taken in under one epoch, however many sets that are.

use jose::revocation::ENTRY_LEN;

use super::{PART_BYTES, Session, send};
use crate::{
    feed::{Down, FedSet, FedTokens, FeedError},
    vault::{Changes, RevokedTokens, SetName},
};

/// Key sets in one delta, about.
const DELTA_SETS: usize = 32;

/// What fits in no message is sent as a snapshot; a message is at most 4 MiB.
const MESSAGE_BYTES: usize = 3 * 1024 * 1024;

/// The epoch that a delta leads to, its sets and its revocations.
type Next = (u64, Vec<FedSet>, RevokedTokens);

/// What revocations of tokens may take in a delta, besides its sets.
const TOKEN_BYTES: usize = 1024 * 1024;

impl Session<'_> {
    /// Everything between what was sent and what is, in order. A delta may be empty: it moves the epoch that is acknowledged.
    pub(super) async fn deltas(&mut self) -> Result<(), FeedError> {
        self.share_out_changed().await?;
        while let Some((epoch, changed, tokens)) = self.next_delta().await? {
            let delta = Down::Delta {
                from: self.sent,
                epoch,
                changed,
                tokens: FedTokens::within(&self.scope, tokens.entries),
                forgotten: tokens.forgotten,
            };
            send(self.down, delta).await?;
            self.sent = epoch;
        }
        Ok(())
    }

    /// The next delta and the epoch that it leads to. One that grows too heavy is made again of fewer epochs, because keys are wrapped
    /// for the epoch that they lead to.
    async fn next_delta(&self) -> Result<Option<Next>, FeedError> {
        let (mut sets, mut bytes) = (DELTA_SETS, PART_BYTES);
        loop {
            let changes = self.feed.lifecycle.vault().changes_since(self.sent, sets);
            let (epoch, entries, tokens) = match changes {
                Changes::None => return Ok(None),
                Changes::TooOld => return Err(FeedError::Slow),
                Changes::Some {
                    epoch,
                    entries,
                    tokens,
                } => (epoch, entries, tokens),
            };
            let of_tokens = tokens.entries.values();
            let of_tokens = of_tokens.map(|entries| ENTRY_LEN * entries.len() + 256);
            // What was taken in from others under one epoch cannot be cut.
            if of_tokens.sum::<usize>() > TOKEN_BYTES {
                return Err(FeedError::Slow);
            }
            let (mut changed, mut weight) = (Vec::new(), 0);
            for entry in entries
                .into_iter()
                .filter(|entry| self.scope.covers(&SetName::of(&entry.set)))
            {
                let set = self.feed.fed(entry, epoch, &self.key).await?;
                weight += set.weight();
                changed.push(set);
                if weight > bytes {
                    break;
                }
            }
            match sets {
                _ if weight <= bytes => return Ok(Some((epoch, changed, tokens))),
                0 | 1 => return Err(FeedError::Slow),
                _ => sets = (sets / 2).min(changed.len()),
            }
            if sets == 1 {
                bytes = MESSAGE_BYTES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jose_aws_lc::AwsLc;
    use keyring::{
        Algorithm, Import, ImportAs, KeySpec, NewKey, NewKeySet, Peers, Policy, Profile, Publish,
        Span, Times, Use,
    };
    use service_kit::{
        clock::FakeClock,
        grants::{self, KeySetGlob},
        shutdown::Shutdown,
        tls::{Credentials, TlsFiles},
    };
    use testkit::{CertificateAuthority, Leaf, PemFolder};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        feed::{Feed, wrapping::Agreement},
        lifecycle::Lifecycle,
        metrics::Metrics,
        seal::LocalKek,
        store::MemoryStore,
        vault::{Change, Entering, Scope, Vault},
    };

    async fn feed(folder: &PemFolder) -> Feed {
        let ca = CertificateAuthority::new("test");
        let files = folder.write("key-manager", &ca.issue(&Leaf::server("key-manager")), &ca);
        let tls = TlsFiles {
            cert: files.cert,
            key: files.key,
            ca: files.ca,
        };
        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, "").unwrap();
        let kek = Arc::new(LocalKek::new(&[1; 32]).unwrap());
        let vault = Vault::open(Arc::new(MemoryStore::new()), kek)
            .await
            .unwrap();
        let clock = FakeClock::at(1_800_000_000).shared();
        let lifecycle = Lifecycle::new(
            Arc::new(vault),
            Arc::new(AwsLc),
            Times::DEVELOPMENT,
            Arc::clone(&clock),
            Metrics::default(),
        );
        Feed::new(
            lifecycle,
            Credentials::open(&tls, clock).unwrap(),
            grants::open(&policy).unwrap(),
            Shutdown::new(),
        )
    }

    /// Writes a set whose one key weighs so many bytes.
    async fn write(feed: &Feed, name: &str, weight: usize) {
        let lifecycle = &feed.lifecycle;
        let (ctx, algorithm) = (
            lifecycle.context(&[], Peers::NONE),
            Algorithm::new("ES256").unwrap(),
        );
        let new = NewKeySet {
            tenant: "default".to_owned(),
            name: name.to_owned(),
            key_use: Use::Sign,
            issuer: None,
            publish: Publish::Public,
            profile: Profile::default(),
            policy: Policy::new(KeySpec::of(algorithm.clone())),
        };
        let key = NewKey {
            kid: name.to_owned(),
            algorithm,
            enc: None,
            material: name.to_owned(),
            public_only: true,
        };
        let end = ctx.now + Span::from_days(1);
        let import = Import {
            key,
            enters: ImportAs::Retiring { end },
            force: false,
        };
        let mut set = keyring::create(new, &ctx).unwrap();
        set.epoch = 0;
        let mut set = keyring::import(&set, import, &ctx).unwrap();
        set.epoch = ctx.epoch;
        let change = Change {
            set,
            replaces: None,
            entering: Some(Entering {
                kid: name.to_owned(),
                material: name.to_owned(),
                public_jwk: Some("x".repeat(weight)),
                secret: None,
            }),
            actor: String::new(),
            request: None,
        };
        lifecycle.vault().turn().await.commit(change).await.unwrap();
    }

    fn session<'a>(feed: &'a Feed, down: &'a mpsc::Sender<Result<Down, FeedError>>) -> Session<'a> {
        let (ours, theirs) = (
            Agreement::generate().unwrap(),
            Agreement::generate().unwrap(),
        );
        let every = ("default".to_owned(), vec![KeySetGlob::new("*").unwrap()]);
        Session {
            feed,
            down,
            name: "a#1".to_owned(),
            caller: "a".to_owned(),
            scope: Scope::new([every]),
            key: ours.agree(theirs.public_key(), "a#1").unwrap(),
            sent: 0,
            leased: 0,
            renewal: None,
            compact_at: Default::default(),
            _connected: feed.lifecycle.connect("a#1"),
        }
    }

    #[tokio::test]
    async fn who_lags_behind_heavy_sets_is_sent_small_deltas_without_gaps() {
        let folder = PemFolder::new();
        let feed = feed(&folder).await;
        let weights = [
            100_000, 100_000, 100_000, 200_000, 100, 100, 1_000_000, 100, 300_000, 100,
        ];
        for (number, weight) in weights.into_iter().enumerate() {
            write(&feed, &format!("op/{number}"), weight).await;
        }
        let (down, mut sent) = mpsc::channel(weights.len());
        session(&feed, &down).deltas().await.unwrap();
        drop(down);
        let (mut at, mut names) = (0, Vec::new());
        while let Some(message) = sent.recv().await {
            let Down::Delta {
                from,
                epoch,
                changed,
                ..
            } = message.unwrap()
            else {
                panic!("not a delta")
            };
            assert_eq!(from, at, "no gaps");
            assert!(epoch > from);
            let weight: usize = changed.iter().map(FedSet::weight).sum();
            assert!(
                weight <= PART_BYTES || changed.len() == 1,
                "{} sets of {weight} bytes to {epoch}",
                changed.len()
            );
            names.extend(changed.iter().map(|fed| fed.entry.set.name.clone()));
            at = epoch;
        }
        assert_eq!(at, feed.lifecycle.vault().epoch());
        let expected: Vec<_> = (0..weights.len())
            .map(|number| format!("op/{number}"))
            .collect();
        assert_eq!(names, expected, "each once");
    }

    #[tokio::test]
    async fn what_fits_in_no_message_is_left_to_a_snapshot() {
        let folder = PemFolder::new();
        let feed = feed(&folder).await;
        write(&feed, "op/huge", MESSAGE_BYTES).await;
        let (down, _sent) = mpsc::channel(1);
        let ended = session(&feed, &down).deltas().await;
        assert!(matches!(ended, Err(FeedError::Slow)), "{ended:?}");
    }
}
