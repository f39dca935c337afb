//! `Backup` and `Restore`: streams, for which the answer begins before the work ends.
//!
//! Both are about the whole store. So the grant is asked for on `*` in every tenant that the store, or the file, holds.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use crypto_proto::keys::v1::{
    self as proto, backup_response::Part as Down, restore_request::Part as Up,
    restore_response::Part as Progress,
};
use futures::StreamExt as _;
use keyring::Time;
use service_kit::{grants::Operation, identity::Caller};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, codegen::BoxStream};
use tracing::Instrument as _;

use super::Admin;
use crate::{
    grpc::{encode, fields::Fields, status::Failure, trail::Trail},
    vault::{
        BACKUP_FORMAT, Backup, Header, Incoming, Piece, Received, RestoreError, Restored,
        Restoring, Undone, UndoneKey, UndoneSet,
    },
};

/// The longest piece of a file in one message, in bytes.
const CHUNK: usize = 256 * 1024;
const MAX_CHUNK: usize = 512 * 1024;

/// Messages that wait to be sent.
const OUTBOX: usize = 4;

/// How long a caller may send, or take, nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Progress is said after so many bytes.
const STEP: u64 = 4 * 1024 * 1024;

/// What is listed of what a restore undoes.
const LISTED_SETS: usize = 100;
const LISTED_KEYS: usize = 20;

type Outbox = mpsc::Sender<Result<proto::RestoreResponse, Status>>;

/// What backups and restores need besides the use cases.
#[derive(Clone, Debug, Default)]
pub struct Backups {
    spool: PathBuf,
    kek: Arc<str>,
    restoring: Arc<Mutex<()>>,
}

impl Backups {
    /// Restores are received into files in `spool`; `kek` says in each backup where the key-encryption key comes from.
    #[must_use]
    pub fn new(spool: PathBuf, kek: &str) -> Self {
        Self {
            spool,
            kek: kek.into(),
            restoring: Arc::default(),
        }
    }
}

impl Admin {
    /// Of the whole store: on `*`, in each of these tenants, and in one at least.
    fn grant_whole(
        &self,
        caller: &Caller,
        operation: Operation,
        tenants: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let policy = self.policy.current();
        let on_all = |tenant: &str| {
            policy
                .globs(caller, operation, tenant)
                .any(|glob| glob.as_str() == "*")
        };
        let refused = |tenant: &str| {
            Failure::NotGranted(format!(
                "{caller} has no grant `{operation}` on {tenant}/*; it is about the whole store, so it is needed in every tenant"
            ))
        };
        if !policy.tenants(caller, operation).into_iter().any(on_all) {
            return Err(refused("default"));
        }
        match tenants.iter().find(|tenant| !on_all(tenant)) {
            Some(tenant) => Err(refused(tenant)),
            None => Ok(()),
        }
    }

    pub(super) async fn take_backup(
        &self,
        caller: &Caller,
        trail: Trail,
    ) -> Result<Response<BoxStream<proto::BackupResponse>>, Status> {
        let backup = match self.begin_backup(caller, &trail).await {
            Ok(backup) => backup,
            Err(failure) => return Ok(trail.end(Err(failure)).await?),
        };
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let sending = async move {
            let sent = send_backup(backup, &outbox).await;
            if let Err(failure) = trail.end(sent).await {
                // Where nobody takes it the end of the stream says enough.
                let _gone = timeout(PATIENCE, outbox.send(Err(failure.into()))).await;
            }
        };
        tokio::spawn(sending.in_current_span());
        Ok(Response::new(ReceiverStream::new(messages).boxed()))
    }

    async fn begin_backup(&self, caller: &Caller, trail: &Trail) -> Result<Backup, Failure> {
        let vault = self.lifecycle.vault();
        vault.refresh_shared().await?;
        self.grant_whole(caller, Operation::Backup, &vault.tenants())?;
        trail.begin().await?;
        let backup = vault
            .backup(self.lifecycle.now(), &self.backups.kek)
            .await?;
        trail.found(&about(backup.header()));
        Ok(backup)
    }

    /// Answers at once: the answer is a stream, which the deadline of calls does not bound.
    pub(super) fn receive_restore(
        &self,
        caller: Caller,
        stream: Streaming<proto::RestoreRequest>,
    ) -> Response<BoxStream<proto::RestoreResponse>> {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let this = self.clone();
        let work = async move {
            if let Err(failure) = this.restore_recorded(&caller, stream, &outbox).await {
                let _gone = timeout(PATIENCE, outbox.send(Err(failure.into()))).await;
            }
        };
        tokio::spawn(work.in_current_span());
        Response::new(ReceiverStream::new(messages).boxed())
    }

