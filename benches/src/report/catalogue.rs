//! What groups and rows are, a line each.

/// A group's heading and what it shows.
#[must_use]
pub fn group(name: &str) -> (&'static str, &'static str) {
    match name {
        "rs256_sign" => ("RS256 sign, 2048 bits", SIGN),
        "ps256_sign" => ("PS256 sign, 2048 bits", SIGN),
        "es256_sign" => ("ES256 sign", SIGN),
        "ed25519_sign" => ("Ed25519 sign", SIGN),
        "rsa4096_sign" => ("RS256 sign, 4096 bits", SIGN),
        "rs256_verify" => ("RS256 verify, 2048 bits", VERIFY),
        "ps256_verify" => ("PS256 verify, 2048 bits", VERIFY),
        "es256_verify" => ("ES256 verify", VERIFY),
        "ed25519_verify" => ("Ed25519 verify", VERIFY),
        "rsa_oaep_encrypt" => ("RSA-OAEP-256 encrypt, 2048 bits", JWE),
        "rsa_oaep_decrypt" => ("RSA-OAEP-256 decrypt, 2048 bits", JWE),
        "ecdh_es_encrypt" => ("ECDH-ES+A256KW encrypt, P-256", JWE),
        "ecdh_es_decrypt" => ("ECDH-ES+A256KW decrypt, P-256", JWE),
        "token_request" => (
            "A whole token request",
            "Three RS256 signatures (access token, ID token with `at_hash`, refresh token) and the ID token encrypted with RSA-OAEP-256.",
        ),
        "unary_latency" => (
            "One call in flight",
            "Latency of single calls over one channel, with nothing else to do.",
        ),
        "latency" => (
            "Latency under load",
            "Open loop at parts of what saturation gave in the same round; latency counts from the moment at which a call was due.",
        ),
        "growth" => (
            "Growth with key sets",
            "ES256, each set with an Active key and a standby; calls pick a set at random over all of them, coalescing on.",
        ),
        "goodput" => (
            "Goodput at ten times saturation",
            "Open loop with a deadline of one second for each call; generator and service are pinned to a core each.",
        ),
        "flood" => (
            "ES256 beside a flood of RSA-4096",
            "ES256 signatures at a fixed rate, open loop, first alone, then while RSA-4096 saturates the service.",
        ),
        "no_lanes" => (
            "RS256 sign without lanes",
            "The service with `[lanes] engine = aws-lc`, against the same library in a loop.",
        ),
        "allocations" => (
            "Allocations of the service for each request",
            "TLS, HTTP/2 and gRPC included; two runs of different length are subtracted.",
        ),
        _ => ("Other", ""),
    }
}

const SIGN: &str =
    "CPU for each signature: loops in this process, peers, and the service at saturation.";
const VERIFY: &str =
    "CPU for each verification: loops in this process, peers, and the service at saturation.";
const JWE: &str = "CPU for each whole token of 400 bytes, A256GCM: loops in this process, peers, and the service at saturation.";

/// What a row is.
#[must_use]
pub fn row(group: &str, who: &str) -> &'static str {
    match (group, who) {
        ("token_request", "node-jose") => "the caller signs and encrypts by itself",
        ("token_request", "one-call") => "the client crate, one `SignBatch` of four items",
        ("unary_latency", "empty") => "a health check: no key, no policy, no token",
        ("unary_latency", "sign") => "`Sign` with ES256",
        ("unary_latency", "primitive") => "the ES256 signature itself, aws-lc-rs loop",
        ("unary_latency", "added") => "p50 of `Sign` less the primitive, by p50 of the empty call",
        ("growth", who) if who.ends_with("created") => {
            "through the key-manager's admin rpcs, many at once, its store in memory"
        }
        ("growth", who) if who.ends_with("used") => "the same service after the load",
        ("growth", who) if who.ends_with("warm") => {
            "a second crypto-service on the same keys, from its start to `/readyz`"
        }
        ("growth", _) => "at saturation; memory is resident before any key was used",
        ("goodput", who) if who.ends_with("peak") => "closed loop: what the service gives at best",
        ("goodput", _) => {
            "answered within the call's deadline, per second of the offer; memory is the service's peak"
        }
        ("latency", who) if who.contains("unary") => "one an rpc, coalescing off",
        ("latency", _) => "the client as it comes",
        ("flood", "alone") => "nothing else to do",
        ("flood", "flooded") => "beside the flood",
        ("flood", "flood") => "the flood itself, RSA-4096 signatures",
        (_, "aws-lc-rs") => "the services' library in a loop, key parsed once",
        (_, "ring") => "the clients' library in a loop, key parsed once",
        (_, "multibuffer") => "eight lanes in a loop, results checked",
        (_, "codec") => "this project's `jose` on aws-lc-rs, in-process, key parsed once",
        (_, "jsonwebtoken") => "whole tokens, in-process, on aws-lc-rs",
        (_, "josekit") => "whole tokens, in-process, on OpenSSL, key parsed once",
        (_, "node-jose") => "whole tokens, in-process in Node, key imported once",
        (_, "openbao") => "Transit over HTTP, one a request; dev mode has no TLS and no audit",
        (_, "openbao-batch") => "Transit's batch input of 64; dev mode has no TLS and no audit",
        (_, "unary") => "this service over mTLS, one an rpc, coalescing off",
        (_, "coalesced") => "this service over mTLS, the client as it comes",
        (_, "batch") => "this service over mTLS, batches of 64",
        (_, "stream") => "this service over mTLS, callers share one stream a connection",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::GROUPS;

    #[test]
    fn every_group_has_a_heading_of_its_own() {
        for (place, name) in GROUPS.iter().enumerate() {
            let (heading, line) = group(name);
            assert!(heading != "Other" && !line.is_empty(), "{name}");
            assert!(
                GROUPS[place + 1..]
                    .iter()
                    .all(|other| group(other).0 != heading)
            );
        }
    }
}
