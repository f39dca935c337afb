//! A key-encryption key in a PKCS#11 token: the key stays there, and wraps there.
//!
//! ```text
//! closed --call--> open           module loaded, token found, logged in, key found
//! open   --fails-> closed --> open   within the same call, with the module started anew: it looks for its tokens again
//! closed --fails-> closed         with the reason; the next call tries again, but never a PIN that was refused
//! ```

mod error;
mod module;
mod token;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cryptoki::{
    context::Function,
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::ObjectHandle,
    session::Session,
};
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};
use zeroize::Zeroizing;

pub use error::Pkcs11Error;

use self::{
    module::{Module, Running},
    token::{Opened, Refused},
};
use super::{
    KEY_LEN, KekError, KeyEncryptionKey, SealError,
    local::{binding, key_of},
    random,
};
use crate::config::Pkcs11Key;

/// The form of [`LocalKek`](super::LocalKek). What is wrapped stands beside the public id of its key, so one that moves into a token is another
/// key, and the file it came from is `kek.previous` until everything is wrapped anew.
const FORMAT: u8 = 1;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// AES-256-GCM in a token.
pub struct Pkcs11Kek {
    id: String,
    token: String,
    limit: Duration,
    held: Arc<Mutex<Held>>,
}

/// What is known of the token between two calls. Calls take turns: a session does one thing at a time.
struct Held {
    settings: Pkcs11Key,
    module: Arc<Module>,
    open: Option<(u64, Opened)>,
    refused: Option<Refused>,
}

/// Why the token did not do it.
enum Fault {
    /// What was wrapped does not open: nothing is wrong with the token.
    Refused,
    Failed(Error),
    Random(SealError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Something to be done with a key.
type Call<T> = dyn Fn(&Session, ObjectHandle) -> Result<T, Fault> + Send;

impl fmt::Debug for Pkcs11Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Kek")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Pkcs11Kek {
    /// Loads the module, logs in and finds the key.
    ///
    /// # Errors
    /// [`Pkcs11Error`].
    pub async fn open(settings: &Pkcs11Key) -> Result<Self, Pkcs11Error> {
        let limit = settings.timeout.get();
        let wanted = settings.clone();
        let held = within(settings, move || {
            let mut held = Held {
                module: Module::load(&wanted.module)?,
                settings: wanted,
                open: None,
                refused: None,
            };
            held.connect()?;
            Ok(held)
        });
        Ok(Self {
            id: format!(
                "pkcs11:token={};object={}",
                settings.token_label, settings.key_label
            ),
            token: settings.token_label.clone(),
            limit,
            held: Arc::new(Mutex::new(held.await?)),
        })
    }

    /// Makes the key that the settings name. It never leaves the token.
    ///
    /// # Errors
    /// [`Pkcs11Error`]; where a key has the label already, nothing is changed.
    pub async fn create(settings: &Pkcs11Key) -> Result<(), Pkcs11Error> {
        let wanted = settings.clone();
        let made = within(settings, move || {
            let module = Module::load(&wanted.module)?;
            token::create(&module.running().context, &wanted)
        });
        made.await
    }

    /// Does it on a thread that may wait.
    async fn call<T: Send + 'static>(&self, call: Box<Call<T>>) -> Result<T, SealError> {
        let silent = || {
            KekError::Pkcs11(Pkcs11Error::Silent {
                token: self.token.clone(),
                limit: self.limit,
            })
        };
        // One call that hangs holds one thread; the others wait here, and give up.
        let turn = timeout(self.limit, Arc::clone(&self.held).lock_owned());
        let mut held = turn.await.map_err(|_late| silent())?;
        let done = spawn_blocking(move || held.call(call.as_ref()));
        let done = timeout(self.limit, done).await.map_err(|_late| silent())?;
        done.map_err(|_ended| silent())?
    }
}

#[async_trait]
impl KeyEncryptionKey for Pkcs11Kek {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, owner: &str, data_key: &[u8; KEY_LEN]) -> Result<Vec<u8>, SealError> {
        let (aad, key) = (binding(owner), Zeroizing::new(*data_key));
        let call = move |session: &Session, object| encrypt(session, object, &aad, &key);
        self.call(Box::new(call)).await
    }

    async fn unwrap(
        &self,
        owner: &str,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
        let (format, rest) = wrapped.split_first().ok_or(SealError::Refused)?;
        if *format != FORMAT {
            return Err(SealError::Format(*format));
        }
        let (iv, text) = rest
            .split_first_chunk::<IV_LEN>()
            .filter(|(_, text)| text.len() == KEY_LEN + TAG_LEN)
            .ok_or(SealError::Refused)?;
        let (aad, iv, text) = (binding(owner), *iv, text.to_vec());
        let call = move |session: &Session, object| decrypt(session, object, &aad, iv, &text);
        key_of(&self.call(Box::new(call)).await?)
    }
}