    async fn restore_recorded(
        &self,
        caller: &Caller,
        mut stream: Streaming<proto::RestoreRequest>,
        outbox: &Outbox,
    ) -> Result<(), Failure> {
        let trail = self.trail(caller, "Restore");
        let options = match next(&mut stream, outbox).await {
            Ok(Some(Up::Options(options))) => options,
            Ok(_) => {
                let missing = Failure::field("options", "is the first message of the stream");
                return trail.end(Err(missing)).await;
            }
            Err(failure) => return trail.end(Err(failure)).await,
        };
        let act = if options.dry_run {
            "Restore/dry-run"
        } else {
            "Restore"
        };
        let trail = self
            .trail(caller, act)
            .request(&options.request_id)
            .force(options.force);
        let restored = self
            .restore_as(caller, options, &mut stream, outbox, &trail)
            .await;
        let result = trail.end(restored).await?;
        let message = proto::RestoreResponse {
            part: Some(Progress::Result(result)),
        };
        let _gone = timeout(PATIENCE, outbox.send(Ok(message))).await;
        Ok(())
    }

    async fn restore_as(
        &self,
        caller: &Caller,
        options: proto::RestoreOptions,
        stream: &mut Streaming<proto::RestoreRequest>,
        outbox: &Outbox,
        trail: &Trail,
    ) -> Result<proto::RestoreResult, Failure> {
        let mut fields = Fields::default();
        let request_id = fields.request_id(&options.request_id);
        fields.finish(())?;
        let vault = self.lifecycle.vault();
        vault.refresh_shared().await?;
        self.grant_whole(caller, Operation::Restore, &vault.tenants())?;
        let _one = self.backups.restoring.try_lock().map_err(|_busy| {
            Failure::Conflict(
                "another restore is under way; try again when it has ended".to_owned(),
            )
        })?;
        if !options.dry_run {
            trail.begin().await?;
        }
        let incoming = vault.receive(&self.backups.spool).await?;
        let received = receive(incoming, stream, outbox).await?;
        self.grant_whole(caller, Operation::Restore, &received.tenants())?;
        let restoring = Restoring {
            force: options.force,
            dry_run: options.dry_run,
            caller: caller.name().to_owned(),
            request_id,
            now: self.lifecycle.now(),
        };
        self.decide(received, restoring, outbox, trail).await
    }

    /// From here on it ends, also where the caller has gone.
    async fn decide(
        &self,
        received: Received,
        restoring: Restoring,
        outbox: &Outbox,
        trail: &Trail,
    ) -> Result<proto::RestoreResult, Failure> {
        let header = received.header().clone();
        let writing = || say(outbox, proto::RestoreStep::Writing, 0);
        let vault = self.lifecycle.vault();
        let done = vault.restore_telling(received, &restoring, writing).await;
        if let Err(RestoreError::WouldUndo(undone)) = &done {
            trail.found(&format!("{}; would undo: {undone}", about(&header)));
            let listed = proto::RestoreResult {
                backup: Some(self::header(&header)),
                undone: Some(self::undone(undone)),
                epoch: self.lifecycle.vault().epoch(),
                ..Default::default()
            };
            let message = proto::RestoreResponse {
                part: Some(Progress::Result(listed)),
            };
            let _gone = timeout(PATIENCE, outbox.send(Ok(message))).await;
        }
        let done = done?;
        let would = if restoring.dry_run {
            "would undo"
        } else {
            "undid"
        };
        match done.undone.is_empty() {
            true => trail.found(&about(&header)),
            false => trail.found(&format!("{}; {would}: {}", about(&header), done.undone)),
        }
        Ok(result(&header, &done, &restoring))
    }
}

async fn send_backup(
    mut backup: Backup,
    outbox: &mpsc::Sender<Result<proto::BackupResponse, Status>>,
) -> Result<(), Failure> {
    let given_up = || Failure::NotReady("the caller took nothing for 60 s, or has gone".to_owned());
    let send = async |part: Down| {
        let message = proto::BackupResponse { part: Some(part) };
        let sent = timeout(PATIENCE, outbox.send(Ok(message))).await;
        sent.ok().and_then(Result::ok).ok_or_else(given_up)
    };
    send(Down::Header(header(backup.header()))).await?;
    while let Some(piece) = backup.next().await? {
        let (bytes, end) = match piece {
            Piece::Bytes(bytes) => (bytes, None),
            Piece::Last {
                bytes,
                size,
                sha256,
            } => (bytes, Some((size, sha256.to_vec()))),
        };
        for chunk in bytes.chunks(CHUNK) {
            send(Down::Chunk(chunk.to_vec())).await?;
        }
        if let Some((size, sha256)) = end {
            send(Down::End(proto::BackupEnd { size, sha256 })).await?;
        }
    }
    Ok(())
}

