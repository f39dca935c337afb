//! Channels to both daemons, and their errors as exit codes.

use std::path::Path;

use client_core::{Channel, Code, CryptoClient, Options, TlsFiles};

use crate::{args::Global, error::Error};

/// A client of the crypto-service, as the role that was asked for, or `default_role`.
pub(crate) fn crypto(global: &Global, default_role: &str) -> Result<CryptoClient, Error> {
    channel(global, &global.endpoint, default_role).map(CryptoClient::new)
}

/// A channel to one of the daemons.
pub(crate) fn channel(
    global: &Global,
    endpoint: &str,
    default_role: &str,
) -> Result<Channel, Error> {
    let role = global.role.as_deref().unwrap_or(default_role);
    let files = TlsFiles::in_folder(&global.certs, role);
    for file in [&files.ca, &files.cert, &files.key] {
        readable(file)?;
    }
    let endpoint = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    Options::new(endpoint, files)
        .deadline(global.timeout)
        .channel()
        .map_err(|cause| Error::usage(cause.to_string()))
}

fn readable(file: &Path) -> Result<(), Error> {
    std::fs::File::open(file).map(drop).map_err(|cause| {
        Error::usage(format!(
            "{}: {cause}; `cryptoctl dev init` makes a development set-up, --certs and --as choose another",
            file.display()
        ))
    })
}

/// A failed call: what the service said, with the exit code for its kind.
pub(crate) fn failed(endpoint: &str, error: &client_core::Error) -> Error {
    let code = match error.code() {
        Code::InvalidArgument => 65,
        Code::NotFound | Code::Aborted => 1,
        Code::PermissionDenied | Code::Unauthenticated => 77,
        Code::ResourceExhausted | Code::DeadlineExceeded | Code::Unavailable => 69,
        _ => 70,
    };
    Error::new(code, format!("{endpoint}: {error}"))
}
