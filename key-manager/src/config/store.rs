//! `[store]`: where keys are kept.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Mistake, Span},
    tls::TlsFiles,
};

/// `[store]`: exactly one of `path` and `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The SQLite database; made with mode 0600 where there is none. One key-manager at a time.
    pub path: PathBuf,
    /// The members of an etcd cluster, which any number of key-managers may share.
    pub endpoints: Vec<String>,
    /// What every key in the cluster begins with.
    pub prefix: String,
    /// The longest time of one call to the cluster, through all members that are tried.
    pub timeout: Span,
    /// For https endpoints: our certificate, its key, and the authorities of the members.
    pub tls: TlsFiles,
    /// The user, where the cluster asks for one.
    pub auth: StoreAuth,
    /// The file that remembers the highest epoch, on another disk than the store; empty = none.
    pub anchor: PathBuf,
    /// The folder in which a backup that is being restored is kept until it is verified; empty = beside the database, and for etcd the folder of the audit log.
    pub spool: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            endpoints: Vec::new(),
            prefix: "crypto-service/".to_owned(),
            timeout: Span::secs(5),
            tls: TlsFiles::default(),
            auth: StoreAuth::default(),
            anchor: PathBuf::new(),
            spool: PathBuf::new(),
        }
    }
}

/// `[store.auth]`. The password itself never stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreAuth {
    /// The user's name; empty where the cluster asks for none.
    pub user: String,
    /// The name of an environment variable with the password.
    pub password_env: String,
    /// A file of mode 0600 with the password.
    pub password_file: PathBuf,
}

/// What a cluster is reached over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Store {
    /// Whether the store is an etcd cluster.
    #[must_use]
    pub fn is_etcd(&self) -> bool {
        !self.endpoints.is_empty()
    }

    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let both = self.is_etcd() && !self.path.as_os_str().is_empty();
        let neither = !self.is_etcd() && self.path.as_os_str().is_empty();
        if both || neither {
            return vec![Mistake::new(
                "store",
                "give either store.path (a SQLite database, one key-manager) or store.endpoints (an etcd cluster, any number of them)",
            )];
        }
        let mut mistakes = match self.is_etcd() {
            true => self.mistakes_of_etcd(),
            false => Vec::new(),
        };
        if !self.anchor.as_os_str().is_empty() && self.anchor == self.path {
            mistakes.push(Mistake::new(
                "store.anchor",
                "is the store itself: name another file, on another disk",
            ));
        }
        mistakes
    }

    fn mistakes_of_etcd(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !cfg!(feature = "etcd") {
            mistakes.push(Mistake::new(
                "store.endpoints",
                "this build has no etcd: build it with `scripts/etcd && cargo build -p key-manager --features etcd`, or give store.path",
            ));
        }
        let mut schemes = Vec::new();
        for endpoint in &self.endpoints {
            match scheme_of(endpoint) {
                Ok(scheme) => schemes.push(scheme),
                Err(problem) => mistakes.push(Mistake::new(
                    "store.endpoints",
                    format!("{endpoint:?} {problem}"),
                )),
            }
        }
        if !self.prefix.ends_with('/') || self.prefix.len() > 128 {
            mistakes.push(Mistake::new(
                "store.prefix",
                "ends with a slash and has at most 128 bytes, for example \"crypto-service/\"",
            ));
        }
        if self.timeout < Span::secs(1) || self.timeout > Span::secs(60) {
            mistakes.push(Mistake::new("store.timeout", "is from 1s to 60s"));
        }
        mistakes.extend(self.mistakes_of_tls(&schemes));
        mistakes.extend(self.auth.mistakes());
        mistakes
    }

    fn mistakes_of_tls(&self, schemes: &[Scheme]) -> Vec<Mistake> {
        let files = [
            ("store.tls.cert", &self.tls.cert),
            ("store.tls.key", &self.tls.key),
            ("store.tls.ca", &self.tls.ca),
        ];
        let wanted = schemes.contains(&Scheme::Https);
        let wrong = files
            .iter()
            .filter(|(_, path)| path.as_os_str().is_empty() == wanted);
        let problem = match wanted {
            true => "is required for an https endpoint",
            false => "is of no use: no endpoint is https",
        };
        wrong
            .map(|(place, _)| Mistake::new(*place, problem))
            .collect()
    }
}

