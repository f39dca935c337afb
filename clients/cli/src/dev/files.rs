//! The development set-up in `var/dev`: certificates, the key-encryption key, the policy and both configurations.
//! What is there is kept.

use std::{
    fs, io,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::ports::Ports;
use crate::error::Error;

/// Callers of the daemons.
pub(crate) const CALLERS: [&str; 5] = ["token", "auth", "userinfo", "management", "admin"];
/// The daemons, which are callers too.
pub(crate) const DAEMONS: [&str; 2] = ["crypto-service", "key-manager"];

const POLICY: &str = include_str!("policy.toml");
const KEY_ENCRYPTION_KEY_BYTES: usize = 32;

/// What `dev init` did to one file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileReport {
    /// The file.
    pub(crate) path: PathBuf,
    /// False where it was there already.
    pub(crate) made: bool,
}

/// Makes what is missing in `dir`.
pub(crate) fn init(dir: &Path, ports: &Ports) -> Result<Vec<FileReport>, Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|cause| Error::file(dir, &cause))?;
    let mut files = Files {
        dir,
        reports: Vec::new(),
    };
    files.certificates()?;
    files.keep_or_make("kek", 0o600, || secret_hex(KEY_ENCRYPTION_KEY_BYTES))?;
    files.keep_or_make("policy.toml", 0o644, || Ok(POLICY.to_owned()))?;
    files.keep_or_make("key-manager.toml", 0o644, || {
        Ok(key_manager_config(dir, ports))
    })?;
    files.keep_or_make("crypto-service.toml", 0o644, || {
        Ok(crypto_service_config(dir, ports))
    })?;
    Ok(files.reports)
}

struct Files<'a> {
    dir: &'a Path,
    reports: Vec<FileReport>,
}

impl Files<'_> {
    /// A CA that exists without its key cannot issue what is missing: that is said, and nothing is replaced.
    fn certificates(&mut self) -> Result<(), Error> {
        let ca_key = self.keep_or_make("ca.key", 0o600, || Ok(new_key()?.serialize_pem()))?;
        let key = KeyPair::from_pem(&ca_key).map_err(|_opaque| {
            Error::data(format!(
                "{}: not a private key in PEM; `make clean-dev` starts over",
                self.dir.join("ca.key").display()
            ))
        })?;
        let certificate = authority(&key)?;
        self.keep_or_make("ca.crt", 0o644, || Ok(certificate))?;
        let issuer = Issuer::new(authority_params()?, key);
        for role in CALLERS {
            self.leaf(role, false, &issuer)?;
        }
        for role in DAEMONS {
            self.leaf(role, true, &issuer)?;
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        role: &str,
        server: bool,
        issuer: &Issuer<'_, KeyPair>,
    ) -> Result<(), Error> {
        let pem = self.keep_or_make(&format!("{role}.key"), 0o600, || {
            Ok(new_key()?.serialize_pem())
        })?;
        let path = self.dir.join(format!("{role}.key"));
        self.keep_or_make(&format!("{role}.crt"), 0o644, || {
            let key = KeyPair::from_pem(&pem).map_err(|_opaque| {
                Error::data(format!("{}: not a private key in PEM", path.display()))
            })?;
            let certificate = leaf_params(role, server)?
                .signed_by(&key, issuer)
                .map_err(certificate_error)?;
            Ok(certificate.pem())
        })?;
        Ok(())
    }

    /// The text of the file, made by `make` where it is missing. A new file appears whole or not at all.
    fn keep_or_make(
        &mut self,
        name: &str,
        mode: u32,
        make: impl FnOnce() -> Result<String, Error>,
    ) -> Result<String, Error> {
        let path = self.dir.join(name);
        let (text, made) = match fs::read_to_string(&path) {
            Ok(text) => (text, false),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let text = make()?;
                write_whole(&path, mode, &text).map_err(|cause| Error::file(&path, &cause))?;
                (text, true)
            }
            Err(cause) => return Err(Error::file(&path, &cause)),
        };
        self.reports.push(FileReport { path, made });
        Ok(text)
    }
}

/// Writes beside the file, then renames, so that a crash leaves no half of it.
pub(crate) fn write_whole(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::remove_file(&part).or_else(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(cause),
    })?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)
}

/// So many random bytes in hex, with a newline.
pub(crate) fn secret_hex(bytes: usize) -> Result<String, Error> {
    let secret = crate::keys::random_bytes(bytes)?;
    let mut text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    Ok(text)
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(certificate_error)
}

