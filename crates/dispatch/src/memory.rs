//! What a provider wants back in the next turn, kept for clients whose dialect has no place for it.
//!
//! A turn is known again by the ids of its calls; where ids are not the provider's own, by its calls' names and arguments, or by its
//! words, and then only behind the same conversation: "OK" has been said before. What was kept goes back only to the place that made it
//! (account and model) and only for the caller that got the answer.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use moka::sync::Cache;
use wire::ir::{Block, BlockKind, Delta, Event, Family, Message, Request, Role, State};

/// Most bytes of all turns together.
const BYTES_MAX: u64 = 64 << 20;
/// Most bytes of one turn; a longer one is not kept.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Most calls of one turn by which it is known again.
const CALLS_MAX: usize = 128;
/// How long a turn is kept after it was made or last asked for.
const IDLE_MAX: Duration = Duration::from_hours(1);
/// What a turn costs besides its texts.
const TURN_BYTES: usize = 256;

/// Kept turns, shared by all runtimes.
pub struct Memory {
    turns: Cache<u128, Arc<Turn>>,
    /// Nothing was ever kept: requests need not be looked through.
    is_used: AtomicBool,
    hashers: (RandomState, RandomState),
}

/// Whose conversation with whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The caller's key.
    pub(crate) caller: Arc<str>,
    /// Account and model.
    pub(crate) origin: Arc<str>,
}

/// An assistant's turn: what stood in it, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Turn {
    pieces: Vec<Piece>,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Reasoning { text: String, state: Option<State> },
    Text { phase: Option<String> },
    Call { id: String, name: String, arguments: String, state: Option<State> },
}

impl Default for Memory {
    fn default() -> Self {
        let turns = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(|_, turn: &Arc<Turn>| u32::try_from(turn.bytes).unwrap_or(u32::MAX))
            .time_to_idle(IDLE_MAX)
            .build();
        Self { turns, is_used: AtomicBool::new(false), hashers: <(RandomState, RandomState)>::default() }
    }
}

impl Memory {
    /// A hash under keys that nobody else knows, so that nobody can aim at a place.
    fn place(&self, scope: &Scope, mark: &Mark<'_>) -> u128 {
        let of = |state: &RandomState| u128::from(state.hash_one((scope, mark)));
        of(&self.hashers.0) << 64 | of(&self.hashers.1)
    }

    /// What tells the conversation up to here from others.
    pub(crate) fn context(&self, messages: &[Message]) -> Context {
        let mut so_far = self.hashers.0.build_hasher();
        for message in messages {
            hash(message, &mut so_far);
        }
        Context(so_far.finish())
    }

    fn keep(&self, scope: &Scope, context: Context, turn: Turn, words: &str) {
        let turn = Arc::new(turn);
        let mut is_called = false;
        for piece in turn.pieces.iter().take(CALLS_MAX) {
            if let Piece::Call { id, name, arguments, .. } = piece {
                is_called = true;
                if is_telling(id) {
                    self.turns.insert(self.place(scope, &Mark::Id(id)), turn.clone());
                }
                self.turns.insert(self.place(scope, &Mark::Call(context, name, &canonical(arguments))), turn.clone());
            }
        }
        if !is_called && !words.is_empty() {
            self.turns.insert(self.place(scope, &Mark::Words(context, words)), turn);
        }
        self.is_used.store(true, Relaxed);
    }

    /// Puts kept state back into the assistant's turns of a request that goes to the place where it was made.
    pub(crate) fn restore(&self, scope: &Scope, request: &mut Request) {
        if !self.is_used.load(Relaxed) {
            return;
        }
        let messages = &mut request.messages;
        let mut so_far = self.hashers.0.build_hasher();
        let mut from = 0;
        while from < messages.len() {
            // One turn may stand in several messages behind each other.
            let length = messages[from..].iter().take_while(|m| m.role == Role::Assistant).count();
            if length == 0 {
                hash(&messages[from], &mut so_far);
                from += 1;
                continue;
            }
            let run = &mut messages[from..from + length];
            let found = self.find(scope, Context(so_far.finish()), run);
            for message in run.iter() {
                hash(message, &mut so_far);
            }
            if let Some(turn) = found {
                turn.put_into(run);
            }
            from += length;
        }
    }