impl StoreAuth {
    fn mistakes(&self) -> Vec<Mistake> {
        let (env, file) = (
            !self.password_env.is_empty(),
            !self.password_file.as_os_str().is_empty(),
        );
        let problem = match (self.user.is_empty(), env, file) {
            (true, false, false) | (false, true, false) | (false, false, true) => None,
            (true, ..) => Some("a password is given and no user: give store.auth.user"),
            (false, ..) => Some(
                "give either store.auth.password_env or store.auth.password_file, to say where the password is",
            ),
        };
        problem
            .map(|problem| Mistake::new("store.auth", problem))
            .into_iter()
            .collect()
    }
}

/// What lies on the wire in the clear never leaves the machine.
fn scheme_of(endpoint: &str) -> Result<Scheme, &'static str> {
    let odd = "is no endpoint: write https://<host>:<port>";
    let uri: http::Uri = endpoint.parse().map_err(|_not_a_uri| odd)?;
    let host = uri
        .host()
        .filter(|_| uri.port().is_some() && uri.path() == "/" && !endpoint.contains('@'));
    let loopback = is_loopback(host.ok_or(odd)?);
    match uri.scheme_str() {
        Some("https") => Ok(Scheme::Https),
        Some("http") if loopback => Ok(Scheme::Http),
        Some("http") => Err("is not on this machine and not encrypted: write https://"),
        _ => Err(odd),
    }
}

/// Whether the host of a URI is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd() -> Store {
        Store {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            ..Store::default()
        }
    }

    fn tls() -> TlsFiles {
        TlsFiles {
            cert: "a.crt".into(),
            key: "a.key".into(),
            ca: "ca.crt".into(),
        }
    }

    #[test]
    fn each_mistake_is_named_with_what_would_be_right() {
        let with = |change: fn(&mut Store)| {
            let mut store = etcd();
            change(&mut store);
            store
        };
        for (store, place, says) in [
            (Store::default(), "store", "give either store.path"),
            (
                Store {
                    path: "keys.db".into(),
                    anchor: "keys.db".into(),
                    ..Store::default()
                },
                "store.anchor",
                "another file",
            ),
            (with(|s| s.path = "keys.db".into()), "store", "give either"),
            (
                with(|s| s.endpoints = vec!["127.0.0.1:2379".into()]),
                "store.endpoints",
                "write https://",
            ),
            (
                with(|s| s.endpoints = vec!["http://127.0.0.1".into()]),
                "store.endpoints",
                "write https://",
            ),
            (
                with(|s| s.endpoints = vec!["http://u:p@127.0.0.1:1".into()]),
                "store.endpoints",
                "write https://",
            ),
            (
                with(|s| s.endpoints = vec!["http://10.0.0.1:2379".into()]),
                "store.endpoints",
                "not encrypted",
            ),
            (
                with(|s| s.endpoints.push("https://10.0.0.1:2379".into())),
                "store.tls.cert",
                "is required",
            ),
            (with(|s| s.tls = tls()), "store.tls.ca", "of no use"),
            (
                with(|s| s.prefix = "a".into()),
                "store.prefix",
                "ends with a slash",
            ),
            (with(|s| s.timeout = Span::millis(1)), "store.timeout", "1s"),
            (
                with(|s| s.auth.user = "a".into()),
                "store.auth",
                "where the password is",
            ),
            (
                with(|s| s.auth.password_env = "A".into()),
                "store.auth",
                "give store.auth.user",
            ),
        ] {
            let mistakes = store.mistakes();
            let named = mistakes
                .iter()
                .any(|mistake| mistake.place == place && mistake.problem.contains(says));
            assert!(named, "{place} {says}: {mistakes:?}");
        }
    }

    #[test]
    fn a_build_without_etcd_says_which_build_has_it() {
        let named = etcd()
            .mistakes()
            .iter()
            .any(|mistake| mistake.problem.contains("--features etcd"));
        assert_eq!(named, !cfg!(feature = "etcd"));
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn a_sound_store_has_no_mistake() {
        let mut secure = etcd();
        secure.endpoints = vec!["https://10.0.0.1:2379".into(), "https://[::1]:2379".into()];
        secure.tls = tls();
        secure.auth.user = "key-manager".to_owned();
        secure.auth.password_env = "ETCD_PASSWORD".to_owned();
        let file = Store {
            path: "keys.db".into(),
            ..Store::default()
        };
        for store in [etcd(), secure, file] {
            assert_eq!(store.mistakes(), [], "{store:?}");
        }
    }
}
