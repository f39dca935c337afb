//! Claims under construction: a JSON object whose members are carried over as written.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why claims are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// A claim is given twice; a later one never replaces an earlier one.
    #[error("claim {0:?} is given twice")]
    Duplicate(String),
    /// Not a JSON object.
    #[error("the claims are not a JSON object")]
    NotAnObject,
    /// The value of a claim cannot be written as JSON.
    #[error("claim {0:?} cannot be written as JSON")]
    NotJson(String),
}

/// A JSON object of claims. Members keep their order and their text: numbers are never rewritten.
#[derive(Clone, Default)]
pub struct Claims {
    members: Vec<(String, Box<RawValue>)>,
}

impl Claims {
    /// No claims.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The members of a JSON object.
    ///
    /// # Errors
    /// [`ClaimsError::NotAnObject`], [`ClaimsError::Duplicate`].
    pub fn from_json(json: &str) -> Result<Self, ClaimsError> {
        let Members(members) =
            serde_json::from_str(json).map_err(|_error| ClaimsError::NotAnObject)?;
        let mut claims = Self::new();
        members
            .into_iter()
            .try_for_each(|(name, value)| claims.push(name, value))?;
        Ok(claims)
    }

    /// The members of anything that serialises as a JSON object.
    ///
    /// # Errors
    /// [`ClaimsError::NotAnObject`], [`ClaimsError::Duplicate`].
    pub fn from_value(value: &impl Serialize) -> Result<Self, ClaimsError> {
        let json = serde_json::to_string(value).map_err(|_error| ClaimsError::NotAnObject)?;
        Self::from_json(&json)
    }

    /// Adds a claim.
    ///
    /// # Errors
    /// [`ClaimsError::Duplicate`], [`ClaimsError::NotJson`].
    pub fn with(
        mut self,
        name: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, ClaimsError> {
        self.insert(name, value)?;
        Ok(self)
    }

    /// Adds a claim where there is a value for it.
    ///
    /// # Errors
    /// [`ClaimsError::Duplicate`], [`ClaimsError::NotJson`].
    pub fn with_some<T: Serialize>(
        self,
        name: &str,
        value: Option<T>,
    ) -> Result<Self, ClaimsError> {
        match value {
            Some(value) => self.with(name, &value),
            None => Ok(self),
        }
    }

    /// Adds all of `other`.
    ///
    /// # Errors
    /// [`ClaimsError::Duplicate`].
    pub fn with_all(mut self, other: Self) -> Result<Self, ClaimsError> {
        other
            .members
            .into_iter()
            .try_for_each(|(name, value)| self.push(name, value))?;
        Ok(self)
    }

    /// Adds a claim.
    ///
    /// # Errors
    /// [`ClaimsError::Duplicate`], [`ClaimsError::NotJson`].
    pub fn insert(
        &mut self,
        name: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), ClaimsError> {
        let value = serde_json::value::to_raw_value(value)
            .map_err(|_error| ClaimsError::NotJson(name.to_owned()))?;
        self.push(name.to_owned(), value)
    }

    /// The text of a claim.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.get())
    }

    /// A claim that is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<String> {
        self.get(name)
            .and_then(|json| serde_json::from_str(json).ok())
    }

    /// The JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (name, value) in &self.members {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(name.as_str()).to_string());
            json.push(':');
            json.push_str(value.get());
        }
        json.push('}');
        json
    }

    fn push(&mut self, name: String, value: Box<RawValue>) -> Result<(), ClaimsError> {
        if self.get(&name).is_some() {
            return Err(ClaimsError::Duplicate(name));
        }
        self.members.push((name, value));
        Ok(())
    }
}

/// Names only: the values are the end user's.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.members.iter().map(|(name, _)| name))
            .finish()
    }
}

/// All members of an object, repeated ones too.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_carried_over_as_written() {
        let json = r#"{"n":12345678901234567890123.50,"s":"a\u00e9","o":{"x": [1, 2]}}"#;
        let claims = Claims::new()
            .with("sub", "alice")
            .unwrap()
            .with_all(Claims::from_json(json).unwrap())
            .unwrap();
        assert_eq!(
            claims.to_json(),
            r#"{"sub":"alice","n":12345678901234567890123.50,"s":"a\u00e9","o":{"x": [1, 2]}}"#
        );
        assert_eq!(Claims::new().to_json(), "{}");
        assert_eq!(claims.string("sub").as_deref(), Some("alice"));
        assert_eq!(claims.string("n"), None);
    }

    #[test]
    fn a_claim_is_given_once_however_it_is_spelled() {
        let twice = Err(ClaimsError::Duplicate("sub".to_owned()));
        for json in [r#"{"sub":"a","sub":"b"}"#, r#"{"sub":"a","s\u0075b":"b"}"#] {
            assert_eq!(
                Claims::from_json(json).map(|claims| claims.to_json()),
                twice,
                "{json}"
            );
        }
        let base = Claims::new().with("sub", "alice").unwrap();
        let extra = Claims::from_json(r#"{"\u0073ub":"mallory"}"#).unwrap();
        assert_eq!(
            base.clone().with_all(extra).map(|claims| claims.to_json()),
            twice
        );
        assert_eq!(
            base.with("sub", "mallory").map(|claims| claims.to_json()),
            twice
        );
        for json in ["[]", "1", "", "{", r#"{"a":1}x"#] {
            assert_eq!(
                Claims::from_json(json).map(|claims| claims.to_json()),
                Err(ClaimsError::NotAnObject),
                "{json}"
            );
        }
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let claims = Claims::new().with("email", "alice@example.com").unwrap();
        assert_eq!(format!("{claims:?}"), r#"["email"]"#);
    }
}