/// The whole file, verified.
async fn receive(
    mut incoming: Incoming,
    stream: &mut Streaming<proto::RestoreRequest>,
    outbox: &Outbox,
) -> Result<Received, Failure> {
    let mut said = 0;
    while let Some(part) = next(stream, outbox).await? {
        match part {
            Up::Chunk(chunk) if chunk.len() <= MAX_CHUNK => incoming.push(&chunk).await?,
            Up::Chunk(_) => return Err(Failure::field("chunk", "has at most 512 KiB")),
            Up::Options(_) => return Err(Failure::field("options", "is sent once")),
        }
        if incoming.received() >= said {
            said = incoming.received().saturating_add(STEP);
            say(outbox, proto::RestoreStep::Receiving, incoming.received());
        }
    }
    say(outbox, proto::RestoreStep::Comparing, incoming.received());
    Ok(incoming.finish().await?)
}

/// The next part of the stream; `None` at its end. A stream that breaks off is no end.
async fn next(
    stream: &mut Streaming<proto::RestoreRequest>,
    outbox: &Outbox,
) -> Result<Option<Up>, Failure> {
    let received = tokio::select! {
        received = timeout(PATIENCE, stream.message()) => received,
        () = outbox.closed() => return Err(Failure::NotReady("the caller has gone".to_owned())),
    };
    match received {
        Err(_late) => Err(Failure::NotReady("nothing came for 60 s".to_owned())),
        Ok(Err(_broken)) => Err(Failure::NotReady("the stream was broken off".to_owned())),
        Ok(Ok(None)) => Ok(None),
        Ok(Ok(Some(message))) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(Failure::field("part", "is required")),
        },
    }
}

/// Where a caller reads slowly it misses a step.
fn say(outbox: &Outbox, step: proto::RestoreStep, received: u64) {
    let progress = proto::RestoreProgress {
        step: i32::from(step),
        received,
    };
    let message = proto::RestoreResponse {
        part: Some(Progress::Progress(progress)),
    };
    let _full = outbox.try_send(Ok(message));
}

fn about(header: &Header) -> String {
    format!(
        "the backup of epoch {} with {} key sets",
        header.epoch, header.key_sets
    )
}

fn result(header: &Header, done: &Restored, restoring: &Restoring) -> proto::RestoreResult {
    proto::RestoreResult {
        restored: !restoring.dry_run,
        backup: Some(self::header(header)),
        undone: Some(undone(&done.undone)),
        epoch: done.epoch,
        forced: !restoring.dry_run && !done.undone.is_empty(),
        repeated: done.repeated,
    }
}

fn header(header: &Header) -> proto::BackupHeader {
    proto::BackupHeader {
        format: BACKUP_FORMAT,
        created_at: Some(encode::timestamp(Time::from_millis(header.created_at))),
        epoch: header.epoch,
        tenants: header.tenants,
        key_sets: header.key_sets,
        keys: header.keys,
        token_revocations: header.token_revocations,
        entries: header.entries,
        kek: header.kek.clone(),
    }
}

fn undone(undone: &Undone) -> proto::Undone {
    proto::Undone {
        key_sets_vanish: number(undone.vanishing_sets()),
        keys_vanish: number(undone.keys(UndoneKey::vanishes)),
        states_go_back: number(undone.keys(|key| !key.vanishes())),
        revocations_undone: number(undone.keys(UndoneKey::is_unrevoked)),
        destroyed_come_back: number(undone.keys(UndoneKey::comes_back)),
        settings_go_back: number(undone.settings()),
        token_revocations_undone: number(undone.tokens()),
        key_sets: undone
            .sets
            .iter()
            .take(LISTED_SETS)
            .map(undone_set)
            .collect(),
        key_sets_affected: number(undone.sets.len()),
        budgets_go_back: number(undone.budgets()),
    }
}

fn undone_set(set: &UndoneSet) -> proto::UndoneKeySet {
    let key = |key: &UndoneKey| proto::UndoneKey {
        kid: key.kid.clone(),
        now: i32::from(encode::state(key.now)),
        then: i32::from(key.then.map_or(proto::KeyState::Unspecified, encode::state)),
    };
    proto::UndoneKeySet {
        tenant: set.name.tenant.clone(),
        key_set: set.name.name.clone(),
        vanishes: set.vanishes,
        keys: set.keys.iter().take(LISTED_KEYS).map(key).collect(),
        keys_affected: number(set.keys.len()),
        settings_go_back: set.settings,
        token_revocations_undone: number(set.tokens),
        budgets_go_back: number(set.budgets),
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
