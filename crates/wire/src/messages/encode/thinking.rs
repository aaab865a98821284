//! The limit, thinking and sampling, which depend on each other.

use serde_json::{Map, Value, json};

use super::{MAX_TOKENS_DEFAULT, THINKING_BUDGET_MIN, generation::Takes};
use crate::{
    ir::{Family, Request, ToolChoice},
    losses::Losses,
    thinking::{effort_of, tokens_of},
};

/// Highest temperature that the API takes.
const TEMPERATURE_MAX: f64 = 1.0;
/// Lowest `top_p` beside thinking.
const TOP_P_THINKING_MIN: f64 = 0.95;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unset,
    Off,
    Budget(u32),
    Adaptive,
}

/// Whether thinking with a budget may be switched on for this conversation: a turn of calls whose results have just come must begin
/// with its thoughts, which a conversation from elsewhere does not have.
pub(super) fn may_begin(turns: &[Value]) -> bool {
    let Some([before, last]) = turns.last_chunk::<2>() else { return true };
    let kind = |turn: &Value, wanted: &[&str]| turn["content"][0]["type"].as_str().is_some_and(|k| wanted.contains(&k));
    !kind(last, &["tool_result"]) || kind(before, &["thinking", "redacted_thinking"])
}

/// Writes `max_tokens`, `thinking`, `output_config.effort` and the sampling fields.
pub(super) fn write(request: &Request, most: Option<u32>, may_begin: bool, out: &mut Map<String, Value>, losses: &mut Losses) {
    let is_own = request.family == Some(Family::Messages);
    let takes = Takes::of(&request.model);
    let effort = effort(request, is_own, losses);
    let (wanted, effort) = mode(request, effort, takes, may_begin, losses);
    let mode = limit(request, wanted, most, out, losses);
    // Newer models say nothing of their thoughts unless they are asked to; callers of other dialects expect them.
    let shown = request.reasoning.shown.or((!is_own && !takes.budget).then_some(true));
    match mode {
        Mode::Unset => {}
        Mode::Off => {
            out.insert("thinking".into(), json!({"type": "disabled"}));
        }
        Mode::Budget(tokens) => {
            let mut thinking = json!({"type": "enabled", "budget_tokens": tokens});
            if shown == Some(false) {
                thinking["display"] = "omitted".into();
            }
            out.insert("thinking".into(), thinking);
        }
        Mode::Adaptive => {
            let mut thinking = json!({"type": "adaptive"});
            if let Some(shown) = shown {
                thinking["display"] = if shown { "summarized" } else { "omitted" }.into();
            }
            out.insert("thinking".into(), thinking);
        }
    }
    // Thinking without an effort is thinking with a high one, here; saying so keeps it when it comes back.
    let effort = effort.or((mode == Mode::Adaptive).then_some("high"));
    // Models that take a budget do not all take an effort; the budget alone says it, as does `disabled`.
    let is_said = mode == Mode::Off || (matches!(mode, Mode::Budget(_)) && !is_own);
    if is_said && mode != Mode::Off && effort.is_some() {
        losses.drop("reasoning.effort");
    }
    if let Some(effort) = effort.filter(|_| !is_said) {
        out.insert("output_config".into(), json!({"effort": effort}));
    }
    sampling(request, mode, is_own, takes, out, losses);
}

/// The effort in the dialect's words, `none` besides.
fn effort<'a>(request: &'a Request, is_own: bool, losses: &mut Losses) -> Option<&'a str> {
    match request.reasoning.effort.as_deref()? {
        "minimal" => {
            losses.change("reasoning.effort");
            Some("low")
        }
        word @ ("none" | "low" | "medium" | "high" | "xhigh" | "max") => Some(word),
        word if is_own => Some(word),
        _ => {
            losses.drop("reasoning.effort");
            None
        }
    }
}

