//! What of an answer a caller's dialect cannot show.

use crate::{
    citations::{Carried, carried},
    custom,
    dialect::Dialect,
    ir::{BlockKind, Delta, Event, Family, Finish, Usage},
    losses::Losses,
};

/// Reads along an answer's events on their way to a dialect and notes what is lost there. Cheap: pieces of text are passed over.
///
/// Not noted, because the router keeps it for the conversation or it says nothing of the answer: a provider's state (signatures, encrypted
/// thinking), ids, the time, and what a provider tells of its own run (fingerprints, tiers, ratings), which decoders leave out.
#[derive(Debug)]
pub struct AnswerLosses {
    dialect: Dialect,
    /// For text completions, where only text has a place.
    is_text_only: bool,
    losses: Losses,
    /// A refusal was written, which says by itself why the answer ended. Only the first 64 choices are told apart.
    refused: u64,
    /// A call was written that the dialect can show.
    called: u64,
}

impl AnswerLosses {
    /// For a caller that speaks `dialect`.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, is_text_only: false, losses: Losses::default(), refused: 0, called: 0 }
    }

    /// For a caller of text completions.
    pub fn for_completions() -> Self {
        Self { is_text_only: true, ..Self::new(Dialect::Chat) }
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
            Event::Delta { choice, delta, .. } if self.has(*choice) => self.delta(*choice, delta),
            Event::BlockStart { choice, block, kind } if self.has(*choice) => self.block(*choice, *block, kind),
            Event::Finish { choice, reason } if self.has(*choice) => self.finish(*choice, reason),
            Event::BlockStart { choice, .. } | Event::Finish { choice, .. } => self.losses.drop(format!("answer.choices[{choice}]")),
            Event::Usage(usage) => self.usage(usage),
            _ => {}
        }
    }

    /// Counts that are not zero, and the dialects that have a place for them.
    fn usage(&mut self, usage: &Usage) {
        const SORTED: &[Dialect] = &[Dialect::Chat, Dialect::Gemini];
        for (count, path, dialects) in [
            (usage.in_cache_write, "answer.usage.in_cache_write", &[Dialect::Chat, Dialect::Responses, Dialect::Messages][..]),
            (usage.in_cache_write_1h, "answer.usage.in_cache_write_1h", &[Dialect::Messages]),
            (usage.in_audio, "answer.usage.in_audio", SORTED),
            (usage.in_image, "answer.usage.in_image", SORTED),
            (usage.out_audio, "answer.usage.out_audio", SORTED),
            (usage.server_tools, "answer.usage.server_tools", &[Dialect::Messages]),
        ] {
            if count.is_some_and(|n| n > 0) && !dialects.contains(&self.dialect) {
                self.losses.drop(path);
            }
        }
    }

    /// Whether the dialect has a place for this choice.
    fn has(&self, choice: u32) -> bool {
        choice == 0 || matches!(self.dialect, Dialect::Chat | Dialect::Gemini)
    }

    fn delta(&mut self, choice: u32, delta: &Delta) {
        match delta {
            Delta::Citation(_) if self.is_text_only => self.losses.drop(path(choice, "citations")),
            Delta::Logprobs(_) if self.is_text_only || self.dialect == Dialect::Messages => self.losses.drop(path(choice, "logprobs")),
            Delta::Citation(citation) => match carried(citation, self.dialect) {
                Carried::Exactly => {}
                Carried::InPart => self.losses.change(path(choice, "citations")),
                Carried::No => self.losses.drop(path(choice, "citations")),
            },
            _ => {}
        }
    }

    fn block(&mut self, choice: u32, block: u32, kind: &BlockKind) {
        match kind {
            BlockKind::Text => {}
            _ if self.is_text_only => {
                self.called |= if matches!(kind, BlockKind::ToolCall { .. }) { bit(choice) } else { 0 };
                self.losses.drop(path(choice, &format!("blocks[{block}]")));
            }
            BlockKind::Refusal => {
                self.refused |= bit(choice);
                if matches!(self.dialect, Dialect::Messages | Dialect::Gemini) {
                    self.losses.change(path(choice, "refusal"));
                }
            }
            BlockKind::ToolCall { .. } => self.called |= bit(choice),
            BlockKind::Opaque { family, value } => {
                let is_custom = *family == Family::Responses && custom::is_call(value);
                if *family != self.dialect.family() && !(is_custom && self.dialect == Dialect::Chat) {
                    self.losses.drop(path(choice, &format!("blocks[{block}]")));
                } else if is_custom {
                    self.called |= bit(choice);
                }
            }
            BlockKind::Reasoning => {}
        }
    }

    fn finish(&mut self, choice: u32, reason: &Finish) {
        let (refused, called) = (self.refused & bit(choice) != 0, self.called & bit(choice) != 0);
        let is_kept = match (reason, self.dialect) {
            (Finish::StopSequence(_), dialect) => {
                if dialect != Dialect::Messages {
                    self.losses.drop(path(choice, "stop_sequence"));
                }
                true
            }
            (Finish::Stop | Finish::Refusal, Dialect::Gemini) if refused => false,
            // The call itself could not be shown.
            (Finish::ToolCall, _) => called,
            (Finish::Stop | Finish::Length, _) | (Finish::Other(_), Dialect::Chat | Dialect::Messages) => true,
            (Finish::Refusal, Dialect::Chat | Dialect::Responses) => refused && !called,
            (Finish::ContextFull | Finish::Paused | Finish::Refusal, dialect) => dialect == Dialect::Messages,
            (Finish::Filter, Dialect::Chat) => !refused,
            (Finish::Filter, dialect) => dialect != Dialect::Messages,
            (Finish::MalformedCall, dialect) => dialect == Dialect::Gemini,
            (Finish::Other(_), Dialect::Responses) => false,
            (Finish::Other(own), Dialect::Gemini) => crate::gemini::is_reason(own),
        };
        if !is_kept {
            self.losses.change(path(choice, "finish_reason"));
        }
    }
}

/// The first choice goes without saying.
fn path(choice: u32, name: &str) -> String {
    if choice == 0 { format!("answer.{name}") } else { format!("answer.choices[{choice}].{name}") }
}

fn bit(choice: u32) -> u64 {
    1u64.checked_shl(choice).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_reaches_text_completions() {
        let (choice, tool) = (0, BlockKind::ToolCall { id: "c".to_owned(), name: "f".to_owned() });
        let mut reader = AnswerLosses::for_completions();
        for (block, kind) in [(0, BlockKind::Reasoning), (1, BlockKind::Text), (2, BlockKind::Refusal), (3, tool)] {
            reader.event(&Event::BlockStart { choice, block, kind });
        }
        reader.event(&Event::Finish { choice, reason: Finish::ToolCall });
        assert_eq!(reader.losses().dropped, ["answer.blocks[0]", "answer.blocks[2]", "answer.blocks[3]"]);
        assert!(reader.into_losses().changed.is_empty());
    }
}
