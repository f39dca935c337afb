//! Temporary folders with PEM files, as the daemons read them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{CertificateAuthority, Issued};

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct PemFolder(TempDir);

/// Where one role's files are.
#[derive(Clone, Debug)]
pub struct PemFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key, mode 0600.
    pub key: PathBuf,
    /// The authority that the other side's certificate must come from.
    pub ca: PathBuf,
}

impl Default for PemFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl PemFolder {
    /// An empty folder.
    pub fn new() -> Self {
        Self(TempDir::new().expect("make a temporary folder"))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `<role>.crt`, `<role>.key` and `<role>-ca.crt`, replacing older ones.
    pub fn write(&self, role: &str, issued: &Issued, ca: &CertificateAuthority) -> PemFiles {
        let files = PemFiles {
            cert: self.path().join(format!("{role}.crt")),
            key: self.path().join(format!("{role}.key")),
            ca: self.path().join(format!("{role}-ca.crt")),
        };
        fs::write(&files.ca, ca.pem()).expect("write the CA certificate");
        fs::write(&files.cert, issued.certificate_pem()).expect("write the certificate");
        write_private(&files.key, issued.key_pem());
        files
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .expect("open a private file");
    file.write_all(content.as_bytes())
        .expect("write a private file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("restrict a private file");
}
