//! The items of an answer as they come: what of each has been given out, so that a `done` event or the last event adds only the rest.
//!
//! Servers differ in what they send (deltas only, `done` only, whole items only); each of these alone is enough.

use serde_json::{Map, Value, json};

use super::{
    lanes::{Lanes, Overfull},
    read_items::is_plain_call,
    types::{SUMMARY_BREAK, finish, joined, logprobs_in, text_of, usage_of},
};
use crate::{
    citations, custom,
    ir::{BlockKind, Delta, Event, Family, State, event::LogprobsBox},
    names,
};

/// Most items of one answer.
const ITEMS_MAX: usize = 4096;

/// The items so far, and the blocks that they became.
#[derive(Debug, Default)]
pub(super) struct Items {
    known: Vec<Item>,
    lanes: Lanes<(usize, Part)>,
    /// The open block that is no call. There is one at most: servers that leave out `done` events would hold back all that follows.
    loose: Option<(usize, Part)>,
    has_called: bool,
    has_refused: bool,
}

#[derive(Debug, Default)]
struct Item {
    index: Option<u64>,
    /// Empty where the server gives none.
    id: String,
    kind: String,
    blocks: Vec<Block>,
    is_done: bool,
    /// Of a message.
    phase: Option<String>,
    /// Of reasoning: whether the summary or the text itself is given out, whichever came first, and its latest part.
    shown: Option<(Shown, u64)>,
}

#[derive(Debug)]
struct Block {
    part: Part,
    /// Bytes of its text that were given out.
    sent: usize,
    stage: Stage,
    has_logprobs: bool,
    /// Sources that were given out.
    citations: usize,
    has_encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Another block began; if this one goes on after all, it does so as a new block.
    Cut,
    Ended,
}

/// Which part of an item a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text(u64),
    Refusal(u64),
    /// A part of a message of a kind that came after this was written.
    Other(u64),
    Reasoning,
    Call,
    Opaque,
}

/// Which of its two texts reasoning shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Summary,
    Content,
}

type Done = Result<(), Overfull>;

impl Items {
    /// An item begins.
    pub(super) fn added(&mut self, index: Option<u64>, item: &Value, out: &mut Vec<Event>) -> Done {
        let at = self.place(index, item)?;
        if text_of(item, "type") == "function_call" && !text_of(item, "call_id").is_empty() && !text_of(item, "name").is_empty() {
            self.begin_call(at, item, out)?;
        }
        Ok(())
    }

    /// An item is known whole.
    pub(super) fn whole(&mut self, index: Option<u64>, item: &Value, out: &mut Vec<Event>) -> Done {
        let at = self.place(index, item)?;
        self.complete(at, item, out)
    }

    /// The last event's list of items adds what was not streamed.
    pub(super) fn all(&mut self, output: &[Value], out: &mut Vec<Event>) -> Done {
        for (index, item) in output.iter().enumerate() {
            let (id, kind) = (text_of(item, "id"), text_of(item, "type"));
            let by_id = self.known.iter().position(|known| !id.is_empty() && known.id == id);
            let at = match by_id.or_else(|| (index < self.known.len()).then_some(index)) {
                Some(at) if self.known[at].kind == kind => at,
                // The server counts otherwise than it streamed: what it streamed is believed.
                Some(_) => continue,
                None => self.place(None, item)?,
            };
            self.complete(at, item, out)?;
        }
        Ok(())
    }

    /// The normal end.
    pub(super) fn end(&mut self, response: &Map<String, Value>, out: &mut Vec<Event>) {
        self.lanes.stop_all(out);
        out.push(Event::Finish { choice: 0, reason: finish(response, self.has_called, self.has_refused) });
        out.extend(usage_of(response).map(Event::Usage));
        out.push(Event::End);
    }

    /// A piece of text, of a refusal or of arguments.
    pub(super) fn delta(&mut self, index: Option<u64>, id: &str, part: Part, text: &str, out: &mut Vec<Event>) -> Done {
        let Some(at) = self.find_or_message(index, id, part)? else { return Ok(()) };
        self.say(at, part, text, out)
    }