impl Held {
    fn call<T>(&mut self, call: &Call<T>) -> Result<T, SealError> {
        match self.attempt(call) {
            Some(Ok(done)) => return Ok(done),
            Some(Err(Fault::Refused)) => return Err(SealError::Refused),
            Some(Err(Fault::Random(error))) => return Err(error),
            Some(Err(Fault::Failed(error))) => self.lose(&error),
            None => {}
        }
        self.reconnect().map_err(KekError::Pkcs11)?;
        match self.attempt(call) {
            Some(Ok(done)) => Ok(done),
            Some(Err(Fault::Refused)) => Err(SealError::Refused),
            Some(Err(Fault::Random(error))) => Err(error),
            Some(Err(Fault::Failed(error))) => {
                self.lose(&error);
                Err(self.failed(&error).into())
            }
            None => Err(SealError::Engine),
        }
    }

    fn failed(&self, error: &Error) -> KekError {
        KekError::Pkcs11(Pkcs11Error::failed(&self.settings.token_label, error))
    }

    /// `None` where no session is open, or the one that was is void.
    fn attempt<T>(&mut self, call: &Call<T>) -> Option<Result<T, Fault>> {
        let module = Arc::clone(&self.module);
        let running = module.running();
        self.open
            .take_if(|(generation, _)| *generation != running.generation);
        let (_, opened) = self.open.as_ref()?;
        Some(call(&opened.session, opened.key))
    }

    fn lose(&mut self, error: &Error) {
        tracing::warn!(
            token = self.settings.token_label,
            error = %self.failed(error),
            "the session with the token is lost"
        );
        self.close();
    }

    /// A void session is left alone: its number may be that of another by now.
    fn close(&mut self) {
        let running = self.module.running();
        if let Some((generation, opened)) = self.open.take()
            && generation == running.generation
        {
            // A token that is gone has closed it.
            let _closed = opened.session.close();
        }
    }

    /// Looks for the token, and where that does not find it, once more after a new start of the module.
    fn reconnect(&mut self) -> Result<(), Pkcs11Error> {
        self.close();
        match self.connect() {
            Err(error) if error.is_unavailable() || matches!(error, Pkcs11Error::NoKey { .. }) => {
                self.module.restart()?;
                self.connect()
            }
            other => other,
        }
    }

    fn connect(&mut self) -> Result<(), Pkcs11Error> {
        let module = Arc::clone(&self.module);
        let running: &Running = &module.running();
        let opened = token::open(&running.context, &self.settings, &mut self.refused)?;
        self.open = Some((running.generation, opened));
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close();
    }
}

fn encrypt(
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    data_key: &[u8; KEY_LEN],
) -> Result<Vec<u8>, Fault> {
    let mut iv: [u8; IV_LEN] = random().map_err(Fault::Random)?;
    let text = {
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, 128.into())?);
        session.encrypt(&mechanism, key, data_key)?
    };
    // A token that insists on IVs of its own has written one there.
    Ok([&[FORMAT], iv.as_slice(), text.as_slice()].concat())
}

fn decrypt(
    session: &Session,
    key: ObjectHandle,
    aad: &[u8],
    mut iv: [u8; IV_LEN],
    text: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let opened = {
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, 128.into())?);
        session.decrypt(&mechanism, key, text)
    };
    match opened {
        Ok(opened) => Ok(Zeroizing::new(opened)),
        Err(Error::Pkcs11(
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::SignatureInvalid,
            _,
        )) => Err(Fault::Refused),
        // Some tokens call a tag that does not fit a general error; one that works with this key means that.
        Err(Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, Function::Decrypt))
            if encrypt(session, key, aad, &[0; KEY_LEN]).is_ok() =>
        {
            Err(Fault::Refused)
        }
        Err(error) => Err(Fault::Failed(error)),
    }
}

/// Does it on a thread that may wait, for as long as one call may take.
async fn within<T: Send + 'static>(
    settings: &Pkcs11Key,
    task: impl FnOnce() -> Result<T, Pkcs11Error> + Send + 'static,
) -> Result<T, Pkcs11Error> {
    let silent = || Pkcs11Error::Silent {
        token: settings.token_label.clone(),
        limit: settings.timeout.get(),
    };
    let done = timeout(settings.timeout.get(), spawn_blocking(task)).await;
    done.map_err(|_late| silent())?.map_err(|_ended| silent())?
}
