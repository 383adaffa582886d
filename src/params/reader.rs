//! Reads a bag on behalf of its consumer. Each read names the key, its aliases, its default and its
//! range; `finish` refuses every key that was not read.

use super::bag::{Params, Value};
use crate::error::{Error, Result};

/// Which floats a parameter accepts; the words appear in error messages.
#[derive(Clone, Copy, Debug)]
pub struct FloatRange {
    /// Whether a float is in the range.
    pub accepts: fn(f64) -> bool,
    /// The range in words.
    pub words: &'static str,
}

impl FloatRange {
    /// For values that become float32 weights.
    pub const FLOAT32: FloatRange =
        FloatRange { accepts: |x| (x as f32).is_finite(), words: "a number that float32 can hold" };
    /// For values that become float32 and are not negative.
    pub const FLOAT32_NOT_NEGATIVE: FloatRange = FloatRange {
        accepts: |x| x >= 0.0 && (x as f32).is_finite(),
        words: "a number >= 0 that float32 can hold",
    };
    /// Zero and positive numbers.
    pub const NOT_NEGATIVE: FloatRange =
        FloatRange { accepts: |x| x >= 0.0, words: "a number >= 0" };
    /// Positive numbers.
    pub const POSITIVE: FloatRange = FloatRange { accepts: |x| x > 0.0, words: "a number > 0" };
    /// For exponential moving averages: 1 would never take anything in.
    pub const DECAY: FloatRange =
        FloatRange { accepts: |x| (0.0..1.0).contains(&x), words: "a number in [0, 1)" };
}

/// Reads one bag; create it with [`Params::reader`].
#[derive(Debug)]
pub struct ParamReader<'a> {
    params: &'a Params,
    consumer: String,
    known: Vec<&'static str>,
}

impl Params {
    /// Reads the bag on behalf of `consumer`, a phrase for error messages such as `optimizer
    /// 'adam'`.
    pub fn reader(&self, consumer: impl Into<String>) -> ParamReader<'_> {
        ParamReader { params: self, consumer: consumer.into(), known: Vec::new() }
    }
}

impl<'a> ParamReader<'a> {
    /// A float that may go by several names; an int is accepted.
    pub fn float(
        &mut self,
        names: &[&'static str],
        default: f64,
        range: FloatRange,
    ) -> Result<f64> {
        Ok(self.float_if_set(names, range)?.unwrap_or(default))
    }

    /// A float without a default.
    pub fn required_float(&mut self, name: &'static str, range: FloatRange) -> Result<f64> {
        match self.float_if_set(&[name], range)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name, range.words)),
        }
    }

    /// An int within `min..=max`.
    pub fn int(&mut self, name: &'static str, default: i64, min: i64, max: i64) -> Result<i64> {
        Ok(self.int_if_set(name, min, max)?.unwrap_or(default))
    }

    /// An int within `min..=max` without a default.
    pub fn required_int(&mut self, name: &'static str, min: i64, max: i64) -> Result<i64> {
        match self.int_if_set(name, min, max)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name, &int_words(min, max))),
        }
    }

    /// An int within `min..=max`, or None when the key is missing.
    pub fn int_if_set(&mut self, name: &'static str, min: i64, max: i64) -> Result<Option<i64>> {
        match self.take(&[name])? {
            None => Ok(None),
            Some((_, Value::Int(value))) if (min..=max).contains(value) => Ok(Some(*value)),
            Some((name, value)) => Err(self.refused(name, value, &int_words(min, max))),
        }
    }

    /// A bool.
    pub fn bool(&mut self, name: &'static str, default: bool) -> Result<bool> {
        match self.take(&[name])? {
            None => Ok(default),
            Some((_, Value::Bool(value))) => Ok(*value),
            Some((name, value)) => Err(self.refused(name, value, "true or false")),
        }
    }

    /// A string without a default, and not empty.
    pub fn required_text(&mut self, name: &'static str, words: &str) -> Result<&'a str> {
        match self.text_if_set(name, words)? {
            Some(text) => Ok(text),
            None => Err(self.missing(name, words)),
        }
    }

    /// A string that is not empty, or None when the key is missing.
    pub fn text_if_set(&mut self, name: &'static str, words: &str) -> Result<Option<&'a str>> {
        match self.take(&[name])? {
            None => Ok(None),
            Some((_, Value::Str(text))) if !text.is_empty() => Ok(Some(text)),
            Some((name, value)) => Err(self.refused(name, value, words)),
        }
    }

    /// One of a list of words, returned as its position in the list.
    pub fn choice(&mut self, name: &'static str, default: usize, words: &[&str]) -> Result<usize> {
        Ok(self.choice_if_set(name, words)?.unwrap_or(default))
    }

    /// As [`ParamReader::choice`], or None when the key is missing.
    pub fn choice_if_set(&mut self, name: &'static str, words: &[&str]) -> Result<Option<usize>> {
        let Some((name, value)) = self.take(&[name])? else { return Ok(None) };
        let found = match value {
            Value::Str(word) => words.iter().position(|known| known == word),
            _ => None,
        };
        match found {
            Some(_) => Ok(found),
            None => Err(self.refused(name, value, &format!("one of {}", quoted(words)))),
        }
    }

    /// Refuses keys that nobody read.
    pub fn finish(self) -> Result<()> {
        match self.params.values.iter().find(|(key, _)| !self.known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, value)) => {
                let valid = if self.known.is_empty() {
                    "it takes no parameters".to_owned()
                } else {
                    format!("valid names are {}", quoted(&self.known))
                };
                Err(Error::invalid(format!(
                    "{} has no parameter '{key}' (given {value}); {valid}",
                    self.consumer
                )))
            }
        }
    }

    /// As [`ParamReader::float`], without a default.
    pub fn float_if_set(
        &mut self,
        names: &[&'static str],
        range: FloatRange,
    ) -> Result<Option<f64>> {
        let Some((name, value)) = self.take(names)? else { return Ok(None) };
        let float = match value {
            Value::Float(float) => Some(*float),
            Value::Int(int) => Some(*int as f64),
            _ => None,
        };
        match float {
            Some(float) if float.is_finite() && (range.accepts)(float) => Ok(Some(float)),
            _ => Err(self.refused(name, value, range.words)),
        }
    }

    /// The value under one of `names`. Two names of one parameter at once are an error.
    fn take(&mut self, names: &[&'static str]) -> Result<Option<(&'static str, &'a Value)>> {
        self.known.extend(names);
        let mut given =
            names.iter().filter_map(|&name| self.params.get(name).map(|value| (name, value)));
        let first = given.next();
        if let (Some((first, _)), Some((second, _))) = (first, given.next()) {
            return Err(Error::invalid(format!(
                "{} was given both '{first}' and '{second}', which name the same parameter; give \
                 one",
                self.consumer
            )));
        }
        Ok(first)
    }

    fn refused(&self, name: &str, value: &Value, accepted: &str) -> Error {
        Error::invalid(format!(
            "{}: parameter '{name}' is {value} ({}); {accepted} is needed",
            self.consumer,
            value.type_name()
        ))
    }

    fn missing(&self, name: &str, accepted: &str) -> Error {
        Error::invalid(format!("{} needs the parameter '{name}' ({accepted})", self.consumer))
    }
}

fn int_words(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => "an int".to_owned(),
        (_, i64::MAX) => format!("an int >= {min}"),
        _ => format!("an int from {min} to {max}"),
    }
}

