//! Backups of the whole store, and restores: streams of bytes.
//!
//! The deadline of the channel bounds the time until a stream is open, not the stream.

mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use client_core::{Code, Error, Repeat, request_id};
use crypto_proto::keys::v1 as proto;
use proto::backup_response::Part as Down;
use proto::key_admin_service_client::KeyAdminServiceClient;
use proto::restore_request::Part as Up;
use proto::restore_response::Part as Progress;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::client::AdminClient;
use crate::key_set::KeyState;

/// Parts of a file that wait to be sent.
const OUTBOX: usize = 2;

/// What a backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupHeader {
    /// The version of the file's format.
    pub format: u32,
    /// When it was taken.
    pub created_at: Option<SystemTime>,
    /// The epoch of the store at that moment.
    pub epoch: u64,
    /// Tenants with key sets.
    pub tenants: u64,
    /// Key sets.
    pub key_sets: u64,
    /// Keys with private material.
    pub keys: u64,
    /// Revocations of tokens.
    pub token_revocations: u64,
    /// Entries of the store.
    pub entries: u64,
    /// Where the key-manager that took it has the key-encryption key from. The file opens with that key alone.
    pub kek: String,
}

/// The end of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupEnd {
    /// The size of the whole file, in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Vec<u8>,
}

/// A backup that is being received.
#[derive(Debug)]
pub struct BackupDownload {
    header: BackupHeader,
    stream: Streaming<proto::BackupResponse>,
    size: u64,
    end: Option<BackupEnd>,
}

/// How to restore.
#[derive(Debug, Clone)]
pub struct Restore {
    force: bool,
    dry_run: bool,
    request_id: String,
}

/// A backup that is being sent.
#[derive(Debug)]
pub struct RestoreUpload {
    up: mpsc::Sender<proto::RestoreRequest>,
    down: Streaming<proto::RestoreResponse>,
}

/// The steps of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreStep {
    /// The file is being received.
    Receiving,
    /// What it holds is verified and compared with the store.
    Comparing,
    /// The store is being written; it goes on without the caller.
    Writing,
    /// A step that this client does not know.
    Unknown,
}

/// Where a restore stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreProgress {
    /// What is being done.
    pub step: RestoreStep,
    /// Bytes received so far.
    pub received: u64,
}

/// What came of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreResult {
    /// Whether the store now is what the file says.
    pub restored: bool,
    /// What the file holds.
    pub backup: BackupHeader,
    /// What it undoes, or would.
    pub undone: Undone,
    /// The epoch after it, or, after a dry run, the one that it would have at least.
    pub epoch: u64,
    /// Whether it undid something, by force.
    pub forced: bool,
    /// Whether the same request had been executed before.
    pub repeated: bool,
}

/// The answer to a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreAnswer {
    /// What came of it, or would.
    pub result: RestoreResult,
    /// Why it was not done: it would undo what the result lists, and was not forced.
    pub refused: Option<Error>,
}

/// What a restore undoes. All counts are 0 where it undoes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Key sets that the file does not have.
    pub key_sets_vanish: u64,
    /// Keys that the file does not have.
    pub keys_vanish: u64,
    /// Keys whose state goes back, revoked and destroyed ones included.
    pub states_go_back: u64,
    /// Revoked keys that would not be revoked any more.
    pub revocations_undone: u64,
    /// Destroyed keys whose private material would come back.
    pub destroyed_come_back: u64,
    /// Key sets whose settings go back.
    pub settings_go_back: u64,
    /// Revocations of tokens that are undone.
    pub token_revocations_undone: u64,
    /// The first 100 key sets that are affected.
    pub key_sets: Vec<UndoneKeySet>,
    /// How many are affected in all.
    pub key_sets_affected: u64,
    /// Keys of which fewer encryptions count as granted than were: rotate their sets afterwards.
    pub budgets_go_back: u64,
}

/// What it undoes in one key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneKeySet {
    /// The tenant.
    pub tenant: String,
    /// The set.
    pub key_set: String,
    /// Whether the whole set vanishes.
    pub vanishes: bool,
    /// The first 20 keys that vanish, or go back.
    pub keys: Vec<UndoneKey>,
    /// How many keys vanish or go back.
    pub keys_affected: u64,
    /// Whether its settings go back.
    pub settings_go_back: bool,
    /// Revocations of its tokens that are undone.
    pub token_revocations_undone: u64,
    /// Keys of which fewer encryptions count as granted than were.
    pub budgets_go_back: u64,
}

/// A key that vanishes, or whose state goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneKey {
    /// Its key id.
    pub kid: String,
    /// Where it stands now.
    pub now: KeyState,
    /// Where it would stand; absent = it vanishes.
    pub then: Option<KeyState>,
}

