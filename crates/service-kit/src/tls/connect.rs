//! The client side: a tonic channel whose every new connection uses the credentials as they are then.

use std::io;

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::Credentials;
use crate::identity::{Caller, IdentityError};

/// Why an endpoint is refused.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not an https URI with a host and a port.
    #[error("{0:?} is not an endpoint: write https://<host>:<port>")]
    NotAnEndpoint(String),
    /// tonic refuses it.
    #[error(transparent)]
    Refused(#[from] tonic::transport::Error),
}

/// Why a connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint has no host or port.
    #[error("the endpoint has no host or no port")]
    NoHost,
    /// The host is neither a DNS name nor an address.
    #[error("the host is neither a DNS name nor an address")]
    HostName(#[from] InvalidDnsNameError),
    /// TCP or TLS failed.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// The server's certificate names nobody.
    #[error("the server's certificate is refused: {0}")]
    Identity(#[from] IdentityError),
    /// The server is somebody else.
    #[error("the server is {found}, not {expected}")]
    SomebodyElse {
        /// Who was expected.
        expected: String,
        /// Who answered.
        found: String,
    },
    /// The server does not speak HTTP/2.
    #[error("the server does not speak HTTP/2")]
    NoHttp2,
}

/// An endpoint for [`Credentials::channel`] from `https://<host>:<port>`.
pub fn endpoint(uri: &str) -> Result<Endpoint, EndpointError> {
    let wrong = || EndpointError::NotAnEndpoint(uri.to_owned());
    let origin: Uri = uri.parse().map_err(|_not_a_uri| wrong())?;
    let authority = origin
        .authority()
        .filter(|authority| authority.port().is_some());
    let sound = origin.scheme() == Some(&Scheme::HTTPS) && matches!(origin.path(), "" | "/");
    let authority = authority.filter(|_| sound).ok_or_else(wrong)?;
    // tonic looks for TLS of its own when the scheme is https; ours is in the connector. What the server sees
    // as scheme and authority is the origin.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))?;
    Ok(endpoint.origin(origin).tcp_nodelay(true))
}

impl Credentials {
    /// A channel that connects when it is first used, and again whenever a connection ends. `expected` is the
    /// name that the server's certificate must carry besides its host name, for example
    /// `spiffe://crypto.dev/key-manager`.
    pub fn channel(&self, endpoint: &Endpoint, expected: Option<&str>) -> Channel {
        let credentials = self.clone();
        let expected = expected.map(str::to_owned);
        endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let credentials = credentials.clone();
            let expected = expected.clone();
            async move {
                let stream = credentials.connect(&uri, expected.as_deref()).await?;
                Ok::<_, ConnectError>(TokioIo::new(stream))
            }
        }))
    }

    /// One TLS connection to the host and port of `uri`.
    pub async fn connect(
        &self,
        uri: &Uri,
        expected: Option<&str>,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().ok_or(ConnectError::NoHost)?;
        let name = ServerName::try_from(host.to_owned())?;
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(self.client_config())
            .connect(name, tcp)
            .await?;
        self.check_server(&stream, expected)?;
        Ok(stream)
    }

    fn check_server(
        &self,
        stream: &TlsStream<TcpStream>,
        expected: Option<&str>,
    ) -> Result<(), ConnectError> {
        let (_, tls) = stream.get_ref();
        if tls.alpn_protocol() != Some(b"h2") {
            return Err(ConnectError::NoHttp2);
        }
        let Some(expected) = expected else {
            return Ok(());
        };
        let leaf = tls
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or(IdentityError::Malformed)?;
        let found = Caller::from_leaf(leaf, self.rules())?;
        if found.name() == expected {
            return Ok(());
        }
        Err(ConnectError::SomebodyElse {
            expected: expected.to_owned(),
            found: found.name().to_owned(),
        })
    }
}
