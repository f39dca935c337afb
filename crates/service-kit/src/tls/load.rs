//! From PEM to rustls configurations.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroize;

use super::TlsError;
use crate::clock::SharedClock;
use crate::watched::Contents;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
/// Sessions that a server remembers, for clients that resume without tickets.
const REMEMBERED_SESSIONS: usize = 1024;

/// Everything that one state of the files makes.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) client_verifier: Arc<dyn ClientCertVerifier>,
}

/// The provider of every TLS configuration here.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificate, key, authorities.
pub(super) fn credentials(contents: &Contents, clock: &SharedClock) -> Result<Loaded, TlsError> {
    let certified = Arc::new(certified_key(contents)?);
    let roots = Arc::new(authorities(contents.get(2).map_or(&[], |pem| pem))?);
    let provider = provider();
    let time = Arc::new(ClockTime(clock.clone()));
    let single = Arc::new(SingleCertAndKey::from(Arc::clone(&certified)));
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()?;

    let server = ServerConfig::builder_with_details(Arc::clone(&provider), time.clone())
        .with_protocol_versions(&VERSIONS)?
        .with_client_cert_verifier(Arc::clone(&verifier));
    let server = finish_server(server, single.clone(), b"h2")?;

    let resolver: Arc<dyn ResolvesClientCert> = single;
    let mut client = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(resolver);
    client.alpn_protocols = vec![b"h2".to_vec()];

    Ok(Loaded {
        server,
        client: Arc::new(client),
        certified,
        client_verifier: verifier,
    })
}

/// Certificate and key, for a server that asks its clients for none.
pub(super) fn https(
    contents: &Contents,
    clock: &SharedClock,
) -> Result<Arc<ServerConfig>, TlsError> {
    let single = Arc::new(SingleCertAndKey::from(certified_key(contents)?));
    let server = ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(&VERSIONS)?
        .with_no_client_auth();
    finish_server(server, single, b"http/1.1")
}

fn finish_server(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    resolver: Arc<dyn ResolvesServerCert>,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

fn certified_key(contents: &Contents) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("cert", contents.first().map_or(&[], |pem| pem))?;
    let pem = contents.get(1).map_or(&[][..], |pem| pem);
    let mut der =
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| TlsError::Pem("key", error))?;
    let key = aws_lc_rs::sign::any_supported_type(&der).map_err(TlsError::Key);
    der.zeroize();
    let certified = CertifiedKey::new(chain, key?);
    certified.keys_match().map_err(TlsError::Mismatch)?;
    Ok(certified)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", pem)? {
        roots.add(certificate).map_err(TlsError::Authority)?;
    }
    Ok(roots)
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.map_err(|error| TlsError::Pem(file, error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(file));
    }
    Ok(certificates)
}

/// rustls's view of our clock.
#[derive(Debug)]
struct ClockTime(SharedClock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since_epoch()))
    }
}