fn certificate_error(cause: rcgen::Error) -> Error {
    Error::software(format!("a certificate could not be made: {cause}"))
}

fn authority(key: &KeyPair) -> Result<String, Error> {
    let certificate = authority_params()?
        .self_signed(key)
        .map_err(certificate_error)?;
    Ok(certificate.pem())
}

fn authority_params() -> Result<CertificateParams, Error> {
    let mut params = params("crypto development CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(role: &str, server: bool) -> Result<CertificateParams, Error> {
    let mut params = params(role)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(name(&format!("spiffe://crypto.dev/{role}"))?)];
    if server {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.extend([
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::DnsName(name("localhost")?),
        ]);
    }
    Ok(params)
}

/// Valid for as long as a development set-up may lie about; nothing outside it trusts its CA.
fn params(common_name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(certificate_error)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2046, 1, 1);
    Ok(params)
}

fn name(text: &str) -> Result<rcgen::string::Ia5String, Error> {
    text.try_into().map_err(certificate_error)
}

fn key_manager_config(dir: &Path, ports: &Ports) -> String {
    let dir = dir.display();
    format!(
        r#"# The key-manager in development. Every key with its default: key-manager/key-manager.example.toml
[grpc]
listen = "{}"

[http]
listen = "{}"

[tls]
cert = "{dir}/key-manager.crt"
key = "{dir}/key-manager.key"
ca = "{dir}/ca.crt"

[policy]
file = "{dir}/policy.toml"

[store]
path = "{dir}/keys.db"

[audit]
folder = "{dir}/audit"

[issued]
path = "{dir}/issued.db"

[kek]
file = "{dir}/kek"

# short, so that a rotation can be watched; in production leave them at their defaults
[times]
jwks_cap = "5s"
lead = "5s"
max_sign_staleness = "30s"
max_verify_staleness = "60s"
"#,
        ports.keys_grpc, ports.keys_http
    )
}

fn crypto_service_config(dir: &Path, ports: &Ports) -> String {
    let dir = dir.display();
    format!(
        r#"# The crypto-service in development. Every key with its default: crypto-service/crypto-service.example.toml
[grpc]
listen = "{}"

[http]
listen = "{}"

[tls]
cert = "{dir}/crypto-service.crt"
key = "{dir}/crypto-service.key"
ca = "{dir}/ca.crt"

[feed]
endpoint = "https://{}"
key_manager = "spiffe://crypto.dev/key-manager"

[policy]
file = "{dir}/policy.toml"

[issued]
folder = "{dir}/issued"
"#,
        ports.crypto_grpc, ports.crypto_http, ports.keys_grpc
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn everything_is_made_once_and_kept_the_second_time() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("var/dev");
        let first = init(&target, &Ports::default()).unwrap();
        assert!(first.iter().all(|file| file.made), "{first:?}");
        let before: Vec<_> = first.iter().map(|f| fs::read(&f.path).unwrap()).collect();

        let second = init(&target, &Ports::default()).unwrap();
        assert!(second.iter().all(|file| !file.made), "{second:?}");
        let after: Vec<_> = second.iter().map(|f| fs::read(&f.path).unwrap()).collect();
        assert!(before == after);
    }

    #[test]
    fn a_missing_leaf_is_made_again_under_the_same_ca() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &Ports::default()).unwrap();
        let ca = fs::read(dir.path().join("ca.crt")).unwrap();
        fs::remove_file(dir.path().join("token.crt")).unwrap();
        let again = init(dir.path(), &Ports::default()).unwrap();
        let made: Vec<_> = again.iter().filter(|f| f.made).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(ca == fs::read(dir.path().join("ca.crt")).unwrap());
    }

    #[test]
    fn private_files_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        for file in init(dir.path(), &Ports::default()).unwrap() {
            let mode = fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
            let name = file
                .path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let private = name.ends_with(".key") || name == "kek";
            assert_eq!(mode, if private { 0o600 } else { 0o644 }, "{name}");
        }
    }

    #[test]
    fn a_broken_ca_key_is_named_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.key"), "not a key").unwrap();
        let refused = init(dir.path(), &Ports::default()).unwrap_err();
        assert!(refused.to_string().contains("ca.key"), "{refused}");
        assert_eq!(
            fs::read_to_string(dir.path().join("ca.key")).unwrap(),
            "not a key"
        );
    }
}
