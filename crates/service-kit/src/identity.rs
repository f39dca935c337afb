//! Who calls: the typed identity that the client's certificate carries.
//!
//! Exactly one URI subject alternative name of scheme `spiffe` names a caller. None, or more than one, is
//! refused: a certificate with two names would let its holder choose which policy applies. A DNS name counts
//! only where [`IdentityRules`] says so, and only when there is no URI.
//!
//! A [`Caller`] is made from a certificate and from nothing else; on the request path only
//! [`layers::AuthenticateLayer`](crate::layers::AuthenticateLayer) does that, after TLS has verified the chain.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name that a caller may have, in bytes (the limit of the SPIFFE ID standard).
const MAX_NAME: usize = 2048;

/// Which names of a certificate count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityRules {
    /// Accept a certificate without URI names by its single DNS name; the caller is then `dns:<name>`.
    pub allow_dns: bool,
}

/// Why a certificate names no caller. The text is safe to show to the peer: it speaks of its own certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is not parsable X.509, or an alternative name in it is not.
    #[error("the client certificate cannot be parsed")]
    Malformed,
    /// There is no name that counts.
    #[error("the client certificate has no URI subject alternative name")]
    NoName,
    /// There is more than one name that counts.
    #[error(
        "the client certificate has {0} URI or DNS subject alternative names; exactly one is allowed"
    )]
    SeveralNames(usize),
    /// The one name is not a SPIFFE ID.
    #[error("the URI subject alternative name is not of the form spiffe://<trust domain>/<path>")]
    NotSpiffe,
    /// The certificate has expired since the connection was made.
    #[error("the client certificate has expired; connect again with a renewed one")]
    Expired,
}

/// No caller is attached to a request: the authentication layer was not in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was not authenticated")]
pub struct NotAuthenticated;

/// The authenticated peer. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller(Arc<Identity>);

#[derive(PartialEq, Eq)]
struct Identity {
    name: String,
    leaf: CertificateDer<'static>,
    not_after: SystemTime,
}

impl Caller {
    /// Names the caller by its leaf certificate. Verifies nothing: the chain must have been verified before.
    pub fn from_leaf(
        leaf: &CertificateDer<'_>,
        rules: IdentityRules,
    ) -> Result<Self, IdentityError> {
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_malformed| IdentityError::Malformed)?;
        let name = name_of(&parsed, rules)?;
        let not_after = parsed.validity().not_after.timestamp();
        let not_after = Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
        Ok(Self(Arc::new(Identity {
            name,
            leaf: leaf.clone().into_owned(),
            not_after: UNIX_EPOCH + not_after,
        })))
    }

    /// The caller that the authentication layer attached to a request.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, NotAuthenticated> {
        request.extensions().get::<Self>().ok_or(NotAuthenticated)
    }

    /// The name, for example `spiffe://crypto.dev/token`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The leaf certificate that carried the name.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.0.leaf
    }

    /// The last moment at which the leaf certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Whether the leaf certificate has expired at `now`.
    pub fn expired_at(&self, now: SystemTime) -> bool {
        now > self.0.not_after
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.name).finish()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

fn name_of(leaf: &X509Certificate<'_>, rules: IdentityRules) -> Result<String, IdentityError> {
    let (uris, dns) = alternative_names(leaf)?;
    match (uris.as_slice(), dns.as_slice()) {
        ([uri], _) if is_spiffe_id(uri) => Ok((*uri).to_owned()),
        ([_], _) => Err(IdentityError::NotSpiffe),
        ([], [name]) if rules.allow_dns => Ok(format!("dns:{}", name.to_ascii_lowercase())),
        ([], [_, ..]) if rules.allow_dns => Err(IdentityError::SeveralNames(dns.len())),
        ([], _) => Err(IdentityError::NoName),
        _ => Err(IdentityError::SeveralNames(uris.len())),
    }
}

type Names<'a> = Vec<&'a str>;

fn alternative_names<'a>(
    leaf: &'a X509Certificate<'_>,
) -> Result<(Names<'a>, Names<'a>), IdentityError> {
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    // Every extension is looked at: one that repeats must not hide a second name.
    for extension in leaf.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => dns.push(*name),
                GeneralName::Invalid(..) => return Err(IdentityError::Malformed),
                _ => {}
            }
        }
    }
    Ok((uris, dns))
}

/// SPIFFE ID, section 2: a trust domain and a path of plain segments; no port, query or fragment.
fn is_spiffe_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://") else {
        return false;
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return false;
    };
    let domain_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    let path_byte = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let plain = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(path_byte);
    uri.len() <= MAX_NAME
        && !domain.is_empty()
        && domain.bytes().all(domain_byte)
        && path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::{CertificateAuthority, Leaf};

    fn named(leaf: Leaf, rules: IdentityRules) -> Result<String, IdentityError> {
        let issued = CertificateAuthority::new("test").issue(&leaf);
        Caller::from_leaf(&issued.der(), rules).map(|caller| caller.name().to_owned())
    }

    #[test]
    fn exactly_one_spiffe_name_names_a_caller() {
        let token = "spiffe://crypto.dev/token";
        let dns = IdentityRules { allow_dns: true };
        let uri_only = IdentityRules::default();
        let rows = [
            (
                "one uri",
                Leaf::new().uri(token),
                uri_only,
                Ok(token.to_owned()),
            ),
            (
                "uri and dns",
                Leaf::new().uri(token).dns("localhost"),
                uri_only,
                Ok(token.to_owned()),
            ),
            (
                "uri wins over dns",
                Leaf::new().uri(token).dns("localhost"),
                dns,
                Ok(token.to_owned()),
            ),
            ("none", Leaf::new(), uri_only, Err(IdentityError::NoName)),
            (
                "dns unasked",
                Leaf::new().dns("a.example"),
                uri_only,
                Err(IdentityError::NoName),
            ),
            (
                "dns asked",
                Leaf::new().dns("A.example"),
                dns,
                Ok("dns:a.example".to_owned()),
            ),
            (
                "two dns",
                Leaf::new().dns("a.b").dns("c.d"),
                dns,
                Err(IdentityError::SeveralNames(2)),
            ),
            (
                "two uris",
                Leaf::new().uri(token).uri("spiffe://x/y"),
                dns,
                Err(IdentityError::SeveralNames(2)),
            ),
            (
                "same uri twice",
                Leaf::new().uri(token).uri(token),
                uri_only,
                Err(IdentityError::SeveralNames(2)),
            ),
            (
                "https uri",
                Leaf::new().uri("https://crypto.dev/token"),
                uri_only,
                Err(IdentityError::NotSpiffe),
            ),
        ];
        for (name, leaf, rules, expected) in rows {
            assert_eq!(named(leaf, rules), expected, "{name}");
        }
    }

    #[test]
    fn only_plain_spiffe_ids_pass() {
        for good in ["spiffe://crypto.dev/token", "spiffe://a/b/c-d_e.f"] {
            assert!(is_spiffe_id(good), "{good}");
        }
        let long = format!("spiffe://a/{}", "b".repeat(MAX_NAME));
        for bad in [
            "spiffe://",
            "spiffe:///x",
            "spiffe://a",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b c",
            "spiffe://a/b\n",
            "spiffe://a/%2e",
            "SPIFFE://a/b",
            "spiffe://A/b",
            "spiffe://a/*",
            &long,
        ] {
            assert!(!is_spiffe_id(bad), "{bad}");
        }
    }

    #[test]
    fn garbage_is_malformed() {
        let der = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        let result = Caller::from_leaf(&der, IdentityRules::default());
        assert_eq!(result.err(), Some(IdentityError::Malformed));
    }
}
