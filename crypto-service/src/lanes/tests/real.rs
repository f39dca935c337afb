//! The engine of this machine, through all that is above it.

use jose::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use jose::jwe::{self, EncryptRequest, KeyParameters};
use jose::jws::UnverifiedJws;
use jose::key::KeyMaterial;
use jose_aws_lc::{AwsLc, KeySpec};

use super::*;

/// Eight at once where the machine can, else one by one.
fn engine() -> Engine {
    Engine::multibuffer().unwrap_or_else(|missing| {
        println!("the lanes work one by one: {missing}");
        Engine::single()
    })
}

#[tokio::test]
async fn what_is_signed_together_verifies_together_and_apart() {
    let lanes = Lanes::start(LaneOptions {
        engine: engine(),
        ..LaneOptions::default()
    })
    .unwrap();
    for name in ["RS256", "PS384", "ES256", "ES384", "Ed25519", "HS256"] {
        let Algorithm::Jws(algorithm) = Algorithm::parse(name).unwrap() else {
            panic!("{name}");
        };
        let key = AwsLc
            .generate(&KeySpec::new(Algorithm::Jws(algorithm)))
            .unwrap();
        let signing = lanes.engine().prepare_signing(algorithm, &key.material);
        let verifying = match &key.material {
            KeyMaterial::Symmetric(key) => lanes.engine().prepare_mac(algorithm, key),
            private => {
                let public = private.public_key().unwrap();
                lanes.engine().prepare_verifying(algorithm, &public)
            }
        };
        let (signing, verifying) = (signing.unwrap(), verifying.unwrap());
        let header = EncodedHeader::new(algorithm, None, None, None);
        let job = |number: usize| SignJob {
            key: signing.clone(),
            token: UnsignedToken::new(
                &header,
                format!("{number}").as_bytes(),
                signing.signature_len(),
            )
            .unwrap(),
        };
        let tokens = lanes.sign_all((0..20).map(|number| (ask(), job(number))).collect());
        let mut tokens: Vec<_> = tokens.await.into_iter().map(Result::unwrap).collect();
        tokens.push(lanes.sign(ask(), job(20)).await.unwrap());
        let verification = |token: &String, spoilt: bool| {
            let jws = UnverifiedJws::parse(token, 64).unwrap();
            let (len, mut signature) = (jws.signing_input.len(), jws.signature);
            verifying.verify(jws.signing_input, &signature).unwrap();
            signature[7] ^= u8::from(spoilt);
            let message = Message::head(token.clone(), len);
            VerifyJob {
                key: verifying.clone(),
                message,
                signature,
            }
        };
        let spoilt = |at: usize| at.is_multiple_of(5);
        let jobs = tokens.iter().enumerate();
        let jobs = jobs.map(|(at, token)| (ask(), verification(token, spoilt(at))));
        let verdicts = lanes.verify_all(jobs.collect()).await;
        for (at, verdict) in verdicts.into_iter().enumerate() {
            let expected = if spoilt(at) { Err(Failed) } else { Ok(()) };
            assert_eq!(verdict, Ok(expected), "{name} {at}");
        }
    }
    assert_eq!(lanes.report().lane_failures, 0);
}

#[tokio::test]
async fn what_agrees_together_opens_what_was_encrypted_apart() {
    let lanes = Lanes::start(LaneOptions {
        engine: engine(),
        ..LaneOptions::default()
    })
    .unwrap();
    let algorithm = KeyManagement::EcdhEsA256Kw;
    let keys: Vec<_> = (0..3)
        .map(|_| {
            let spec = KeySpec::new(Algorithm::Jwe(algorithm));
            AwsLc.generate(&spec).unwrap().material
        })
        .collect();
    let encrypted = |number: usize| {
        let public = keys[number % 3].public_key().unwrap();
        let encrypter = AwsLc.encrypter(algorithm, &public).unwrap();
        let (request, enc) = (EncryptRequest::default(), ContentEncryption::A256Gcm);
        jwe::encrypt(&request, &[7; 32], &*encrypter, enc, &AwsLc).unwrap()
    };
    // Each fifth is opened with a key that it was not encrypted to.
    let spoilt = |number: usize| number.is_multiple_of(5);
    let works = (0..20).map(|number| {
        let material = &keys[(number + usize::from(spoilt(number))) % 3];
        let decrypter = AwsLc.decrypter(algorithm, None, material).unwrap();
        let view = jwe::peek(encrypted(number)).unwrap();
        let KeyParameters::Ephemeral(epk) = view.header().parameters() else {
            panic!("no epk");
        };
        let KeyMaterial::Private(private) = material else {
            panic!("no key pair");
        };
        let key = lanes.engine().prepare_agreement(private).unwrap();
        let agreement = key.and_then(|key| lanes.engine().agreement(key, epk));
        let open = move |shared: Option<AgreedSecret>| {
            let opened = match &shared {
                Some(shared) => view.open_agreed(&*decrypter, &**shared),
                None => view.open(&*decrypter),
            };
            (
                shared.is_some(),
                opened.ok().map(|payload| payload.to_vec()),
            )
        };
        (ask(), Class::Ec, agreement, open)
    });
    let works: Vec<_> = works.collect();
    let in_lanes = works.iter().all(|(_, _, agreement, _)| agreement.is_some());
    let opened = lanes.agree_all(works).await;
    for (number, opened) in opened.into_iter().enumerate() {
        let (agreed, payload) = opened.unwrap();
        assert_eq!(payload, (!spoilt(number)).then(|| vec![7; 32]), "{number}");
        // Twenty fill two calls of the lanes and a half.
        assert_eq!(agreed, in_lanes, "{number}");
    }
}