    /// A piece of reasoning; `place` is the number of the summary's or content's part.
    pub(super) fn thought(&mut self, index: Option<u64>, id: &str, shown: Shown, place: u64, text: &str, out: &mut Vec<Event>) -> Done {
        let at = match self.find(index, id) {
            Some(at) => at,
            None => self.push(index, id, "reasoning")?,
        };
        let item = &mut self.known[at];
        let (first, before) = *item.shown.get_or_insert((shown, place));
        if first != shown || text.is_empty() {
            return Ok(());
        }
        item.shown = Some((shown, place));
        if place > before && item.blocks.first().is_some_and(|b| b.sent > 0) {
            self.say(at, Part::Reasoning, SUMMARY_BREAK, out)?;
        }
        self.say(at, Part::Reasoning, text, out)
    }

    /// A part's whole text: what was not said yet follows. Its block ends with the part: sources may still come.
    pub(super) fn text_done(&mut self, index: Option<u64>, id: &str, part: Part, text: &str, out: &mut Vec<Event>) -> Done {
        let Some(at) = self.find_or_message(index, id, part)? else { return Ok(()) };
        self.rest(at, part, text, out)
    }

    /// A part is known whole.
    pub(super) fn part_done(&mut self, index: Option<u64>, id: &str, place: u64, content: &Value, out: &mut Vec<Event>) -> Done {
        let Some(at) = self.find_or_message(index, id, Part::Text(place))? else { return Ok(()) };
        self.complete_part(at, place, content, out)
    }

    /// Log-probabilities of the text that was said last.
    pub(super) fn logprobs(&mut self, index: Option<u64>, id: &str, part: Part, logprobs: &Value, out: &mut Vec<Event>) -> Done {
        match (self.find(index, id), logprobs_in(logprobs)) {
            (Some(at), Some(logprobs)) => {
                if let Some(block) = self.block(at, part) {
                    block.has_logprobs = true;
                }
                self.lanes.delta((at, part), Delta::Logprobs(LogprobsBox(Box::new(logprobs))), out)
            }
            _ => Ok(()),
        }
    }

    /// A source of a part's text.
    pub(super) fn citation(&mut self, index: Option<u64>, id: &str, part: Part, own: &Value, out: &mut Vec<Event>) -> Done {
        match self.find_or_message(index, id, part)? {
            Some(at) if own.is_object() => self.cite(at, part, own, out),
            _ => Ok(()),
        }
    }

    fn cite(&mut self, at: usize, part: Part, own: &Value, out: &mut Vec<Event>) -> Done {
        if !self.begin(at, part, BlockKind::Text, out)? {
            return Ok(());
        }
        if let Some(block) = self.block(at, part) {
            block.citations += 1;
        }
        self.lanes.delta((at, part), Delta::Citation(Box::new(citations::from_responses(own))), out)
    }

    /// The item's place, or a new one. The same index with another id is another item: some servers always say 0.
    fn place(&mut self, index: Option<u64>, item: &Value) -> Result<usize, Overfull> {
        let (id, kind) = (text_of(item, "id"), text_of(item, "type"));
        let kind = if item["type"] == "function_call" && !is_plain_call(item.get("caller"), item.get("namespace")) { "" } else { kind };
        let known = self.known.iter().rposition(|known| {
            !known.is_done && known.kind == kind && if id.is_empty() || known.id.is_empty() { known.index == index } else { known.id == id }
        });
        let at = match known {
            Some(at) => at,
            None => self.push(index, id, kind)?,
        };
        if let Some(phase) = item["phase"].as_str() {
            self.known[at].phase = Some(phase.to_owned());
        }
        Ok(at)
    }

    fn push(&mut self, index: Option<u64>, id: &str, kind: &str) -> Result<usize, Overfull> {
        if self.known.len() >= ITEMS_MAX {
            return Err(Overfull);
        }
        self.known.push(Item { index, id: id.to_owned(), kind: kind.to_owned(), ..Item::default() });
        Ok(self.known.len() - 1)
    }

    fn find(&self, index: Option<u64>, id: &str) -> Option<usize> {
        let by_id = self.known.iter().rposition(|item| !id.is_empty() && item.id == id);
        by_id
            .or_else(|| index.and_then(|index| self.known.iter().rposition(|item| item.index == Some(index))))
            .or_else(|| self.known.iter().rposition(|item| index.is_none() && id.is_empty() && !item.is_done))
    }

    /// Text may come without its item having been announced; a call's name can't be guessed, its arguments come with the whole item.
    fn find_or_message(&mut self, index: Option<u64>, id: &str, part: Part) -> Result<Option<usize>, Overfull> {
        match self.find(index, id) {
            Some(at) => Ok(Some(at)),
            None if part == Part::Call => Ok(None),
            None => self.push(index, id, "message").map(Some),
        }
    }