    fn find(&self, scope: &Scope, context: Context, run: &[Message]) -> Option<Arc<Turn>> {
        let blocks = || run.iter().flat_map(|m| &m.blocks);
        let calls = || {
            blocks().filter_map(|b| if let Block::ToolCall { id, name, arguments, .. } = b { Some((id, name, arguments)) } else { None })
        };
        if let Some((id, name, arguments)) = calls().next() {
            let by_id = if is_telling(id) { self.turns.get(&self.place(scope, &Mark::Id(id))) } else { None };
            return by_id.or_else(|| self.turns.get(&self.place(scope, &Mark::Call(context, name, &canonical(arguments)))));
        }
        let words: String = blocks().filter_map(|b| if let Block::Text { text } = b { Some(text.as_str()) } else { None }).collect();
        self.turns.get(&self.place(scope, &Mark::Words(context, words.trim())))
    }
}

/// By what a turn is known again.
#[derive(Hash)]
enum Mark<'a> {
    Id(&'a str),
    Call(Context, &'a str, &'a str),
    Words(Context, &'a str),
}

/// A conversation up to a turn, as a hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Context(u64);

/// What of a message every client gives back: words, calls and results in their order, however they are cut into messages. Instructions
/// may change from turn to turn (today's date), thoughts and ids are the client's to keep or to drop.
fn hash(message: &Message, into: &mut impl Hasher) {
    let is_said = match message.role {
        Role::System | Role::Developer => return,
        Role::Assistant => true,
        Role::User | Role::Tool => false,
    };
    for block in &message.blocks {
        match block {
            Block::Text { text } | Block::Refusal { text } if !text.trim().is_empty() => (is_said, text.trim()).hash(into),
            Block::ToolCall { name, arguments, .. } => (name, canonical(arguments)).hash(into),
            Block::ToolResult { blocks, .. } => {
                for block in blocks {
                    if let Block::Text { text } = block {
                        text.trim().hash(into);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether an id is one that no other conversation has: not `call_0` and its like.
fn is_telling(id: &str) -> bool {
    id.len() >= 8 && !id.strip_prefix("call_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Clients write arguments anew.
fn canonical(arguments: &str) -> String {
    serde_json::from_str::<serde_json::Value>(arguments).map_or_else(|_| arguments.to_owned(), |value| value.to_string())
}

impl Turn {
    /// Thoughts go where they stood: before their call, or at the beginning. What the client made of them goes.
    fn put_into(&self, run: &mut [Message]) {
        for message in run.iter_mut() {
            message.blocks.retain(|b| !matches!(b, Block::Reasoning { .. }));
        }
        let mut thoughts = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Reasoning { text, state } => thoughts.push(Block::Reasoning { text: text.clone(), state: state.clone() }),
                Piece::Text { .. } => insert_before(run, &mut thoughts, |b| matches!(b, Block::Text { .. } | Block::ToolCall { .. })),
                Piece::Call { id, name, arguments, state } => {
                    let arguments = canonical(arguments);
                    let is_it = |b: &Block| match b {
                        Block::ToolCall { id: own, name: called, arguments: given, .. } => {
                            own == id || (called == name && canonical(given) == arguments)
                        }
                        _ => false,
                    };
                    insert_before(run, &mut thoughts, is_it);
                    sign(run, state.as_ref(), is_it);
                }
            }
        }
        if let Some(last) = run.last_mut() {
            last.blocks.append(&mut thoughts);
        }
        self.put_phases_into(run);
    }

    /// Texts get their phases back where each is known: those that a client has joined only where all have the same.
    fn put_phases_into(&self, run: &mut [Message]) {
        let phases: Vec<Option<&str>> =
            self.pieces.iter().filter_map(|piece| if let Piece::Text { phase } = piece { Some(phase.as_deref()) } else { None }).collect();
        let is_text = |block: &Block| matches!(block, Block::Text { .. });
        let texts = run.iter().flat_map(|message| &message.blocks).filter(|block| is_text(block)).count();
        let is_one = phases.iter().all(|phase| *phase == phases[0]);
        if phases.len() != texts && !is_one {
            return;
        }
        let mut phases = phases.iter().copied().chain(std::iter::repeat(phases.first().copied().flatten()));
        for message in run.iter_mut() {
            let mut at = 0;
            while at < message.blocks.len() {
                if is_text(&message.blocks[at])
                    && let Some(phase) = phases.next().flatten()
                {
                    let value = serde_json::json!({ "phase": phase });
                    message.blocks.insert(at, Block::Opaque { family: Family::Responses, value });
                    at += 1;
                }
                at += 1;
            }
        }
    }
}

fn insert_before(run: &mut [Message], thoughts: &mut Vec<Block>, is_it: impl Fn(&Block) -> bool) {
    for message in run {
        if let Some(at) = message.blocks.iter().position(&is_it) {
            message.blocks.splice(at..at, thoughts.drain(..));
            return;
        }
    }
}

fn sign(run: &mut [Message], signature: Option<&State>, is_it: impl Fn(&Block) -> bool) {
    let found = run.iter_mut().flat_map(|m| &mut m.blocks).find(|b| is_it(b));
    if let (Some(Block::ToolCall { state, .. }), Some(signature)) = (found, signature) {
        *state = Some(signature.clone());
    }
}

/// Listens to an answer and keeps its turn when it has come to its end.
pub(crate) struct Listener {
    memory: Arc<Memory>,
    scope: Scope,
    context: Context,
    turn: Turn,
    words: String,
    /// The block that is being written.
    open: Option<u32>,
    has_state: bool,
    is_too_long: bool,
}

impl Listener {
    pub(crate) fn new(memory: Arc<Memory>, scope: Scope, context: Context) -> Self {
        let turn = Turn { pieces: Vec::new(), bytes: TURN_BYTES };
        Self { memory, scope, context, turn, words: String::new(), open: None, has_state: false, is_too_long: false }
    }

    /// Hears one event. Only the first choice is a turn that can be gone on with.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::BlockStart { choice: 0, block, kind } => {
                self.open = Some(*block);
                match kind {
                    BlockKind::Reasoning => self.turn.pieces.push(Piece::Reasoning { text: String::new(), state: None }),
                    BlockKind::Text => self.turn.pieces.push(Piece::Text { phase: None }),
                    BlockKind::ToolCall { id, name } => {
                        let call = Piece::Call { id: id.clone(), name: name.clone(), arguments: String::new(), state: None };
                        self.turn.pieces.push(call);
                    }
                    BlockKind::Refusal | BlockKind::Opaque { .. } => self.open = None,
                }
            }
            Event::Delta { choice: 0, block, delta } if self.open == Some(*block) => self.delta(delta),
            Event::End => self.end(),
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Delta) {
        self.turn.bytes += delta.held_bytes();
        self.is_too_long |= self.turn.bytes > TURN_BYTES_MAX;
        if self.is_too_long {
            return;
        }
        match (self.turn.pieces.last_mut(), delta) {
            (Some(Piece::Reasoning { text, .. }), Delta::Reasoning(more))
            | (Some(Piece::Call { arguments: text, .. }), Delta::Arguments(more)) => {
                text.push_str(more);
            }
            (Some(Piece::Text { .. }), Delta::Text(more)) => self.words.push_str(more),
            (Some(Piece::Text { phase }), Delta::State(said)) => {
                *phase = said.phase().map(str::to_owned);
                self.has_state |= phase.is_some();
            }
            (Some(Piece::Reasoning { state, .. } | Piece::Call { state, .. }), Delta::State(said)) => {
                self.has_state = true;
                *state = Some(said.clone());
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        if self.has_state && !self.is_too_long {
            self.memory.keep(&self.scope, self.context, std::mem::take(&mut self.turn), self.words.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(text: &str) -> State {
        State { family: Family::Messages, id: None, signature: Some(text.to_owned()), encrypted: None }
    }

    fn scope(caller: &str, origin: &str) -> Scope {
        Scope { caller: caller.into(), origin: origin.into() }
    }

    fn block(block: u32, kind: BlockKind, deltas: Vec<Delta>) -> Vec<Event> {
        let start = Event::BlockStart { choice: 0, block, kind };
        let deltas = deltas.into_iter().map(|delta| Event::Delta { choice: 0, block, delta });
        [start].into_iter().chain(deltas).chain([Event::BlockStop { choice: 0, block }]).collect()
    }

    /// A thought, a call, a second thought, a second call that is itself signed.
    fn answer() -> Vec<Event> {
        let call = |id: &str, name: &str| BlockKind::ToolCall { id: id.to_owned(), name: name.to_owned() };
        let thought = |text: &str| vec![Delta::Reasoning(text.to_owned()), Delta::State(signed(text))];
        [
            block(0, BlockKind::Reasoning, thought("one")),
            block(1, call("toolu_aa", "f"), vec![Delta::Arguments("{\"x\": 1}".to_owned())]),
            block(2, BlockKind::Reasoning, thought("two")),
            block(3, call("toolu_bb", "g"), vec![Delta::Arguments("{}".to_owned()), Delta::State(signed("call"))]),
            vec![Event::End],
        ]
        .concat()
    }

    fn heard(events: &[Event], scope: &Scope) -> Arc<Memory> {
        let memory = Arc::new(Memory::default());
        let context = memory.context(&[Message::text(Role::User, "hi")]);
        let mut listener = Listener::new(memory.clone(), scope.clone(), context);
        for event in events {
            listener.hear(event);
        }
        memory
    }

    fn call(id: &str, name: &str, arguments: &str) -> Block {
        Block::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned(), state: None }
    }

    fn request(turns: Vec<Vec<Block>>) -> Request {
        let messages = turns.into_iter().map(|blocks| Message { role: Role::Assistant, name: None, blocks });
        Request { messages: [Message::text(Role::User, "hi")].into_iter().chain(messages).collect(), ..Request::default() }
    }

    fn shape(request: &Request) -> Vec<String> {
        let name = |b: &Block| match b {
            Block::Reasoning { text, state } => format!("{text}:{}", state.as_ref().and_then(|s| s.signature.clone()).unwrap_or_default()),
            Block::ToolCall { name, state, .. } => format!("{name}{}", if state.is_some() { "+" } else { "" }),
            Block::Text { text } => text.clone(),
            other => format!("{other:?}"),
        };
        request.messages[1..].iter().flat_map(|m| m.blocks.iter().map(name)).collect()
    }

    const WHOLE: [&str; 4] = ["one:one", "f", "two:two", "g+"];

    #[test]
    fn a_turn_gets_its_thoughts_back_where_they_stood() {
        let here = scope("key", "account/m");
        let memory = heard(&answer(), &here);
        let forgetful = vec![vec![call("toolu_aa", "f", "{\"x\":1}"), call("toolu_bb", "g", "{}")]];
        let in_pieces = vec![vec![call("toolu_aa", "f", "{\"x\":1}")], vec![call("toolu_bb", "g", "{}")]];
        let other_ids = vec![vec![call("call_0", "f", "{\"x\":1}"), call("call_1", "g", "")]];
        let shortened = vec![vec![
            Block::Reasoning { text: "on".to_owned(), state: None },
            call("toolu_aa", "f", "{\"x\":1}"),
            call("toolu_bb", "g", "{}"),
        ]];
        for turns in [forgetful, in_pieces, shortened] {
            let mut request = request(turns);
            memory.restore(&here, &mut request);
            assert_eq!(shape(&request), WHOLE);
        }
        let mut request = request(other_ids);
        memory.restore(&here, &mut request);
        assert_eq!(shape(&request)[0], WHOLE[0], "known by name and arguments");
    }

    #[test]
    fn another_conversation_with_the_same_calls_or_words_gets_nothing() {
        let here = scope("key", "account/m");
        let mut words = block(0, BlockKind::Reasoning, vec![Delta::Reasoning("hm".to_owned()), Delta::State(signed("s"))]);
        words.extend(block(1, BlockKind::Text, vec![Delta::Text("OK".to_owned())]));
        words.push(Event::End);
        for (events, turn) in [(answer(), vec![call("mine_0001", "f", "{\"x\":1}")]), (words, vec![Block::Text { text: "OK".to_owned() }])]
        {
            let memory = heard(&events, &here);
            let mut other = request(vec![turn]);
            other.messages[0] = Message::text(Role::User, "Something else.");
            let before = other.clone();
            memory.restore(&here, &mut other);
            assert_eq!(other, before);
        }
    }

    #[test]
    fn nobody_else_gets_it_and_no_other_place() {
        let memory = heard(&answer(), &scope("key", "account/m"));
        for other in [scope("another key", "account/m"), scope("key", "account/n")] {
            let mut request = request(vec![vec![call("toolu_aa", "f", "{\"x\":1}")]]);
            let before = request.clone();
            memory.restore(&other, &mut request);
            assert_eq!(request, before);
        }
    }

    #[test]
    fn words_are_known_again_and_half_an_answer_is_not_kept() {
        let here = scope("key", "account/m");
        let mut events = block(0, BlockKind::Reasoning, vec![Delta::Reasoning("hm".to_owned()), Delta::State(signed("s"))]);
        events.extend(block(1, BlockKind::Text, vec![Delta::Text("Hello ".to_owned()), Delta::Text("there\n".to_owned())]));
        let text = || request(vec![vec![Block::Text { text: "Hello there".to_owned() }]]);
        let mut cut = text();
        heard(&events, &here).restore(&here, &mut cut);
        assert_eq!(cut, text());
        events.push(Event::End);
        let mut whole = text();
        heard(&events, &here).restore(&here, &mut whole);
        assert_eq!(shape(&whole), ["hm:s", "Hello there"]);
    }

    #[test]
    fn a_turn_beyond_all_bounds_is_not_kept() {
        let here = scope("key", "account/m");
        let long = "x".repeat(TURN_BYTES_MAX);
        let mut events = block(0, BlockKind::Reasoning, vec![Delta::Reasoning(long), Delta::State(signed("s"))]);
        events.extend(block(1, BlockKind::ToolCall { id: "a".to_owned(), name: "f".to_owned() }, Vec::new()));
        events.push(Event::End);
        let memory = heard(&events, &here);
        memory.turns.run_pending_tasks();
        assert_eq!(memory.turns.entry_count(), 0);
    }
}
