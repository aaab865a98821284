//! How a request wants its tokens chosen: read, checked against ranges, and put into the engine's words.

use serde_json::{Map, Value};
use wire::{
    Code, Failure,
    chat::types::{ChatRequest, ResponseFormat, Stop},
    completions::types::CompletionRequest,
    fleet::worker::{Constraint, Sampling},
};

/// Most stop strings, and their length in bytes.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;
/// Most entries of `logit_bias`.
const BIASES_MAX: usize = 1024;
/// Longest schema or grammar, in bytes.
pub(super) const CONSTRAINT_BYTES_MAX: usize = 64 << 10;
/// Most choices of one request.
pub(super) const CHOICES_MAX: u32 = 8;
/// Most alternatives per token.
pub(super) const TOP_LOGPROBS_MAX: u8 = 20;

/// The sampling fields that the request kinds share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'r> {
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i32>,
    min_p: Option<f64>,
    repeat_penalty: Option<f64>,
    repeat_last_n: Option<i32>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    seed: Option<i64>,
    logit_bias: Option<&'r Map<String, Value>>,
}

macro_rules! wanted_from {
    ($request:ty) => {
        impl<'r> From<&'r $request> for Wanted<'r> {
            fn from(request: &'r $request) -> Self {
                Self {
                    temperature: request.temperature,
                    top_p: request.top_p,
                    top_k: request.top_k,
                    min_p: request.min_p,
                    repeat_penalty: request.repeat_penalty,
                    repeat_last_n: request.repeat_last_n,
                    presence_penalty: request.presence_penalty,
                    frequency_penalty: request.frequency_penalty,
                    seed: request.seed,
                    logit_bias: request.logit_bias.as_ref(),
                }
            }
        }
    };
}

wanted_from!(ChatRequest);
wanted_from!(CompletionRequest);

impl Wanted<'_> {
    /// The engine's parameters.
    ///
    /// # Errors
    /// 400 that names the field and its range.
    pub(super) fn check(&self) -> Result<Sampling, Failure> {
        let plain = Sampling::default();
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 0.0, 2.0)?.unwrap_or(plain.temperature),
            top_p: within("top_p", self.top_p, 0.0, 1.0)?.unwrap_or(plain.top_p),
            min_p: within("min_p", self.min_p, 0.0, 1.0)?.unwrap_or(plain.min_p),
            top_k: at_least("top_k", self.top_k, -1)?.map_or(plain.top_k, |k| k.max(0)),
            repeat_penalty: within("repeat_penalty", self.repeat_penalty, 0.01, 10.0)?.unwrap_or(plain.repeat_penalty),
            repeat_last_n: at_least("repeat_last_n", self.repeat_last_n, -1)?.unwrap_or(plain.repeat_last_n),
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?.unwrap_or(plain.presence_penalty),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?.unwrap_or(plain.frequency_penalty),
            // -1 is llama-server's word for random.
            seed: self.seed.filter(|seed| *seed != -1).map(fold),
            logit_bias: self.logit_bias.map_or_else(|| Ok(Vec::new()), biases)?,
        })
    }
}

/// All 64 bits of a seed count.
const fn fold(seed: i64) -> u32 {
    (seed as u64 ^ (seed as u64 >> 32)) as u32
}

fn within(name: &str, value: Option<f64>, low: f64, high: f64) -> Result<Option<f32>, Failure> {
    match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(Failure::invalid(name, format!("`{name}` must be between {low} and {high}, not {value}")))
        }
        value => Ok(value.map(|value| value as f32)),
    }
}

fn at_least(name: &str, value: Option<i32>, low: i32) -> Result<Option<i32>, Failure> {
    match value {
        Some(value) if value < low => Err(Failure::invalid(name, format!("`{name}` must be at least {low}, not {value}"))),
        value => Ok(value),
    }
}

fn biases(wanted: &Map<String, Value>) -> Result<Vec<(i32, f32)>, Failure> {
    if wanted.len() > BIASES_MAX {
        return Err(Failure::invalid("logit_bias", format!("`logit_bias` may have {BIASES_MAX} entries at most")));
    }
    let entry = |(token, bias): (&String, &Value)| {
        let name = format!("logit_bias.{token}");
        let id = token.parse::<i32>().ok().filter(|id| *id >= 0);
        let id = id.ok_or_else(|| Failure::invalid(&name, "the keys of `logit_bias` are token ids"))?;
        let bias = bias.as_f64().ok_or_else(|| Failure::invalid(&name, "the values of `logit_bias` are numbers"))?;
        Ok((id, within(&name, Some(bias), -100.0, 100.0)?.unwrap_or_default()))
    };
    wanted.iter().map(entry).collect()
}

/// Stop strings.
pub(super) fn stops(wanted: Option<Stop>) -> Result<Vec<String>, Failure> {
    let stops = wanted.map(Stop::into_vec).unwrap_or_default();
    if stops.len() > STOPS_MAX {
        return Err(Failure::invalid("stop", format!("`stop` may have {STOPS_MAX} strings at most")));
    }
    if stops.iter().any(|stop| stop.len() > STOP_BYTES_MAX) {
        return Err(Failure::invalid("stop", format!("a stop string may have {STOP_BYTES_MAX} bytes at most")));
    }
    Ok(stops)
}

