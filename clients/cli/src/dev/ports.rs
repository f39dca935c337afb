//! Where the development daemons listen.

use std::net::{Ipv4Addr, SocketAddr};

use crate::error::Error;

/// The four listeners, moved by `CRYPTO_GRPC`, `KEYS_GRPC`, `CRYPTO_HTTP` and `KEYS_HTTP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) crypto_grpc: SocketAddr,
    pub(crate) keys_grpc: SocketAddr,
    pub(crate) crypto_http: SocketAddr,
    pub(crate) keys_http: SocketAddr,
}

impl Default for Ports {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            crypto_grpc: local(50051),
            keys_grpc: local(50052),
            crypto_http: local(8081),
            keys_http: local(8082),
        }
    }
}

impl Ports {
    /// The defaults, moved by what `variable` gives for each name: `host:port`, or a port alone on 127.0.0.1.
    pub(crate) fn moved_by(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut ports = Self::default();
        for (name, address) in [
            ("CRYPTO_GRPC", &mut ports.crypto_grpc),
            ("KEYS_GRPC", &mut ports.keys_grpc),
            ("CRYPTO_HTTP", &mut ports.crypto_http),
            ("KEYS_HTTP", &mut ports.keys_http),
        ] {
            if let Some(text) = variable(name) {
                *address = parse(name, &text)?;
            }
        }
        Ok(ports)
    }

    /// The variables that move the daemons to these addresses.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("CRYPTO_GRPC", self.crypto_grpc.to_string()),
            ("KEYS_GRPC", self.keys_grpc.to_string()),
            ("CRYPTO_HTTP", self.crypto_http.to_string()),
            ("KEYS_HTTP", self.keys_http.to_string()),
        ]
    }
}

fn parse(name: &str, text: &str) -> Result<SocketAddr, Error> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_not_an_address| {
        Error::usage(format!(
            "{name}: `{text}` is neither a port nor an address such as 127.0.0.1:50151"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_moves_one_listener() {
        for text in ["127.0.0.1:50151", "50151"] {
            let ports =
                Ports::moved_by(|name| (name == "CRYPTO_GRPC").then(|| text.to_owned())).unwrap();
            assert_eq!(ports.crypto_grpc, "127.0.0.1:50151".parse().unwrap());
            assert_eq!(ports.keys_grpc, Ports::default().keys_grpc);
        }
    }

    #[test]
    fn a_bad_variable_is_named() {
        for text in ["", "here", "127.0.0.1", "127.0.0.1:70000"] {
            let refused =
                Ports::moved_by(|name| (name == "KEYS_HTTP").then(|| text.to_owned())).unwrap_err();
            assert!(refused.to_string().contains("KEYS_HTTP"), "{text}");
        }
    }
}