/// Where a name, or the name that it is an alias of, stands in the list of known ones. `kind` is
/// what messages say that the name is not.
///
/// # Errors
/// `INVALID_ARGUMENT` with the names and aliases that are known.
pub(crate) fn find_name(
    kind: &str,
    name: &str,
    known: &[&str],
    aliases: &[(&str, &str)],
) -> Result<usize> {
    let alias = aliases.iter().find(|(alias, _)| *alias == name);
    let canonical = alias.map_or(name, |(_, target)| target);
    known.iter().position(|known| *known == canonical).ok_or_else(|| {
        let aliases: Vec<&str> = aliases.iter().map(|(alias, _)| *alias).collect();
        let aliases = match aliases.is_empty() {
            true => String::new(),
            false => format!(" (aliases {})", quoted(&aliases)),
        };
        Error::invalid(format!("name '{name}' is not {kind}; known are {}{aliases}", quoted(known)))
    })
}

/// `'a', 'b', 'c'`, for messages that list what is accepted.
fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().message().to_owned()
    }

    #[test]
    fn ints_are_accepted_as_floats_but_not_the_reverse() {
        let params = Params::new().with("gamma", 2i64).and_then(|p| p.with("seed", 1.5)).unwrap();
        let mut reader = params.reader("optimizer 'sgd'");
        assert_eq!(reader.float(&["gamma"], 0.1, FloatRange::POSITIVE), Ok(2.0));
        assert_eq!(
            message(reader.int("seed", 0, 0, 9)),
            "optimizer 'sgd': parameter 'seed' is 1.5 (float); an int from 0 to 9 is needed"
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_the_valid_ones() {
        let params = Params::new().with("gama", 0.1).unwrap();
        let mut reader = params.reader("optimizer 'sgd'");
        assert_eq!(reader.float(&["gamma", "learning_rate"], 0.5, FloatRange::POSITIVE), Ok(0.5));
        assert_eq!(
            message(reader.finish()),
            "optimizer 'sgd' has no parameter 'gama' (given 0.1); valid names are 'gamma', \
             'learning_rate'"
        );
    }

    #[test]
    fn two_names_for_one_parameter_are_a_contradiction() {
        let params =
            Params::new().with("gamma", 0.1).and_then(|p| p.with("learning_rate", 0.1)).unwrap();
        let mut reader = params.reader("optimizer 'sgd'");
        let text = message(reader.float(&["gamma", "learning_rate"], 0.5, FloatRange::POSITIVE));
        assert!(text.contains("both 'gamma' and 'learning_rate'"), "{text}");
    }

    #[test]
    fn values_out_of_range_name_what_is_accepted() {
        let params = Params::new().with("beta1", 1.0).and_then(|p| p.with("mode", "max")).unwrap();
        let mut reader = params.reader("x");
        let text = message(reader.float(&["beta1"], 0.9, FloatRange::DECAY));
        assert_eq!(text, "x: parameter 'beta1' is 1.0 (float); a number in [0, 1) is needed");
        let text = message(reader.choice("mode", 0, &["sum", "mean"]));
        assert_eq!(text, "x: parameter 'mode' is \"max\" (string); one of 'sum', 'mean' is needed");
        let text = message(reader.required_int("decay_steps", 1, i64::MAX));
        assert_eq!(text, "x needs the parameter 'decay_steps' (an int >= 1)");
    }
}