/// A number of tokens that must be positive.
pub(super) fn positive(name: &str, value: Option<u32>) -> Result<Option<u32>, Failure> {
    if value == Some(0) { Err(Failure::invalid(name, format!("`{name}` must be at least 1"))) } else { Ok(value) }
}

/// The number of choices.
pub(super) fn choices(n: Option<u32>) -> Result<u32, Failure> {
    match n.unwrap_or(1) {
        n if (1..=CHOICES_MAX).contains(&n) => Ok(n),
        n => Err(Failure::invalid("n", format!("`n` must be between 1 and {CHOICES_MAX}, not {n}"))),
    }
}

/// What the text must match.
pub(super) fn constraint(
    format: Option<&ResponseFormat>,
    schema: Option<&Value>,
    grammar: Option<&str>,
) -> Result<Option<Constraint>, Failure> {
    let by_format = format.map(from_format).transpose()?.flatten();
    let by_schema = schema.map(|schema| ("json_schema", Constraint::JsonSchema(schema.to_string())));
    let by_grammar = grammar.filter(|g| !g.trim().is_empty()).map(|g| ("grammar", Constraint::Grammar(g.to_owned())));
    let mut all = [by_format, by_schema, by_grammar].into_iter().flatten();
    let Some((name, constraint)) = all.next() else { return Ok(None) };
    if let Some((other, _)) = all.next() {
        return Err(Failure::invalid(other, format!("`{other}` and `{name}` can't be combined")));
    }
    let (Constraint::JsonSchema(text) | Constraint::Grammar(text) | Constraint::Call { schema: text, .. }) = &constraint;
    if text.len() > CONSTRAINT_BYTES_MAX {
        return Err(Failure::invalid(name, format!("`{name}` may have {CONSTRAINT_BYTES_MAX} bytes at most")));
    }
    Ok(Some(constraint))
}

fn from_format(format: &ResponseFormat) -> Result<Option<(&'static str, Constraint)>, Failure> {
    let schema = |schema: &Value| Constraint::JsonSchema(schema.to_string());
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some((
            "response_format",
            format.schema.as_ref().map_or_else(|| Constraint::JsonSchema(r#"{"type":"object"}"#.to_owned()), schema),
        ))),
        "json_schema" => {
            let wanted = format.json_schema.as_ref().and_then(|s| s.schema.as_ref()).or(format.schema.as_ref());
            let wanted = wanted
                .ok_or_else(|| Failure::invalid("response_format.json_schema.schema", "`response_format.json_schema` has no `schema`"))?;
            Ok(Some(("response_format", schema(wanted))))
        }
        other => {
            Err(Failure::new(Code::InvalidRequest, format!("`response_format.type` must be text, json_object or json_schema, not {other}"))
                .at("response_format.type"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: Value) -> Result<Sampling, String> {
        let request: ChatRequest = serde_json::from_value(body).unwrap();
        Wanted::from(&request).check().map_err(|failure| failure.param.unwrap_or_default())
    }

    #[test]
    fn each_value_out_of_its_range_is_named() {
        for (name, value) in [
            ("temperature", json!(2.1)),
            ("temperature", json!(-0.1)),
            ("top_p", json!(1.5)),
            ("min_p", json!(-1)),
            ("top_k", json!(-2)),
            ("repeat_penalty", json!(0)),
            ("repeat_last_n", json!(-5)),
            ("presence_penalty", json!(3)),
            ("frequency_penalty", json!(-3)),
        ] {
            assert_eq!(check(json!({ name: value })), Err(name.to_owned()));
        }
        assert_eq!(check(json!({"logit_bias": {"x": 1}})), Err("logit_bias.x".to_owned()));
        assert_eq!(check(json!({"logit_bias": {"7": 101}})), Err("logit_bias.7".to_owned()));
    }

    #[test]
    fn good_values_arrive_and_absent_ones_have_defaults() {
        let sampling = check(json!({"temperature": 0, "top_k": -1, "seed": 42, "logit_bias": {"7": -100}})).unwrap();
        assert_eq!(sampling, Sampling { temperature: 0.0, seed: Some(42), logit_bias: vec![(7, -100.0)], ..Sampling::default() });
        assert_eq!(check(json!({"seed": -1})).unwrap().seed, None);
        assert_ne!(check(json!({"seed": 1i64 << 32})).unwrap().seed, check(json!({"seed": 0})).unwrap().seed);
    }

    #[test]
    fn one_constraint_at_most() {
        let format = |value: Value| serde_json::from_value::<ResponseFormat>(value).unwrap();
        let of = |value: Value| constraint(Some(&format(value)), None, None);
        assert_eq!(of(json!({"type": "text"})).unwrap(), None);
        assert!(matches!(of(json!({"type": "json_object"})).unwrap(), Some(Constraint::JsonSchema(s)) if s.contains("object")));
        assert!(
            matches!(of(json!({"type": "json_schema", "json_schema": {"schema": {"type": "null"}}})).unwrap(), Some(Constraint::JsonSchema(s)) if s.contains("null"))
        );
        assert!(of(json!({"type": "json_schema"})).is_err() && of(json!({"type": "yaml"})).is_err());
        assert!(constraint(Some(&format(json!({"type": "json_object"}))), None, Some("root ::= \"a\"")).is_err());
        assert!(constraint(None, None, Some(&"x".repeat(CONSTRAINT_BYTES_MAX + 1))).is_err());
    }
}
