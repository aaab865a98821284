//! What of an answer a caller's dialect cannot show.

use crate::{
    citations::{Carried, carried},
    custom,
    dialect::Dialect,
    ir::{BlockKind, Citation, Delta, Event, Family, Finish},
    losses::Losses,
};

/// Reads along an answer's events on their way to a dialect and notes what is lost there. Cheap: pieces of text are passed over.
///
/// Not noted, because the router keeps it for the conversation or nobody reads it: a provider's state (signatures, encrypted thinking),
/// ids, the time.
#[derive(Debug)]
pub struct AnswerLosses {
    dialect: Dialect,
    losses: Losses,
    /// A refusal was written, which says by itself why the answer ended. Only the first 64 choices are told apart.
    refused: u64,
}

impl AnswerLosses {
    /// For a caller that speaks `dialect`.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, losses: Losses::default(), refused: 0 }
    }

    /// What was lost so far.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// The same, as the end result.
    pub fn into_losses(self) -> Losses {
        self.losses
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Delta {
                delta: Delta::Text(_) | Delta::Reasoning(_) | Delta::Refusal(_) | Delta::Arguments(_) | Delta::State(_),
                ..
            } => {}
            Event::Delta { choice, delta, .. } if self.has(*choice) => self.delta(delta),
            Event::BlockStart { choice, block, kind } if self.has(*choice) => self.block(*choice, *block, kind),
            Event::Finish { choice, reason } if self.has(*choice) => self.finish(*choice, reason),
            Event::BlockStart { choice, .. } | Event::Finish { choice, .. } => self.losses.drop(format!("answer.choices[{choice}]")),
            Event::Usage(usage) => {
                let written = usage.in_cache_write.is_some_and(|n| n > 0);
                let for_an_hour = usage.in_cache_write_1h.is_some_and(|n| n > 0);
                if written && self.dialect == Dialect::Gemini {
                    self.losses.drop("answer.usage.in_cache_write");
                }
                if for_an_hour && self.dialect != Dialect::Messages {
                    self.losses.drop("answer.usage.in_cache_write_1h");
                }
            }
            _ => {}
        }
    }

    /// Whether the dialect has a place for this choice.
    fn has(&self, choice: u32) -> bool {
        choice == 0 || matches!(self.dialect, Dialect::Chat | Dialect::Gemini)
    }

    fn delta(&mut self, delta: &Delta) {
        match delta {
            Delta::Logprobs(_) if self.dialect == Dialect::Messages => self.losses.drop("answer.logprobs"),
            Delta::Citation(citation) => self.citation(citation),
            _ => {}
        }
    }

    fn citation(&mut self, citation: &Citation) {
        match carried(citation, self.dialect) {
            Carried::Exactly => {}
            Carried::InPart => self.losses.change("answer.citations"),
            Carried::No => self.losses.drop("answer.citations"),
        }
    }

    fn block(&mut self, choice: u32, block: u32, kind: &BlockKind) {
        match kind {
            BlockKind::Refusal => {
                self.refused |= 1u64.checked_shl(choice).unwrap_or(0);
                if matches!(self.dialect, Dialect::Messages | Dialect::Gemini) {
                    self.losses.change("answer.refusal");
                }
            }
            BlockKind::Opaque { family, value } => {
                let is_custom = *family == Family::Responses && self.dialect == Dialect::Chat && custom::is_call(value);
                if *family != self.dialect.family() && !is_custom {
                    let of_choice = if choice == 0 { String::new() } else { format!("choices[{choice}].") };
                    self.losses.drop(format!("answer.{of_choice}blocks[{block}]"));
                }
            }
            BlockKind::Text | BlockKind::Reasoning | BlockKind::ToolCall { .. } => {}
        }
    }

    fn finish(&mut self, choice: u32, reason: &Finish) {
        let refused = self.refused & 1u64.checked_shl(choice).unwrap_or(0) != 0;
        let is_kept = match (reason, self.dialect) {
            (Finish::StopSequence(_), dialect) => {
                if dialect != Dialect::Messages {
                    self.losses.drop("answer.stop_sequence");
                }
                true
            }
            (Finish::Stop | Finish::Refusal, Dialect::Gemini) if refused => false,
            (Finish::Stop | Finish::Length | Finish::ToolCall, _) => true,
            (Finish::Refusal, Dialect::Chat | Dialect::Responses) => refused,
            (Finish::ContextFull | Finish::Paused | Finish::Refusal, dialect) => dialect == Dialect::Messages,
            (Finish::Filter, dialect) => dialect != Dialect::Messages,
            (Finish::MalformedCall, dialect) => dialect == Dialect::Gemini,
            (Finish::Other(_), Dialect::Chat | Dialect::Messages) => true,
            (Finish::Other(_), Dialect::Responses) => false,
            (Finish::Other(own), Dialect::Gemini) => crate::gemini::is_reason(own),
        };
        if !is_kept {
            self.losses.change("answer.finish_reason");
        }
    }
}