/// How to think, and the effort that is left to be said.
fn mode<'a>(request: &Request, effort: Option<&'a str>, takes: Takes, may_begin: bool, losses: &mut Losses) -> (Mode, Option<&'a str>) {
    let is_own = request.family == Some(Family::Messages);
    let wanted = match (request.reasoning.budget_tokens, effort) {
        (Some(0), _) | (_, Some("none")) => Mode::Off,
        (Some(tokens), _) => {
            if tokens < THINKING_BUDGET_MIN {
                losses.change("reasoning.budget_tokens");
            }
            Mode::Budget(tokens.max(THINKING_BUDGET_MIN))
        }
        // In this family an effort alone does not switch thinking on.
        (None, Some(_)) if !is_own || request.reasoning.shown != Some(false) => Mode::Adaptive,
        (None, None) if request.reasoning.shown == Some(true) => Mode::Adaptive,
        _ => Mode::Unset,
    };
    if is_own {
        return (wanted, effort);
    }
    let (wanted, effort) = fitting(takes, wanted, effort, losses);
    if matches!(wanted, Mode::Unset | Mode::Off) {
        return (wanted, effort);
    }
    let is_forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_)) && !request.tools.is_empty();
    if is_forced || (matches!(wanted, Mode::Budget(_)) && !may_begin) {
        // The API refuses a forced call after thinking, and thinking in the middle of a turn of calls.
        if effort.is_some() {
            losses.change("reasoning");
        } else {
            losses.drop("reasoning");
        }
        // Without thinking an effort says how much is written, which older models have no word for.
        return (Mode::Unset, effort.filter(|_| takes.adaptive));
    }
    (wanted, effort)
}

/// The same wish as the model knows it: a budget for an older one, an effort for a newer.
fn fitting<'a>(takes: Takes, mode: Mode, effort: Option<&'a str>, losses: &mut Losses) -> (Mode, Option<&'a str>) {
    match mode {
        Mode::Adaptive if !takes.adaptive => {
            losses.change(if effort.is_some() { "reasoning.effort" } else { "reasoning" });
            (Mode::Budget(tokens_of(effort.unwrap_or("high"))), None)
        }
        Mode::Budget(tokens) if !takes.budget => {
            losses.change("reasoning.budget_tokens");
            let nearest = match effort_of(tokens) {
                "none" | "minimal" => "low",
                word => word,
            };
            (Mode::Adaptive, effort.or(Some(nearest)))
        }
        Mode::Off if !takes.no_thinking => {
            losses.change("reasoning");
            (Mode::Adaptive, Some("low"))
        }
        as_it_is => (as_it_is, effort),
    }
}

/// The limit covers thoughts too and must be larger than their budget. Where the model writes no more than `most`, the budget gives way.
fn limit(request: &Request, mode: Mode, most: Option<u32>, out: &mut Map<String, Value>, losses: &mut Losses) -> Mode {
    let wanted = request.generation.max_tokens;
    let mut limit = wanted.or(most).unwrap_or(MAX_TOKENS_DEFAULT).max(1);
    let mut mode = mode;
    if let Mode::Budget(tokens) = mode
        && limit <= tokens
    {
        // What the caller asked for is room for words.
        let room = if wanted.is_some() { limit } else { MAX_TOKENS_DEFAULT };
        let raised = room.saturating_add(tokens);
        limit = most.map_or(raised, |most| raised.min(most.max(limit)));
        if limit <= tokens {
            // Half of it stays for the answer.
            let budget = (limit / 2).max(THINKING_BUDGET_MIN);
            mode = if budget < limit { Mode::Budget(budget) } else { Mode::Unset };
            if mode == Mode::Unset {
                losses.drop("reasoning");
            } else {
                losses.change("reasoning.budget_tokens");
            }
        }
    }
    if wanted.is_some_and(|w| w != limit) {
        losses.change("max_tokens");
    }
    out.insert("max_tokens".into(), limit.into());
    mode
}

fn sampling(request: &Request, mode: Mode, is_own: bool, takes: Takes, out: &mut Map<String, Value>, losses: &mut Losses) {
    let g = &request.generation;
    let (mut temperature, mut top_p, mut top_k) = (g.temperature, g.top_p, g.top_k);
    if !is_own {
        // Newer models refuse both; 1 is no limit at all.
        if temperature.is_some() && top_p.take_if(|p| *p < 1.0).is_some() {
            losses.drop("top_p");
        } else if temperature.is_some() {
            top_p = None;
        }
        if matches!(mode, Mode::Budget(_) | Mode::Adaptive) || !takes.sampling {
            if temperature.take().is_some_and(|t| (t - TEMPERATURE_MAX).abs() > f64::EPSILON) {
                losses.drop("temperature");
            }
            let least = if takes.sampling { TOP_P_THINKING_MIN } else { 1.0 };
            if top_p.take_if(|p| *p < least).is_some() {
                losses.drop("top_p");
            }
            if top_k.take().is_some() {
                losses.drop("top_k");
            }
        }
    }
    if temperature.take_if(|t| *t > TEMPERATURE_MAX).is_some() {
        losses.change("temperature");
        temperature = Some(TEMPERATURE_MAX);
    }
    out.extend(temperature.map(|t| ("temperature".to_owned(), t.into())));
    out.extend(top_p.map(|p| ("top_p".to_owned(), p.into())));
    out.extend(top_k.map(|k| ("top_k".to_owned(), k.into())));
}
