//! The rows of the matrix: every algorithm with what it leaves open.

use jose::algorithm::{Algorithm, ContentEncryption, JwsAlgorithm, KeyManagement};
use jose_aws_lc::{AgreementCurve, KeySpec};
use serde_json::{Value, json};

const CURVES: [AgreementCurve; 4] = [
    AgreementCurve::P256,
    AgreementCurve::P384,
    AgreementCurve::P521,
    AgreementCurve::X25519,
];

/// An algorithm, with the curve of an ECDH-ES key and the content encryption where it has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) algorithm: Algorithm,
    pub(crate) curve: Option<AgreementCurve>,
    pub(crate) enc: Option<ContentEncryption>,
}

impl Row {
    /// All signature algorithms.
    pub(crate) fn signatures() -> Vec<(Self, JwsAlgorithm)> {
        let row = |jws: &JwsAlgorithm| Self {
            algorithm: Algorithm::Jws(*jws),
            curve: None,
            enc: None,
        };
        JwsAlgorithm::ALL
            .iter()
            .map(|jws| (row(jws), *jws))
            .collect()
    }

    /// All key management algorithms on all their curves, with all content encryptions.
    pub(crate) fn encryptions() -> Vec<(Self, KeyManagement, ContentEncryption)> {
        let mut rows = Vec::new();
        for alg in KeyManagement::ALL {
            let curves = if alg.name().starts_with("ECDH") {
                CURVES.map(Some).to_vec()
            } else {
                vec![None]
            };
            for curve in curves {
                for enc in ContentEncryption::ALL {
                    let row = Self {
                        algorithm: Algorithm::Jwe(*alg),
                        curve,
                        enc: Some(*enc),
                    };
                    rows.push((row, *alg, *enc));
                }
            }
        }
        rows
    }

    /// What stands at the left of the table; the content encryptions share one line.
    pub(crate) fn label(&self) -> String {
        match self.curve {
            Some(curve) => format!("{} {}", self.algorithm, name(curve)),
            None => self.algorithm.to_string(),
        }
    }

    /// What to generate here.
    pub(crate) fn spec(&self) -> KeySpec {
        let mut spec = KeySpec::new(self.algorithm);
        spec.curve = self.curve.unwrap_or_default();
        spec.enc = self.enc.unwrap_or(spec.enc);
        spec
    }

    /// What a peer has to generate. Rows of one shape share a key of each side.
    pub(crate) fn shape(&self) -> Value {
        match (self.algorithm, self.curve) {
            (_, Some(AgreementCurve::X25519)) => json!({"kty": "OKP", "crv": "X25519"}),
            (_, Some(curve)) => json!({"kty": "EC", "crv": name(curve)}),
            (Algorithm::Jws(jws), None) => signature_shape(jws),
            (Algorithm::Jwe(alg), None) => match (alg.is_symmetric(), alg.key_len(), self.enc) {
                (false, ..) => json!({"kty": "RSA", "size": 2048}),
                (true, Some(len), _) => secret(len),
                (true, None, enc) => secret(enc.expect("a JWE has enc").key_len()),
            },
        }
    }
}

fn signature_shape(jws: JwsAlgorithm) -> Value {
    use JwsAlgorithm as S;
    match jws {
        S::Es256 => json!({"kty": "EC", "crv": "P-256"}),
        S::Es384 => json!({"kty": "EC", "crv": "P-384"}),
        S::Es512 => json!({"kty": "EC", "crv": "P-521"}),
        S::Ed25519 | S::EdDsa => json!({"kty": "OKP", "crv": "Ed25519"}),
        S::Hs256 | S::Hs384 | S::Hs512 => secret(jws.hash().output_len()),
        _ => json!({"kty": "RSA", "size": 2048}),
    }
}

fn secret(len: usize) -> Value {
    json!({"kty": "oct", "size": 8 * len})
}

fn name(curve: AgreementCurve) -> &'static str {
    match curve {
        AgreementCurve::P256 => "P-256",
        AgreementCurve::P384 => "P-384",
        AgreementCurve::P521 => "P-521",
        AgreementCurve::X25519 => "X25519",
    }
}