    fn block(&mut self, at: usize, part: Part) -> Option<&mut Block> {
        self.known[at].blocks.iter_mut().find(|b| b.part == part)
    }

    /// Begins a block unless it is open; says whether more may come.
    fn begin(&mut self, at: usize, part: Part, kind: BlockKind, out: &mut Vec<Event>) -> Result<bool, Overfull> {
        match self.block(at, part) {
            Some(Block { stage: Stage::Open, .. }) => return Ok(true),
            Some(Block { stage: Stage::Ended, .. }) => return Ok(false),
            Some(block) => block.stage = Stage::Open,
            None => {
                let block = Block { part, sent: 0, stage: Stage::Open, has_logprobs: false, citations: 0, has_encrypted: false };
                self.known[at].blocks.push(block);
            }
        }
        if let Some((at, part)) = self.loose.take() {
            self.stop(at, part, Stage::Cut, out);
        }
        if part != Part::Call {
            self.loose = Some((at, part));
        }
        self.lanes.start((at, part), kind, out)?;
        if let (Part::Text(_), Some(phase)) = (part, &self.known[at].phase) {
            self.lanes.delta((at, part), Delta::State(State::of_phase(phase)), out)?;
        }
        Ok(true)
    }

    fn begin_call(&mut self, at: usize, item: &Value, out: &mut Vec<Event>) -> Done {
        if self.known[at].kind != "function_call" {
            return Ok(());
        }
        self.has_called = true;
        let id = Some(text_of(item, "call_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| text_of(item, "id"));
        let kind = BlockKind::ToolCall { id: id.to_owned(), name: names::unescape(text_of(item, "name")).into_owned() };
        self.begin(at, Part::Call, kind, out).map(|_| ())
    }

    fn say(&mut self, at: usize, part: Part, text: &str, out: &mut Vec<Event>) -> Done {
        if text.is_empty() {
            return Ok(());
        }
        let has_begun = match part {
            Part::Text(_) => self.begin(at, part, BlockKind::Text, out)?,
            Part::Refusal(_) => {
                self.has_refused = true;
                self.begin(at, part, BlockKind::Refusal, out)?
            }
            Part::Reasoning => self.begin_reasoning(at, None, out)?,
            Part::Call | Part::Opaque | Part::Other(_) => self.block(at, part).is_some_and(|b| b.stage == Stage::Open),
        };
        let Some(block) = self.block(at, part).filter(|_| has_begun) else { return Ok(()) };
        block.sent += text.len();
        let text = text.to_owned();
        let delta = match part {
            Part::Text(_) | Part::Opaque | Part::Other(_) => Delta::Text(text),
            Part::Refusal(_) => Delta::Refusal(text),
            Part::Reasoning => Delta::Reasoning(text),
            Part::Call => Delta::Arguments(text),
        };
        self.lanes.delta((at, part), delta, out)
    }

    /// Says what is left of the whole text.
    fn rest(&mut self, at: usize, part: Part, whole: &str, out: &mut Vec<Event>) -> Done {
        let sent = self.block(at, part).map_or(0, |b| b.sent);
        self.say(at, part, whole.get(sent..).unwrap_or_default(), out)
    }

    fn end_block(&mut self, at: usize, part: Part, out: &mut Vec<Event>) {
        self.stop(at, part, Stage::Ended, out);
    }

    fn stop(&mut self, at: usize, part: Part, stage: Stage, out: &mut Vec<Event>) {
        self.loose = self.loose.filter(|loose| *loose != (at, part));
        if let Some(block) = self.block(at, part) {
            block.stage = stage;
            self.lanes.stop((at, part), out);
        }
    }

    fn begin_reasoning(&mut self, at: usize, encrypted: Option<&str>, out: &mut Vec<Event>) -> Result<bool, Overfull> {
        let is_new = self.block(at, Part::Reasoning).is_none();
        let is_open = self.begin(at, Part::Reasoning, BlockKind::Reasoning, out)?;
        let id = Some(self.known[at].id.clone()).filter(|id| !id.is_empty());
        let Some(block) = self.block(at, Part::Reasoning).filter(|_| is_open) else { return Ok(false) };
        let is_news = encrypted.is_some() && !block.has_encrypted;
        if is_news || (is_new && id.is_some()) {
            block.has_encrypted |= is_news;
            let state = State { family: Family::Responses, id, signature: None, encrypted: encrypted.map(str::to_owned) };
            self.lanes.delta((at, Part::Reasoning), Delta::State(state), out)?;
        }
        Ok(true)
    }

    fn complete(&mut self, at: usize, item: &Value, out: &mut Vec<Event>) -> Done {
        if std::mem::replace(&mut self.known[at].is_done, true) {
            return Ok(());
        }
        match self.known[at].kind.as_str() {
            "message" => self.complete_message(at, &item["content"], out),
            "reasoning" => self.complete_reasoning(at, item, out),
            "function_call" => {
                self.begin_call(at, item, out)?;
                match &item["arguments"] {
                    Value::String(text) => self.rest(at, Part::Call, text, out)?,
                    object @ Value::Object(_) => self.rest(at, Part::Call, &object.to_string(), out)?,
                    _ => {}
                }
                self.end_block(at, Part::Call, out);
                Ok(())
            }
            _ => {
                self.has_called |= custom::is_call(item);
                let kind = BlockKind::Opaque { family: Family::Responses, value: item.clone() };
                self.begin(at, Part::Opaque, kind, out)?;
                self.end_block(at, Part::Opaque, out);
                Ok(())
            }
        }
    }

    fn complete_message(&mut self, at: usize, content: &Value, out: &mut Vec<Event>) -> Done {
        match content {
            Value::String(text) => self.rest(at, Part::Text(0), text, out)?,
            Value::Array(parts) => {
                for (place, content) in parts.iter().enumerate() {
                    self.complete_part(at, place as u64, content, out)?;
                }
            }
            _ => {}
        }
        for part in self.known[at].blocks.iter().map(|b| b.part).collect::<Vec<_>>() {
            self.end_block(at, part, out);
        }
        Ok(())
    }

    fn complete_part(&mut self, at: usize, place: u64, content: &Value, out: &mut Vec<Event>) -> Done {
        let (part, text) = match text_of(content, "type") {
            "refusal" => (Part::Refusal(place), text_of(content, "refusal")),
            "output_text" | "text" => (Part::Text(place), text_of(content, "text")),
            "" => return Ok(()),
            _ => return self.other_part(at, place, content, out),
        };
        self.rest(at, part, text, out)?;
        let logprobs = logprobs_in(&content["logprobs"]);
        if let (Some(logprobs), Some(false)) = (logprobs, self.block(at, part).map(|b| b.has_logprobs || b.stage != Stage::Open)) {
            self.lanes.delta((at, part), Delta::Logprobs(LogprobsBox(Box::new(logprobs))), out)?;
        }
        let cited = self.block(at, part).map_or(0, |b| b.citations);
        for own in content["annotations"].as_array().into_iter().flatten().skip(cited).filter(|_| matches!(part, Part::Text(_))) {
            self.cite(at, part, own, out)?;
        }
        self.end_block(at, part, out);
        Ok(())
    }

    /// A part that nothing in the inner language says travels as a message of its own.
    fn other_part(&mut self, at: usize, place: u64, content: &Value, out: &mut Vec<Event>) -> Done {
        let part = Part::Other(place);
        let value = json!({"type": "message", "id": self.known[at].id, "role": "assistant", "status": "completed", "content": [content]});
        if self.begin(at, part, BlockKind::Opaque { family: Family::Responses, value }, out)? {
            self.end_block(at, part, out);
        }
        Ok(())
    }

    /// Thinking of which neither text nor state is given leaves no block.
    fn complete_reasoning(&mut self, at: usize, item: &Value, out: &mut Vec<Event>) -> Done {
        if self.known[at].id.is_empty() {
            text_of(item, "id").clone_into(&mut self.known[at].id);
        }
        let (summary, content) = (joined(&item["summary"]), joined(&item["content"]));
        let text = match self.known[at].shown {
            Some((Shown::Content, _)) => content,
            None if summary.is_empty() => content,
            Some((Shown::Summary, _)) | None => summary,
        };
        // Behind the text, as in a stream of deltas: what the state is sealed as depends on whether there is any.
        self.rest(at, Part::Reasoning, &text, out)?;
        let encrypted = item["encrypted_content"].as_str();
        if encrypted.is_some() {
            self.begin_reasoning(at, encrypted, out)?;
        }
        self.end_block(at, Part::Reasoning, out);
        Ok(())
    }
}
