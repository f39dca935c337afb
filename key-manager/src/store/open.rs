//! From the settings to an engine.

use std::sync::Arc;

use service_kit::tls::TlsError;

use super::{KeyStore, SqliteStore, StoreError, peek};
use crate::config::Store;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate for the cluster cannot be used.
    #[error("store.{0}")]
    Tls(#[from] TlsError),
    /// The password for the cluster cannot be read.
    #[error("store.auth: {0}")]
    Password(String),
    /// This build has no such engine.
    #[error("store.endpoints: this build has no etcd: build it with --features etcd")]
    NotBuilt,
}

/// Opens the store that the settings name. `make` says whether a database that is not there is made; an etcd cluster is only
/// connected to. Nothing is written to a store that exists.
///
/// # Errors
/// [`OpenError`].
pub async fn open(settings: &Store, make: bool) -> Result<Arc<dyn KeyStore>, OpenError> {
    if settings.is_etcd() {
        return open_etcd(settings).await;
    }
    if !make && !settings.path.exists() {
        return Err(OpenError::Store(StoreError::Refused(
            format!("{}: there is no such file", settings.path.display()).into(),
        )));
    }
    Ok(Arc::new(SqliteStore::open(&settings.path).await?))
}

/// One entry of the store as it is, before anything is opened for writing or changed on the disk.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn look(settings: &Store, key: &str) -> Result<Option<super::Entry>, OpenError> {
    match settings.is_etcd() {
        true => Ok(open_etcd(settings).await?.get(key).await?),
        false => Ok(peek(&settings.path, key)?),
    }
}

#[cfg(not(feature = "etcd"))]
async fn open_etcd(_settings: &Store) -> Result<Arc<dyn KeyStore>, OpenError> {
    Err(OpenError::NotBuilt)
}

#[cfg(feature = "etcd")]
async fn open_etcd(settings: &Store) -> Result<Arc<dyn KeyStore>, OpenError> {
    use service_kit::{clock::SystemClock, tls::Credentials};

    let credentials = match settings.tls.cert.as_os_str().is_empty() {
        true => None,
        false => Some(Credentials::open(&settings.tls, SystemClock::shared())?),
    };
    let user = match settings.auth.user.is_empty() {
        true => None,
        false => Some((settings.auth.user.clone(), password(&settings.auth)?)),
    };
    let store = super::EtcdStore::connect(super::EtcdOptions {
        endpoints: settings.endpoints.clone(),
        prefix: settings.prefix.clone(),
        timeout: settings.timeout.get(),
        credentials,
        user,
    });
    Ok(Arc::new(store.await?))
}

#[cfg(feature = "etcd")]
fn password(auth: &crate::config::StoreAuth) -> Result<zeroize::Zeroizing<String>, OpenError> {
    use service_kit::config::secret_from_env;
    use zeroize::Zeroizing;

    let bytes = match auth.password_env.is_empty() {
        false => secret_from_env(&auth.password_env)
            .map_err(|error| OpenError::Password(error.to_string()))?,
        true => private_file(&auth.password_file)?,
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_binary| OpenError::Password("the password is no text".to_owned()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(OpenError::Password("the password is empty".to_owned())),
        password => Ok(Zeroizing::new(password.to_owned())),
    }
}

#[cfg(feature = "etcd")]
fn private_file(path: &std::path::Path) -> Result<zeroize::Zeroizing<Vec<u8>>, OpenError> {
    use std::{io::Read as _, os::unix::fs::PermissionsExt as _};

    let shown = |problem: &dyn std::fmt::Display| {
        OpenError::Password(format!("{}: {problem}", path.display()))
    };
    let mut file = std::fs::File::open(path).map_err(|error| shown(&error))?;
    let mode = file
        .metadata()
        .map_err(|error| shown(&error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(shown(&format_args!(
            "others may read it (mode {:03o}): chmod 600",
            mode & 0o777
        )));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes)
        .map_err(|error| shown(&error))?;
    Ok(bytes)
}
