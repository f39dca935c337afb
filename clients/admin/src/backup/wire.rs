//! From messages, and to them.

use client_core::request::time_from_wire;
use crypto_proto::keys::v1 as proto;

use super::{
    BackupHeader, Restore, RestoreProgress, RestoreResult, RestoreStep, Undone, UndoneKey,
    UndoneKeySet,
};

impl From<&Restore> for proto::RestoreOptions {
    fn from(restore: &Restore) -> Self {
        Self {
            force: restore.force,
            dry_run: restore.dry_run,
            request_id: restore.request_id.clone(),
        }
    }
}

impl From<proto::BackupHeader> for BackupHeader {
    fn from(wire: proto::BackupHeader) -> Self {
        Self {
            format: wire.format,
            created_at: wire.created_at.map(time_from_wire),
            epoch: wire.epoch,
            tenants: wire.tenants,
            key_sets: wire.key_sets,
            keys: wire.keys,
            token_revocations: wire.token_revocations,
            entries: wire.entries,
            kek: wire.kek,
        }
    }
}

impl From<proto::RestoreProgress> for RestoreProgress {
    fn from(wire: proto::RestoreProgress) -> Self {
        let step = match wire.step() {
            proto::RestoreStep::Receiving => RestoreStep::Receiving,
            proto::RestoreStep::Comparing => RestoreStep::Comparing,
            proto::RestoreStep::Writing => RestoreStep::Writing,
            proto::RestoreStep::Unspecified => RestoreStep::Unknown,
        };
        Self {
            step,
            received: wire.received,
        }
    }
}

impl From<proto::RestoreResult> for RestoreResult {
    fn from(wire: proto::RestoreResult) -> Self {
        Self {
            restored: wire.restored,
            backup: wire.backup.map(BackupHeader::from).unwrap_or_default(),
            undone: wire.undone.map(Undone::from).unwrap_or_default(),
            epoch: wire.epoch,
            forced: wire.forced,
            repeated: wire.repeated,
        }
    }
}

impl From<proto::Undone> for Undone {
    fn from(wire: proto::Undone) -> Self {
        Self {
            key_sets_vanish: wire.key_sets_vanish,
            keys_vanish: wire.keys_vanish,
            states_go_back: wire.states_go_back,
            revocations_undone: wire.revocations_undone,
            destroyed_come_back: wire.destroyed_come_back,
            settings_go_back: wire.settings_go_back,
            token_revocations_undone: wire.token_revocations_undone,
            key_sets: wire.key_sets.into_iter().map(UndoneKeySet::from).collect(),
            key_sets_affected: wire.key_sets_affected,
            budgets_go_back: wire.budgets_go_back,
        }
    }
}

impl From<proto::UndoneKeySet> for UndoneKeySet {
    fn from(wire: proto::UndoneKeySet) -> Self {
        let key = |key: proto::UndoneKey| UndoneKey {
            kid: key.kid,
            now: key.now.into(),
            then: (key.then != i32::from(proto::KeyState::Unspecified)).then(|| key.then.into()),
        };
        Self {
            tenant: wire.tenant,
            key_set: wire.key_set,
            vanishes: wire.vanishes,
            keys: wire.keys.into_iter().map(key).collect(),
            keys_affected: wire.keys_affected,
            settings_go_back: wire.settings_go_back,
            token_revocations_undone: wire.token_revocations_undone,
            budgets_go_back: wire.budgets_go_back,
        }
    }
}
