//! Dev edges only: the certificate factory, the PEM folders, the TCP proxy, the etcd clusters, the
//! tokens of SoftHSM and the AWS KMS of moto that tests of the daemons and of the clients use.
//!
//! Certificates are valid from 2020 to 2090 unless a test says otherwise, so that no test reads a clock.
//! Failures here are failures of the test that called: every function panics with what went wrong.

#![expect(
    clippy::expect_used,
    reason = "a fixture that cannot be made fails the test that wanted it"
)]

mod certificates;
mod etcd;
mod folder;
mod moto;
mod proxy;
mod softhsm;

pub use certificates::{CertificateAuthority, Issued, Leaf};
pub use etcd::EtcdCluster;
pub use folder::{PemFiles, PemFolder, write_private};
pub use moto::MotoKms;
pub use proxy::Proxy;
pub use softhsm::{SoftHsm, TokenFolder};
