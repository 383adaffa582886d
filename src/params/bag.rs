//! The bag and its values.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One value of the bag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// An int of 64 bits.
    Int(i64),
    /// A float of 64 bits.
    Float(f64),
    /// Text.
    Str(String),
}

impl Value {
    /// The type in the words of error messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "string",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(formatter, "{value}"),
            Value::Int(value) => write!(formatter, "{value}"),
            Value::Float(value) => write!(formatter, "{value:?}"),
            Value::Str(value) => write!(formatter, "\"{value}\""),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Str(value.to_owned())
    }
}

/// The bag. Keys are kept sorted, so its JSON is the same however it was filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params {
    pub(super) values: BTreeMap<String, Value>,
}

impl Params {
    /// An empty bag.
    pub fn new() -> Params {
        Params::default()
    }

    /// Sets one value; a key set twice keeps the last.
    ///
    /// # Errors
    /// An empty key, and a float that is NaN or infinite (JSON cannot carry it and no parameter
    /// wants it).
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        if key.is_empty() {
            return Err(Error::invalid("key is empty; a parameter's name is needed"));
        }
        if let Value::Float(float) = value
            && !float.is_finite()
        {
            return Err(Error::invalid(format!(
                "value of '{key}' is {float}; a finite number is needed"
            )));
        }
        self.values.insert(key.to_owned(), value);
        Ok(())
    }

    /// The same bag with one more value, for building one in an expression.
    ///
    /// # Errors
    /// As [`Params::set`].
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Result<Params> {
        self.set(key, value)?;
        Ok(self)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The bag as a JSON object, keys sorted, numbers typed (`1` is an int, `1.0` a float).
    pub fn to_json(&self) -> String {
        // A map with string keys and finite numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_types_and_sorts_keys() {
        let params = Params::new()
            .with("path", "a \"quoted\" name")
            .and_then(|p| p.with("gamma", 1.0))
            .and_then(|p| p.with("count", i64::MIN))
            .and_then(|p| p.with("reload", true))
            .unwrap();
        let json = params.to_json();
        assert_eq!(
            json,
            r#"{"count":-9223372036854775808,"gamma":1.0,"path":"a \"quoted\" name","reload":true}"#
        );
        assert_eq!(serde_json::from_str::<Params>(&json).unwrap(), params);
    }

    #[test]
    fn floats_survive_json_bit_for_bit() {
        for value in [1e-3, 0.1 + 0.2, f64::MIN_POSITIVE, 1e300, -0.0] {
            let json = Params::new().with("x", value).unwrap().to_json();
            let back: Params = serde_json::from_str(&json).unwrap();
            assert_eq!(back.get("x"), Some(&Value::Float(value)), "{json}");
        }
    }

    #[test]
    fn nan_infinity_and_empty_keys_are_refused() {
        let mut params = Params::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(params.set("gamma", value).unwrap_err().message().contains("'gamma'"));
        }
        assert!(params.set("", 1i64).is_err());
        assert_eq!(params, Params::new());
    }
}
