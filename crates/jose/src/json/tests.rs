use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    bytes: 4096,
    depth: 4,
};

fn parse(text: &str) -> Result<Object<'_>, JsonError> {
    Object::parse(text.as_bytes(), LIMITS)
}

#[test]
fn members_are_carried_as_written() {
    let object = parse(
        " { \"a\" : 1.50e+2 , \"b\\u0063\":[ {\"x\":1} , \"s,]\" ],\"d\":\"\\ud83d\\ude00\\n\" } ",
    )
    .unwrap();
    let members: Vec<_> = object
        .members()
        .map(|member| (member.name().into_owned(), member.value.raw()))
        .collect();
    assert_eq!(members.len(), 3);
    assert_eq!(object.get("a").unwrap().raw(), "1.50e+2");
    assert_eq!(object.get("bc").unwrap().raw(), "[ {\"x\":1} , \"s,]\" ]");
    assert_eq!(object.get("d").unwrap().as_str().unwrap(), "\u{1f600}\n");
    let elements: Vec<_> = object
        .get("bc")
        .unwrap()
        .elements()
        .unwrap()
        .map(|element| element.raw())
        .collect();
    assert_eq!(elements, ["{\"x\":1}", "\"s,]\""]);
    assert!(object.get("b").is_none());
}

#[test]
fn duplicates_are_refused_at_every_level_and_in_every_spelling() {
    let many = |last: &str| {
        let names: Vec<_> = (0..40).map(|n| format!("\"n{n}\":0")).collect();
        format!("{{{},\"{last}\":1}}", names.join(","))
    };
    for text in [
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"a":1,"\u0061":2}"#.to_owned(),
        r#"{"b":{"a":1,"c":2,"a":3}}"#.to_owned(),
        r#"{"b":[{"x":{"a":1,"\u0061":3}}]}"#.to_owned(),
        r#"{"/":1,"\/":2}"#.to_owned(),
        r#"{"":1,"":2}"#.to_owned(),
        many("n7"),
        many("\\u006e39"),
    ] {
        assert_eq!(parse(&text).unwrap_err(), JsonError::Duplicate, "{text}");
    }
    for text in [
        r#"{"a":{"a":{"a":1}}}"#.to_owned(),
        r#"{"a":1,"A":2}"#.to_owned(),
        many("n40"),
    ] {
        assert!(parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "{}}",
        "{}{}",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":tru}"#,
        r#"{"a":nulll}"#,
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\u+123"}"#,
        r#"{"a":"}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1 2]}"#,
        "\u{feff}{}",
        "{}//",
        "{\u{a0}}",
        r#"{"a":1 "b":2}"#,
        r#"{"a":0x1}"#,
    ] {
        assert_eq!(parse(text).unwrap_err(), JsonError::Syntax, "{text:?}");
    }
    assert_eq!(
        Object::parse(b"{\"a\":\"\xff\"}", LIMITS).unwrap_err(),
        JsonError::Syntax
    );
    for text in ["[]", "1", "\"a\"", "null", " true "] {
        assert_eq!(parse(text).unwrap_err(), JsonError::NotAnObject, "{text:?}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    assert!(parse(r#"{"a":{"b":{"c":{}}}}"#).is_ok());
    assert_eq!(
        parse(r#"{"a":{"b":{"c":[[]]}}}"#).unwrap_err(),
        JsonError::TooDeep
    );
    assert_eq!(
        parse(&format!("{{\"a\":{}", "[".repeat(4000))).unwrap_err(),
        JsonError::TooDeep
    );
    assert_eq!(parse(&"[".repeat(4096)).unwrap_err(), JsonError::TooDeep);
    assert_eq!(parse(&" ".repeat(4097)).unwrap_err(), JsonError::TooLarge);
    assert!(parse(&format!("{{}}{}", " ".repeat(4094))).is_ok());
}

#[test]
fn strings_are_written_so_that_they_read_back() {
    let nasty = "\"\\\u{0}\u{1f}\n\r\t/\u{7f}\u{e9}\u{1f600}";
    let mut writer = ObjectWriter::with_capacity(16);
    writer
        .string(nasty, nasty)
        .number("n", u64::MAX)
        .raw("r", "[1.0]")
        .base64url("b", &[255, 255]);
    let text = writer.finish();
    let object = parse(&text).unwrap();
    assert_eq!(object.get(nasty).unwrap().as_str().unwrap(), nasty);
    assert_eq!(object.get("n").unwrap().raw(), "18446744073709551615");
    assert_eq!(object.get("b").unwrap().as_str().unwrap(), "__8");
}

#[test]
fn debug_shows_no_value() {
    let object = parse(r#"{"secret":"hunter2"}"#).unwrap();
    let shown = format!(
        "{object:?} {:?} {:?}",
        object.get("secret"),
        object.members().next()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Object::parse(&bytes, LIMITS);
    }

    #[test]
    fn arbitrary_tokens_never_panic_and_agree_with_serde(text in "[{}\\[\\],:\"ab\\\\u0012e.+ -]{0,40}") {
        let peer = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
        match parse(&text) {
            Ok(object) => {
                let peer = peer.unwrap();
                prop_assert_eq!(object.members().count(), peer.len());
            }
            Err(JsonError::Duplicate | JsonError::TooDeep) => {}
            // serde refuses numbers that a float cannot hold, we judge numbers where they are read
            Err(_) => prop_assert!(peer.is_err(), "{text}"),
        }
    }
}
