//! The certificate factory.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SignatureAlgorithm,
};

/// 2020-01-01 and 2090-01-01, in seconds since the epoch.
const VALID: (u64, u64) = (1_577_836_800, 3_786_912_000);
/// A validity that has passed: the year 2020.
const PASSED: (u64, u64) = (1_577_836_800, 1_609_459_200);

/// A certificate authority that lives as long as the test.
#[derive(Debug)]
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

impl CertificateAuthority {
    /// A self-signed authority (P-256). Two of the same name have different keys.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, VALID);
        let key = KeyPair::generate().expect("generate a CA key");
        Self(CertifiedIssuer::self_signed(params, key).expect("sign a CA certificate"))
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The authority's certificate, DER.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// Issues a certificate with a fresh key.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate_for(leaf.algorithm).expect("generate a leaf key");
        let certificate = leaf
            .params()
            .signed_by(&key, &self.0)
            .expect("sign a leaf certificate");
        Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }
}

/// What a certificate shall say. By default: no names, P-256, valid, for both client and server.
#[derive(Clone, Debug)]
pub struct Leaf {
    names: Vec<SanType>,
    validity: (u64, u64),
    algorithm: &'static SignatureAlgorithm,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            validity: VALID,
            algorithm: &PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl Leaf {
    /// A certificate without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client's certificate for `spiffe://crypto.dev/<role>`.
    pub fn client(role: &str) -> Self {
        Self::new().uri(&format!("spiffe://crypto.dev/{role}"))
    }

    /// A server's certificate: as a client's, and for 127.0.0.1 and localhost.
    pub fn server(role: &str) -> Self {
        Self::client(role).ip([127, 0, 0, 1]).dns("localhost")
    }

    /// Adds a URI name.
    pub fn uri(mut self, uri: &str) -> Self {
        let uri = uri.to_owned().try_into().expect("a URI in ASCII");
        self.names.push(SanType::URI(uri));
        self
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &str) -> Self {
        let name = name.to_owned().try_into().expect("a DNS name in ASCII");
        self.names.push(SanType::DnsName(name));
        self
    }

    /// Adds an IP address.
    pub fn ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.names.push(SanType::IpAddress(address.into()));
        self
    }

    /// Valid from and until, in seconds since the epoch.
    pub fn valid(mut self, not_before: u64, not_after: u64) -> Self {
        self.validity = (not_before, not_after);
        self
    }

    /// Valid in 2020 only.
    pub fn expired(self) -> Self {
        self.valid(PASSED.0, PASSED.1)
    }

    /// The key's algorithm, for example `&rcgen::PKCS_ED25519`.
    pub fn algorithm(mut self, algorithm: &'static SignatureAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names.clone_from(&self.names);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, self.validity);
        params
    }
}

/// A certificate and its key. `Debug` shows no key.
#[derive(Clone)]
pub struct Issued {
    certificate_pem: String,
    key_pem: String,
    der: Vec<u8>,
}

impl Issued {
    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, unencrypted PKCS#8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate, DER, in whatever type of bytes the caller wants.
    pub fn der<T: From<Vec<u8>>>(&self) -> T {
        T::from(self.der.clone())
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

fn set_validity(params: &mut CertificateParams, (not_before, not_after): (u64, u64)) {
    let at = |seconds| -> SystemTime { UNIX_EPOCH + Duration::from_secs(seconds) };
    params.not_before = at(not_before).into();
    params.not_after = at(not_after).into();
}
