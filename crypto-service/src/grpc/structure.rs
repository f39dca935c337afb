//! `google.protobuf.Struct` as JSON text, for people with grpcurl.
//!
//! A structure has only doubles for numbers. Whole ones are written as integers, and beyond 2^53 either way they are refused:
//! there a double no longer says which integer was meant.

use jose::limits;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// 2^53
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;
/// One deeper than any claims may be, so that the strict reader says so.
const DEEPEST: usize = 33;

/// Why a structure is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StructureError {
    #[error("holds a whole number beyond 2^53: use claims_json, or a string")]
    Number,
    #[error("holds a number that is not finite: JSON has none")]
    NotFinite,
    #[error("must be nested at most 32 levels deep")]
    TooDeep,
    #[error("holds a value of no kind")]
    NoKind,
    #[error("must be at most 12 KiB")]
    TooLarge,
}

/// The JSON text. Members come in the order of their names: a structure has no other.
pub(super) fn to_json(structure: &Struct) -> Result<String, StructureError> {
    let mut out = String::with_capacity(256);
    object(structure, 1, &mut out)?;
    Ok(out)
}

fn object(structure: &Struct, depth: usize, out: &mut String) -> Result<(), StructureError> {
    let depth = deeper(depth)?;
    out.push('{');
    for (index, (name, value)) in structure.fields.iter().enumerate() {
        separate(index, out);
        jose::json::write_string(name, out);
        out.push(':');
        write(value, depth, out)?;
    }
    out.push('}');
    Ok(())
}

fn list(list: &ListValue, depth: usize, out: &mut String) -> Result<(), StructureError> {
    let depth = deeper(depth)?;
    out.push('[');
    for (index, value) in list.values.iter().enumerate() {
        separate(index, out);
        write(value, depth, out)?;
    }
    out.push(']');
    Ok(())
}

fn write(value: &Value, depth: usize, out: &mut String) -> Result<(), StructureError> {
    // As text a number takes up to thirty times the room that it has on the wire.
    if out.len() > limits::CLAIMS.bytes {
        return Err(StructureError::TooLarge);
    }
    match value.kind.as_ref().ok_or(StructureError::NoKind)? {
        Kind::NullValue(_) => out.push_str("null"),
        Kind::BoolValue(value) => out.push_str(if *value { "true" } else { "false" }),
        Kind::NumberValue(value) => out.push_str(&number(*value)?),
        Kind::StringValue(text) => jose::json::write_string(text, out),
        Kind::StructValue(inner) => object(inner, depth, out)?,
        Kind::ListValue(inner) => list(inner, depth, out)?,
    }
    Ok(())
}

fn number(value: f64) -> Result<String, StructureError> {
    if !value.is_finite() {
        return Err(StructureError::NotFinite);
    }
    if value.fract() != 0.0 {
        return Ok(format!("{value}"));
    }
    if value.abs() > LARGEST_WHOLE {
        return Err(StructureError::Number);
    }
    // Adding zero turns -0 into 0.
    Ok(format!("{:.0}", value + 0.0))
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

fn deeper(depth: usize) -> Result<usize, StructureError> {
    if depth > DEEPEST {
        Err(StructureError::TooDeep)
    } else {
        Ok(depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: Kind) -> Struct {
        let value = Value { kind: Some(kind) };
        Struct {
            fields: [("a".to_owned(), value)].into(),
        }
    }

    #[test]
    fn whole_numbers_are_written_as_integers_and_beyond_2_to_the_53_refused() {
        for (number, expected) in [
            (0.0, Ok(r#"{"a":0}"#)),
            (-0.0, Ok(r#"{"a":0}"#)),
            (1_800_000_000.0, Ok(r#"{"a":1800000000}"#)),
            (9_007_199_254_740_992.0, Ok(r#"{"a":9007199254740992}"#)),
            (-9_007_199_254_740_992.0, Ok(r#"{"a":-9007199254740992}"#)),
            (9_007_199_254_740_994.0, Err(StructureError::Number)),
            (1e300, Err(StructureError::Number)),
            (0.5, Ok(r#"{"a":0.5}"#)),
            (f64::NAN, Err(StructureError::NotFinite)),
            (f64::INFINITY, Err(StructureError::NotFinite)),
        ] {
            assert_eq!(
                to_json(&one(Kind::NumberValue(number))).as_deref(),
                expected.as_deref(),
                "{number}"
            );
        }
    }

    #[test]
    fn text_is_escaped_and_lists_and_structures_nest() {
        let list = ListValue {
            values: vec![
                Value {
                    kind: Some(Kind::BoolValue(true)),
                },
                Value {
                    kind: Some(Kind::NullValue(0)),
                },
            ],
        };
        assert_eq!(
            to_json(&one(Kind::ListValue(list))).unwrap(),
            r#"{"a":[true,null]}"#
        );
        assert_eq!(
            to_json(&one(Kind::StringValue("\"\n".to_owned()))).unwrap(),
            r#"{"a":"\"\n"}"#
        );
        assert_eq!(
            to_json(&one(Kind::StructValue(one(Kind::BoolValue(false))))).unwrap(),
            r#"{"a":{"a":false}}"#
        );
        assert_eq!(
            to_json(&Struct {
                fields: [("a".to_owned(), Value { kind: None })].into()
            }),
            Err(StructureError::NoKind)
        );
    }

    #[test]
    fn endless_nesting_ends() {
        let nested = (0..90).fold(one(Kind::BoolValue(true)), |inner, _| {
            one(Kind::StructValue(inner))
        });
        assert_eq!(to_json(&nested), Err(StructureError::TooDeep));
    }
}
