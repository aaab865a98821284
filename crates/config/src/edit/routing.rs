//! Routes, fallbacks and what learned routing goes by, as commands change them.

use serde_json::{Number, Value, json};

use super::accounts::texts;
use super::{Document, Step};
use crate::error::ConfigError;
use crate::known;

/// How hard a request can be, and what stands for all that nothing is said about.
pub const TIERS: [&str; 5] = ["low", "medium", "high", "xhigh", "default"];

/// What a request can be about.
const TASKS: [&str; 5] = ["general", "coding", "thinking", "instruction_following", "image"];

/// What learned routing can weigh.
const FEATURES: [&str; 13] = [
    "text_kchars",
    "code_score",
    "think_score",
    "instruction_score",
    "has_image",
    "complexity_score",
    "max_output_k_tokens",
    "reasoning_effort_high",
    "task_coding",
    "task_thinking",
    "task_instruction_following",
    "task_general",
    "task_image",
];

const LEARNED: Step = Step::Key("learned_routing");

/// What is known of a model; `None` stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile {
    /// Added to its score.
    pub quality_bias: Option<f64>,
    /// How much it gains by what a request is like.
    pub quality_sensitivity: Option<f64>,
    /// In dollars for 1000 tokens of a prompt.
    pub cost_input_per_1k: Option<f64>,
    /// In dollars for 1000 tokens of an answer.
    pub cost_output_per_1k: Option<f64>,
    /// To the end of an answer.
    pub latency_ms: Option<f64>,
    /// 0 to 1.
    pub failure_rate: Option<f64>,
}

/// How learned routing weighs; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// Whether it is used.
    pub enabled: Option<bool>,
    /// Where the score of every model begins.
    pub bias: Option<f64>,
    /// Tokens of an answer where a request names no bound.
    pub default_output_tokens: Option<u32>,
    /// Weight of a dollar.
    pub utility_cost: Option<f64>,
    /// Weight of a second.
    pub utility_latency: Option<f64>,
    /// Weight of certain failure.
    pub utility_failure: Option<f64>,
    /// Weights of features by name.
    pub features: Vec<(String, f64)>,
    /// Forgets all weights of features before.
    pub clear_features: bool,
}

/// Says which model or models serve a task at one tier. What should be said about it comes back.
///
/// # Errors
/// As [`Document::set`]; there is no such tier.
pub fn set_route(document: &mut Document, task: &str, tier: &str, models: &[String]) -> Result<Vec<String>, ConfigError> {
    if !TIERS.contains(&tier) {
        return Err(ConfigError::Invalid(format!("`{tier}` is no tier: {} are", TIERS.join(", "))));
    }
    let value = if let [one] = models { json!(one) } else { json!(models) };
    document.set(&[Step::Key("task_routes"), Step::Key(task), Step::Key(tier)], &value)?;
    Ok(unknown_task(task))
}

/// Says which models are tried after those of the route, in place of those that were, or after them.
///
/// # Errors
/// As [`Document::set`].
pub fn set_fallbacks(document: &mut Document, models: &[String], append: bool) -> Result<(), ConfigError> {
    let path = [Step::Key("fallback_models")];
    let mut all = if append { texts(document.get(&path)) } else { Vec::new() };
    for model in models {
        if !all.contains(model) {
            all.push(model.clone());
        }
    }
    document.set(&path, &json!(all))
}

/// Says what is known of a model.
///
/// # Errors
/// As [`Document::set`]; a number that is none, or nothing is said.
pub fn set_profile(document: &mut Document, model: &str, profile: &Profile) -> Result<(), ConfigError> {
    let members = [
        ("quality_bias", profile.quality_bias, f64::MIN),
        ("quality_sensitivity", profile.quality_sensitivity, f64::MIN),
        ("cost_input_per_1k", profile.cost_input_per_1k, 0.0),
        ("cost_output_per_1k", profile.cost_output_per_1k, 0.0),
        ("latency_ms", profile.latency_ms, 0.0),
        ("failure_rate", profile.failure_rate, 0.0),
    ];
    if members.iter().all(|(_, value, _)| value.is_none()) {
        return Err(ConfigError::Invalid(format!("nothing is said about {model}")));
    }
    for (key, value, least) in members {
        let Some(value) = value else { continue };
        if value < least || (key == "failure_rate" && value > 1.0) {
            let allowed = if key == "failure_rate" { "a share from 0 to 1" } else { "a number that is not negative" };
            return Err(ConfigError::Invalid(format!("{key} = {value} is not valid: {allowed}")));
        }
        document.set(&[Step::Key("model_profiles"), Step::Key(model), Step::Key(key)], &number(key, value)?)?;
    }
    Ok(())
}