impl AdminClient {
    /// Begins a backup of the whole store. Needs the grant `backup` on `*` in every tenant.
    ///
    /// # Errors
    /// As every call.
    pub async fn backup(&self) -> Result<BackupDownload, Error> {
        let opened = self.channel.call(Repeat::Harmless, |attempt| {
            let request = attempt.request(proto::BackupRequest {});
            async move {
                KeyAdminServiceClient::new(attempt.connection())
                    .backup(request)
                    .await
            }
        });
        let mut stream = opened.await?;
        let first = received(&mut stream)
            .await?
            .and_then(|message| message.part);
        let Some(Down::Header(header)) = first else {
            return Err(Error::answer("header"));
        };
        Ok(BackupDownload {
            header: header.into(),
            stream,
            size: 0,
            end: None,
        })
    }

    /// Begins a restore. Needs the grant `restore` on `*` in every tenant.
    ///
    /// # Errors
    /// As every call.
    pub async fn restore(&self, restore: &Restore) -> Result<RestoreUpload, Error> {
        let slot = Mutex::new(None);
        let opened = self.channel.call(Repeat::OnlyIfUndone, |attempt| {
            let (up, requests) = mpsc::channel(OUTBOX);
            // There is room for the first message.
            let _room = up.try_send(message(Up::Options(restore.into())));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(up);
            let request = attempt.request(ReceiverStream::new(requests));
            async move {
                KeyAdminServiceClient::new(attempt.connection())
                    .restore(request)
                    .await
            }
        });
        let down = opened.await?;
        let up = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
        let up = up.ok_or_else(|| Error::answer("stream"))?;
        Ok(RestoreUpload { up, down })
    }
}

impl BackupDownload {
    /// What it holds.
    #[must_use]
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next bytes of the file; `None` once it is whole.
    ///
    /// # Errors
    /// UNAVAILABLE where the stream was broken off, or lost something; the bytes so far are no backup then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let broken = || Error::new(Code::Unavailable, "the backup was broken off");
        if self.end.is_some() {
            return Ok(None);
        }
        let message = received(&mut self.stream).await?.ok_or_else(broken)?;
        match message.part {
            Some(Down::Chunk(bytes)) => {
                let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.size = self.size.saturating_add(more);
                Ok(Some(bytes))
            }
            Some(Down::End(end)) if end.size == self.size => {
                self.end = Some(BackupEnd {
                    size: end.size,
                    sha256: end.sha256,
                });
                Ok(None)
            }
            _ => Err(broken()),
        }
    }

    /// Size and digest, once the file is whole.
    #[must_use]
    pub fn end(&self) -> Option<&BackupEnd> {
        self.end.as_ref()
    }
}

impl Restore {
    /// A restore that is refused where it would undo something.
    #[must_use]
    pub fn new() -> Self {
        Self {
            force: false,
            dry_run: false,
            request_id: request_id(),
        }
    }

    /// Restores also where that undoes something.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Only verifies the file and says what it would undo.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Names the request, so that asking again with the same file does not act twice. Default: 128 random bits, made with this value.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }
}

impl Default for Restore {
    fn default() -> Self {
        Self::new()
    }
}

impl RestoreUpload {
    /// Sends the next bytes of the file, at most 512 KiB. False where the key-manager has ended the stream: [`RestoreUpload::finish`] says why.
    pub async fn send(&self, bytes: Vec<u8>) -> bool {
        self.up.send(message(Up::Chunk(bytes))).await.is_ok()
    }

    /// Says that the file has come to its end, and waits for what comes of it. `progress` hears of each step.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a file that cannot be restored, ABORTED where another restore or write was faster; else as every call. After
    /// UNAVAILABLE it may have happened: ask again with the same request id and file.
    pub async fn finish(
        self,
        mut progress: impl FnMut(RestoreProgress),
    ) -> Result<RestoreAnswer, Error> {
        let Self { up, mut down } = self;
        drop(up);
        let mut result = None;
        loop {
            match received(&mut down).await {
                Ok(None) => break,
                Ok(Some(message)) => match message.part {
                    Some(Progress::Progress(step)) => progress(step.into()),
                    Some(Progress::Result(found)) => result = Some(RestoreResult::from(found)),
                    None => {}
                },
                Err(error) => {
                    // A result before the status lists why.
                    return match result {
                        Some(result) if error.code() == Code::Aborted => Ok(RestoreAnswer {
                            result,
                            refused: Some(error),
                        }),
                        Some(result) if result.restored => Ok(RestoreAnswer {
                            result,
                            refused: None,
                        }),
                        _ => Err(error),
                    };
                }
            }
        }
        Ok(RestoreAnswer {
            result: result.ok_or_else(|| Error::answer("result"))?,
            refused: None,
        })
    }
}

async fn received<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Error> {
    stream
        .message()
        .await
        .map_err(|status| Error::from_status(&status))
}

fn message(part: Up) -> proto::RestoreRequest {
    proto::RestoreRequest { part: Some(part) }
}
