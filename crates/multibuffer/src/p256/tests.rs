use jose::algorithm::JwsAlgorithm;
use jose::key::{EcCurve, PrivateKey};
use jose::provider::Provider as _;
use jose_aws_lc::AwsLc;

use super::*;
use crate::{Signer, Verifier};

fn hex(text: &str) -> [u8; 32] {
    U256::from_be_hex(text).to_be_bytes().into()
}

/// RFC 6979 A.2.5: the key, and message, k, r, s under SHA-256.
const KEY: [&str; 3] = [
    "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
    "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
];
const SIGNED: [(&str, [&str; 3]); 2] = [
    (
        "sample",
        [
            "A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ],
    ),
    (
        "test",
        [
            "D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ],
    ),
];

fn key() -> EcPrivateKey {
    let [d, x, y] = KEY.map(hex);
    let public = EcPublicKey::new(EcCurve::P256, &x, &y).unwrap();
    EcPrivateKey::new(public, &d).unwrap()
}

#[test]
fn the_signatures_of_rfc_6979_come_out_of_every_lane() {
    let Ok(engine) = Engine::detect() else { return };
    let key = Scalar::prepare(engine, &key()).unwrap();
    for (message, [k, r, s]) in SIGNED {
        let (digest, nonce) = (
            reduced_digest(&AwsLc, message.as_bytes()).unwrap(),
            words::from_be_32(&hex(k)),
        );
        for lane in 0..LANES {
            let (mut out_r, mut out_s) = ([[0; 32]; LANES], [[0; 32]; LANES]);
            let only = |value| {
                let mut lanes = [None; LANES];
                lanes[lane] = Some(value);
                lanes
            };
            let mut digests = [None; LANES];
            digests[lane] = Some(&digest);
            let status = ffi::p256_sign(
                engine.proof(),
                &mut out_r,
                &mut out_s,
                &digests,
                &only(&nonce),
                &only(&key.0),
            );
            for other in 0..LANES {
                assert_eq!(status.is_ok(other), other == lane, "an unused lane says so");
            }
            assert_eq!((out_r[lane], out_s[lane]), (hex(r), hex(s)), "{message}");
        }
    }
}

#[test]
fn a_nonce_depends_on_everything_it_is_made_of() {
    let key = |at| Scalar(Box::new(Zeroizing::new([at; 4])));
    let nonce = |fresh: u8, scalar: u64, digest: u8, lane: u8| {
        let mut nonce = [0; 4];
        hedged(
            &AwsLc,
            &[fresh; 32],
            &key(scalar),
            &[digest; 32],
            lane,
            &mut nonce,
        )
        .unwrap();
        assert!(nonce.iter().rev().lt(ORDER_WORDS.iter().rev()));
        nonce
    };
    let all = [
        nonce(0, 1, 2, 3),
        nonce(9, 1, 2, 3),
        nonce(0, 9, 2, 3),
        nonce(0, 1, 9, 3),
        nonce(0, 1, 2, 9),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|other| one != other), "{at}");
    }
}

/// A digest that gives what a test wants.
#[derive(Debug)]
struct Fixed(Vec<u8>);

impl Digest for Fixed {
    fn digest(&self, _: Hash, _: &[u8]) -> Vec<u8> {
        self.0.clone()
    }
}

#[test]
fn a_nonce_is_reduced_and_never_zero() {
    let key = Scalar(Box::new(Zeroizing::new([1; 4])));
    let made = |high: [u8; 32], low: [u8; 32]| {
        let mut nonce = [0; 4];
        let digest = Fixed([high, low].concat());
        hedged(&digest, &[0; 32], &key, &[0; 32], 0, &mut nonce).map(|()| nonce)
    };
    let order: [u8; 32] = ORDER.get().to_be_bytes().into();
    let mut above = order;
    above[31] += 5;
    assert_eq!(made([0; 32], [0; 32]), Err(Failed));
    assert_eq!(made([0; 32], order), Err(Failed));
    assert_eq!(made(order, order), Err(Failed));
    assert_eq!(made([0; 32], above), Ok([5, 0, 0, 0]));
    let mut nonce = [0; 4];
    for length in [0, 31, 32, 63, 65] {
        let short = Fixed(vec![1; length]);
        assert_eq!(
            hedged(&short, &[0; 32], &key, &[0; 32], 0, &mut nonce),
            Err(Failed)
        );
    }
}

#[test]
fn only_points_of_the_curve_are_keys() {
    let [_, x, y] = KEY.map(U256::from_be_hex);
    let prime = *field::Prime::PARAMS.modulus().as_ref();
    let one = U256::ONE;
    assert!(is_on_curve(&x, &y) && is_on_curve(&x, &prime.wrapping_sub(&y)));
    for (x, y) in [
        (x, y.wrapping_add(&one)),
        (x.wrapping_add(&one), y),
        (y, x),
        (U256::ZERO, U256::ZERO),
        (prime, y),
        (x, prime),
        (U256::MAX, U256::MAX),
    ] {
        assert!(!is_on_curve(&x, &y), "{x} {y}");
    }
    // the point with x = 0 and its other spelling, x = p
    let y = U256::from_be_hex("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4");
    assert!(is_on_curve(&U256::ZERO, &y) && !is_on_curve(&prime, &y));
}

#[test]
fn a_digest_at_or_above_the_order_is_reduced() {
    let order = hex(&ORDER.as_ref().to_string());
    let mut above = order;
    above[31] += 1;
    let mut one = [0; 32];
    one[31] = 1;
    let mut below = order;
    below[31] -= 1;
    for (value, expected) in [(order, [0; 32]), (above, one), (below, below), (one, one)] {
        let made = reduced_digest(&Fixed(value.to_vec()), b"");
        assert_eq!(made, Ok(expected));
    }
    assert_eq!(reduced_digest(&Fixed(vec![1; 31]), b""), Err(Failed));
}

/// As Wycheproof's case 90, and the way out too: what the lanes sign under such a digest, they and aws-lc verify.
#[test]
fn a_message_whose_digest_is_above_the_order_is_signed_and_verified() {
    let Ok(engine) = Engine::detect() else { return };
    let message = b"3610672442";
    let digest = AwsLc.digest(Hash::Sha256, message);
    assert!(!words::is_below(&digest, &ORDER_WORDS));
    let private = PrivateKey::Ec(key());
    let algorithm = JwsAlgorithm::Es256;
    let signer = Signer::prepare(engine, algorithm, &private)
        .unwrap()
        .unwrap();
    let verifier = Verifier::prepare(engine, algorithm, &private.public_key());
    let verifier = verifier.unwrap().unwrap();
    let mut signature = [0; 64];
    let mut jobs = [SignJob {
        key: &signer,
        message,
        signature: &mut signature,
    }];
    assert_eq!(crate::sign(engine, &AwsLc, &AwsLc, &mut jobs)[0], Ok(()));
    let job = VerifyJob {
        key: &verifier,
        message,
        signature: &signature,
    };
    assert_eq!(crate::verify(engine, &AwsLc, &[job])[0], Ok(()));
    let aws = AwsLc
        .verifying_key(algorithm, &private.public_key())
        .unwrap();
    assert_eq!(aws.verify(message, &signature), Ok(()));
}