/// Says which models learned routing chooses among for a task. What should be said about it comes back.
///
/// # Errors
/// As [`Document::set`].
pub fn set_candidates(document: &mut Document, task: &str, models: &[String], enable: bool) -> Result<Vec<String>, ConfigError> {
    document.set(&[LEARNED, Step::Key("task_candidates"), Step::Key(task)], &json!(models))?;
    if enable {
        document.set(&[LEARNED, Step::Key("enabled")], &json!(true))?;
    }
    Ok(unknown_task(task))
}

/// Says how learned routing weighs.
///
/// # Errors
/// As [`Document::set`]; a feature that nobody knows, or nothing is said.
pub fn set_learned(document: &mut Document, learned: &Learned) -> Result<(), ConfigError> {
    let weights = [("cost", learned.utility_cost), ("latency", learned.utility_latency), ("failure", learned.utility_failure)];
    let says_nothing = learned.enabled.is_none()
        && learned.bias.is_none()
        && learned.default_output_tokens.is_none()
        && weights.iter().all(|(_, weight)| weight.is_none())
        && learned.features.is_empty()
        && !learned.clear_features;
    if says_nothing {
        return Err(ConfigError::Invalid("nothing is said about learned routing".to_owned()));
    }
    if let Some((unknown, _)) = learned.features.iter().find(|(name, _)| !FEATURES.contains(&name.as_str())) {
        let nearest = known::nearest(unknown, FEATURES).map(|like| format!(" (did you mean {like}?)")).unwrap_or_default();
        return Err(ConfigError::Invalid(format!("`{unknown}` is no feature{nearest}: {} are", FEATURES.join(", "))));
    }
    if let Some(enabled) = learned.enabled {
        document.set(&[LEARNED, Step::Key("enabled")], &json!(enabled))?;
    }
    if let Some(bias) = learned.bias {
        document.set(&[LEARNED, Step::Key("bias")], &number("bias", bias)?)?;
    }
    if let Some(tokens) = learned.default_output_tokens {
        document.set(&[LEARNED, Step::Key("default_output_tokens")], &json!(tokens))?;
    }
    for (name, weight) in weights {
        if let Some(weight) = weight {
            document.set(&[LEARNED, Step::Key("utility_weights"), Step::Key(name)], &number(name, weight)?)?;
        }
    }
    if learned.clear_features {
        document.remove(&[LEARNED, Step::Key("feature_weights")])?;
    }
    for (name, weight) in &learned.features {
        document.set(&[LEARNED, Step::Key("feature_weights"), Step::Key(name)], &number(name, *weight)?)?;
    }
    Ok(())
}

/// Whole numbers below this are exact.
const WHOLE_MAX: f64 = 9e15;

/// A number as people write it: `2`, not `2.0`.
fn number(name: &str, value: f64) -> Result<Value, ConfigError> {
    if value.fract().abs() < f64::EPSILON && value.abs() < WHOLE_MAX {
        return Ok(json!(value as i64));
    }
    Number::from_f64(value).map(Value::Number).ok_or_else(|| ConfigError::Invalid(format!("{name} must be a finite number")))
}

fn unknown_task(task: &str) -> Vec<String> {
    if TASKS.contains(&task) {
        return Vec::new();
    }
    let nearest = known::nearest(task, TASKS).map(|like| format!("; did you mean {like}?")).unwrap_or_default();
    vec![format!("no request is ever recognised as `{task}`: {} are the tasks{nearest}", TASKS.join(", "))]
}
