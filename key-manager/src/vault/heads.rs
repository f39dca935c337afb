//! Heads: what makes the replay of an old record seen.
//!
//! A record's tag proves that we wrote it, not that it is the latest. So the records of each of 256 shards have a head, and the epoch's
//! entry authenticates all heads with the epoch. Who puts back less than the whole store leaves heads that do not fit.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{EPOCH, SetEntry, SetName, VaultError, envelope, token_head::TokenHead};
use crate::seal::{RecordBinding, Ring};

const SHARDS: usize = 256;

/// What the entry `epoch` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The epoch.
    pub(super) epoch: u64,
    /// The digest of all heads.
    pub(super) heads: String,
}

const PLACE: RecordBinding<'static> = RecordBinding {
    kind: "epoch",
    tenant: "",
    name: EPOCH,
    revision: 0,
};

impl Head {
    /// The head, and the generation of the root's data key that it stands under.
    pub(super) fn read(root: &Ring, bytes: &[u8]) -> Result<(Self, u32), VaultError> {
        let read = envelope::read(root, PLACE, |head: &Self| head.epoch, bytes);
        read.map(|(head, sealed)| (head, sealed.generation))
    }
}

type Shard = BTreeMap<SetName, (u64, envelope::Tag)>;

/// The heads of all shards, and what each is made of.
#[derive(Clone)]
pub(super) struct Heads {
    shards: Vec<Arc<Shard>>,
    digests: Vec<[u8; 32]>,
    /// Revocations of tokens have one head for all: they are many, and come one by one.
    pub(super) tokens: TokenHead,
    /// The generation of the root's data key that `tokens` is made with: that of the entry `epoch`. 0 = none yet.
    pub(super) tokens_under: u32,
}

impl Heads {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Shard::new());
        Self {
            digests: vec![shard_digest(&empty); SHARDS],
            shards: vec![empty; SHARDS],
            tokens: TokenHead::default(),
            tokens_under: 0,
        }
    }

    pub(super) fn put(&mut self, name: &SetName, entry: &SetEntry) {
        let index = shard_of(name);
        if let (Some(shard), Some(head)) = (self.shards.get_mut(index), self.digests.get_mut(index))
        {
            Arc::make_mut(shard).insert(name.clone(), (entry.set.revision, entry.sealed.mark));
            *head = shard_digest(shard);
        }
    }

    /// The entry `epoch` for these heads.
    pub(super) fn head(&self, epoch: u64, root: &Ring) -> Result<Vec<u8>, VaultError> {
        let head = Head {
            epoch,
            heads: self.digest(),
        };
        envelope::write(
            root,
            RecordBinding {
                revision: epoch,
                ..PLACE
            },
            &head,
        )
        .map(|(bytes, _)| bytes)
    }

    pub(super) fn verify(&self, epoch: u64, stored: &str) -> Result<(), VaultError> {
        match self.digest() == stored {
            true => Ok(()),
            false => Err(VaultError::damaged(
                EPOCH,
                format_args!(
                    "{epoch} is not that of these records: one was put back, added or removed"
                ),
            )),
        }
    }

    /// A store without revocations of tokens has the head that it had before there were any.
    fn digest(&self) -> String {
        let shards = self.digests.as_flattened();
        let whole = match self.tokens.is_empty() {
            true => digest(&SHA256, shards),
            false => digest(&SHA256, &[shards, &self.tokens.bytes()].concat()),
        };
        jose::base64url::encode(whole)
    }
}

fn shard_of(name: &SetName) -> usize {
    digest(&SHA256, name.key().as_bytes())
        .as_ref()
        .first()
        .copied()
        .map_or(0, usize::from)
}

fn shard_digest(shard: &Shard) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for (name, (revision, tag)) in shard {
        let key = name.key();
        context.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(key.as_bytes());
        context.update(&revision.to_be_bytes());
        context.update(tag);
    }
    let mut head = [0; 32];
    for (out, byte) in head.iter_mut().zip(context.finish().as_ref()) {
        *out = *byte;
    }
    head
}
