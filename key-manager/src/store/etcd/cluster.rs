//! The members of the cluster: who is asked, for how long, and what their errors mean.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Channel, Client, ConnectOptions, Error};
use service_kit::tls::endpoint;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Endpoint};

use super::EtcdOptions;
use crate::store::StoreError;

/// The largest answer that is read, in bytes: a page of entries of the largest size.
pub(super) const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// The shortest time that one member is given.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

/// Between two tries, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// A silent connection is pinged after this time, and given up when no answer comes in that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

struct Member {
    endpoint: String,
    channel: tonic::transport::Channel,
    client: tokio::sync::Mutex<Option<Client>>,
}

/// The cluster, as a list of members of which any will do.
pub(super) struct Cluster {
    members: Vec<Member>,
    /// The member that answered last.
    preferred: AtomicUsize,
    options: ConnectOptions,
    longest: Duration,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .members
            .iter()
            .map(|member| member.endpoint.as_str())
            .collect();
        f.write_str(&names.join(","))
    }
}

impl Cluster {
    /// Connects to nobody yet.
    pub(super) fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        // A member that has lost the quorum says so at once instead of letting a call wait.
        let mut connect = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name.as_str(), password.as_str());
        }
        let members = options.endpoints.iter().map(|uri| {
            Ok(Member {
                endpoint: uri.clone(),
                channel: channel(uri, &options)?,
                client: tokio::sync::Mutex::default(),
            })
        });
        Ok(Self {
            members: members.collect::<Result<_, StoreError>>()?,
            preferred: AtomicUsize::new(0),
            options: connect,
            longest: options.timeout,
        })
    }

    /// Asks one member after the other until one answers or the time is up. What is asked must be harmless when it is asked twice.
    pub(super) async fn call<T, F, Fut>(&self, ask: F) -> Result<T, StoreError>
    where
        F: Fn(Client) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let last: Mutex<Option<StoreError>> = Mutex::default();
        let tries = async {
            let mut pause = PAUSE.0;
            loop {
                match self.try_once(&ask).await {
                    Err(error) if error.retry_helps() => {
                        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                    done => return done,
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        };
        match timeout(self.longest, tries).await {
            Ok(done) => done,
            Err(_late) => Err(last
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .unwrap_or_else(|| {
                    unavailable(&format_args!("no answer within {:?}", self.longest))
                })),
        }
    }

    async fn try_once<T, F, Fut>(&self, ask: &F) -> Result<T, StoreError>
    where
        F: Fn(Client) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error>> + Send,
    {
        let index = self.preferred.load(Ordering::Relaxed);
        let member = self
            .members
            .get(index)
            .ok_or_else(|| StoreError::Refused("no endpoint is given".into()))?;
        let patience =
            (self.longest / u32::try_from(self.members.len()).unwrap_or(1)).max(SHORTEST_TRY);
        let asked = timeout(patience, async { ask(self.client(member).await?).await }).await;
        let failed = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => classify(&error),
            Err(_late) => unavailable(&format_args!("{} does not answer", member.endpoint)),
        };
        if failed.retry_helps() {
            self.give_up(index).await;
        }
        Err(failed)
    }

    /// The client of the member that answered last, and its place.
    pub(super) async fn preferred(&self) -> Result<(Client, usize), StoreError> {
        let index = self.preferred.load(Ordering::Relaxed);
        let member = self
            .members
            .get(index)
            .ok_or_else(|| StoreError::Refused("no endpoint is given".into()))?;
        let client = timeout(self.longest, self.client(member)).await;
        match client {
            Ok(Ok(client)) => Ok((client, index)),
            Ok(Err(error)) => Err(self.failed(index, classify(&error)).await),
            Err(_late) => Err(self.failed(index, unavailable(&"no answer")).await),
        }
    }

    async fn failed(&self, index: usize, error: StoreError) -> StoreError {
        self.give_up(index).await;
        error
    }

    /// Turns to the next member. The client of this one is made anew when it is asked again, with a fresh login.
    pub(super) async fn give_up(&self, index: usize) {
        if let Some(member) = self.members.get(index) {
            member.client.lock().await.take();
        }
        let next = index.saturating_add(1) % self.members.len().max(1);
        // Where somebody else has turned already, that stays.
        let _turned =
            self.preferred
                .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn client(&self, member: &Member) -> Result<Client, Error> {
        let mut client = member.client.lock().await;
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let channel = Channel::Tonic(member.channel.clone());
        let fresh = Client::from_channel(channel, Some(self.options.clone())).await?;
        *client = Some(fresh.clone());
        Ok(fresh)
    }
}

/// A channel that connects when it is first used, and again whenever a connection ends.
fn channel(uri: &str, options: &EtcdOptions) -> Result<tonic::transport::Channel, StoreError> {
    let refused =
        |error: &dyn fmt::Display| StoreError::Refused(format!("{uri:?}: {error}").into());
    let tuned = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(options.timeout)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true)
    };
    if uri.starts_with("https://") {
        let credentials = options
            .credentials
            .as_ref()
            .ok_or_else(|| refused(&"is https, and there is no certificate for it"))?;
        let endpoint = endpoint(uri).map_err(|error| refused(&error))?;
        return Ok(credentials.channel(&tuned(endpoint), None));
    }
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| refused(&error))?;
    Ok(tuned(endpoint.tcp_nodelay(true)).connect_lazy())
}

fn unavailable(error: &dyn fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("etcd: {error}").into())
}

/// What an error means for the caller. etcd's codes are not enough: some of its refusals share one.
pub(super) fn classify(error: &Error) -> StoreError {
    match error {
        Error::GRpcStatus(status) => of_status(status),
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            StoreError::Refused(error.to_string().into())
        }
        _ => unavailable(error),
    }
}

fn of_status(status: &Status) -> StoreError {
    let text: Arc<str> = format!("etcd: {}", status.message()).into();
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        // The login is made anew with the next try.
        Code::Unauthenticated => StoreError::Unavailable(text),
        Code::InvalidArgument if says("revision of auth store is old") => {
            StoreError::Unavailable(text)
        }
        Code::InvalidArgument if says("authentication failed") || says("user name is empty") => {
            StoreError::Denied(text)
        }
        Code::FailedPrecondition if says("authentication is not enabled") => {
            StoreError::Denied(text)
        }
        Code::PermissionDenied => StoreError::Denied(text),
        Code::OutOfRange if says("compacted") => StoreError::Compacted,
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => StoreError::Refused(text),
        Code::DataLoss => StoreError::Damaged(text),
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_a_retry_helps() {
        for (code, message, helps, what) in [
            (
                Code::Unavailable,
                "etcdserver: no leader",
                true,
                "unavailable",
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                true,
                "unavailable",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                true,
                "space exceeded",
            ),
            (Code::Unknown, "transport error", true, "unavailable"),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                true,
                "unavailable",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                false,
                "refuses the request",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                false,
                "refuses access",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                false,
                "refuses access",
            ),
            (Code::DataLoss, "etcdserver: corrupt", false, "damaged"),
        ] {
            let error = classify(&Error::GRpcStatus(Status::new(code, message)));
            assert_eq!(error.retry_helps(), helps, "{message}: {error}");
            assert!(error.to_string().contains(what), "{message}: {error}");
        }
    }
}
