use super::*;
use crate::identity::IdentityRules;
use crate::watched::Outcome;
use testkit::{CertificateAuthority, Leaf};

const POLICY: &str = r#"
[[grant]]
caller = "spiffe://crypto.dev/token"
key_sets = ["op/*"]
operations = ["sign", "verify", "encrypt-to-jwk"]

[[grant]]
caller = "spiffe://crypto.dev/token"
tenant = "acme"
key_sets = ["a", "b/*"]
operations = ["decrypt"]

[[grant]]
caller = "spiffe://crypto.dev/userinfo"
key_sets = ["op/id-token"]
operations = ["sign"]
"#;

fn caller(role: &str) -> Caller {
    let issued = CertificateAuthority::new("test").issue(&Leaf::client(role));
    Caller::from_leaf(&issued.der(), IdentityRules::default()).unwrap()
}

#[test]
fn what_no_grant_names_is_refused() {
    let policy = Policy::parse(POLICY).unwrap();
    let (token, userinfo, stranger) = (caller("token"), caller("userinfo"), caller("stranger"));
    let rows = [
        (&token, Operation::Sign, "default", "op/access-token", true),
        (&token, Operation::Sign, "default", "op/not-there", true),
        (&token, Operation::Sign, "default", "other", false),
        (&token, Operation::Sign, "acme", "op/access-token", false),
        (
            &token,
            Operation::Decrypt,
            "default",
            "op/access-token",
            false,
        ),
        (&token, Operation::Decrypt, "acme", "b/c", true),
        (&token, Operation::Sign, "acme", "a", false),
        (
            &token,
            Operation::Administer,
            "default",
            "op/access-token",
            false,
        ),
        (&userinfo, Operation::Sign, "default", "op/id-token", true),
        (
            &userinfo,
            Operation::Sign,
            "default",
            "op/access-token",
            false,
        ),
        (
            &stranger,
            Operation::Verify,
            "default",
            "op/access-token",
            false,
        ),
    ];
    for (caller, operation, tenant, set, expected) in rows {
        let row = format!("{caller} {operation} {tenant} {set}");
        assert_eq!(
            policy.allows(caller, operation, tenant, set),
            expected,
            "{row}"
        );
    }
    assert!(policy.allows_any(&token, Operation::EncryptToJwk, "default"));
    assert!(!policy.allows_any(&token, Operation::EncryptToJwk, "acme"));
    let sets = ["op/a", "x", "op/b"];
    let matcher = policy.matcher(&token, Operation::Verify, "default");
    assert_eq!(sets.map(|set| matcher.matches(set)), [true, false, true]);
    assert_eq!(
        policy.tenants(&token, Operation::Decrypt),
        BTreeSet::from(["acme"])
    );
    let globs: Vec<_> = policy
        .globs(&token, Operation::Decrypt, "acme")
        .map(KeySetGlob::as_str)
        .collect();
    assert_eq!(globs, ["a", "b/*"]);
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = r#"
        version = 1
        [[grant]]
        caller = "token"
        key_sets = ["op /x", 3]
        operations = ["sign", "sing"]
        keysets = []
        [[grant]]
        caller = "spiffe://a/b"
        tenant = ""
        operations = []
    "#;
    let Err(PolicyError::Mistakes(mistakes)) = Policy::parse(text) else {
        panic!("accepted");
    };
    let mut places: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.place.as_str())
        .collect();
    places.sort_unstable();
    let expected = [
        "grant[1].caller",
        "grant[1].key_sets[0]",
        "grant[1].key_sets[1]",
        "grant[1].keysets",
        "grant[1].operations[1]",
        "grant[2].key_sets",
        "grant[2].operations",
        "grant[2].tenant",
        "version",
    ];
    assert_eq!(places, expected);
    let text = PolicyError::Mistakes(mistakes).to_string();
    assert!(
        text.contains("9 mistake(s)") && text.contains("encrypt-to-jwk"),
        "{text}"
    );
}

#[test]
fn each_operation_is_read_by_its_own_name() {
    for operation in Operation::ALL {
        assert_eq!(operation.as_str().parse(), Ok(operation));
    }
}

#[test]
fn a_bad_new_file_keeps_the_old_grants() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, POLICY).unwrap();
    let handle = open(&path).unwrap();
    let token = caller("token");
    let may_sign = || {
        handle
            .current()
            .allows(&token, Operation::Sign, "default", "op/x")
    };

    std::fs::write(&path, "[[grant]]\ncaller = ").unwrap();
    assert!(matches!(handle.check(), Outcome::Kept(_)));
    assert!(may_sign());
    std::fs::write(&path, "").unwrap();
    assert!(matches!(handle.check(), Outcome::Reloaded));
    assert!(!may_sign());
}
