//! Puts provider state into capsules on its way to a client of another dialect, and takes it out again on the way back.

use wire::{
    Dialect,
    capsule::Capsule,
    ir::{Block, BlockKind, Delta, Event, Family, Request, Role, State},
    losses::Losses,
};

/// Seals the state of one answer for a client.
pub(crate) struct Sealer {
    /// The client's family; `None` where its dialect has no place for state, or is the one that made it.
    family: Option<Family>,
    origin: String,
    /// Whether thoughts that nobody can read go to the client. Where it did not ask for any, its first block would be none that it knows; the
    /// router remembers them by itself.
    tells_unread: bool,
    /// The reasoning block that is being written, and whether it has come to its state.
    open: Option<(u32, u32, Came)>,
}

/// What has come of a reasoning block.
#[derive(Debug, Clone, Copy, Default)]
struct Came {
    state: bool,
    text: bool,
}

impl Sealer {
    /// For a client of `caller`'s dialect that hears an answer of `wire`'s, made at `origin`. `thinks`: it asked for thoughts, as Messages has it.
    pub(crate) fn new(caller: Dialect, thinks: bool, wire: Dialect, origin: &str) -> Self {
        let has_place = caller != Dialect::Chat && caller != wire;
        let tells_unread = thinks || caller != Dialect::Messages;
        Self { family: has_place.then_some(caller.family()), origin: origin.to_owned(), tells_unread, open: None }
    }

    /// Seals what is in `events`.
    pub(crate) fn seal(&mut self, events: &mut Vec<Event>) {
        let Some(family) = self.family else { return };
        let mut at = 0;
        while at < events.len() {
            match &mut events[at] {
                Event::BlockStart { choice, block, kind: BlockKind::Reasoning } => self.open = Some((*choice, *block, Came::default())),
                Event::Delta { choice, block, delta } => {
                    if let Some(came) = self.came(*choice, *block) {
                        came.state |= matches!(delta, Delta::State(_));
                        came.text |= matches!(delta, Delta::Reasoning(_));
                    }
                    let shown = self.came(*choice, *block).is_some_and(|c| c.text);
                    if !shown && !self.tells_unread {
                        // Words that follow get a seal of their own.
                        if let Some(came) = self.came(*choice, *block) {
                            came.state = false;
                        }
                        at += 1;
                        continue;
                    }
                    // A phase is kept here and says nothing elsewhere.
                    if let Delta::State(state) = delta
                        && state.phase().is_none()
                    {
                        *state = self.sealed(family, Some(state.clone()), shown);
                    }
                }
                Event::BlockStop { choice, block } => {
                    let (choice, block) = (*choice, *block);
                    // Thoughts without a state get one too: a provider that asks for signatures must not take them for its own.
                    if let Some(Came { state: false, text: true }) = self.came(choice, block).copied() {
                        let delta = Delta::State(self.sealed(family, None, true));
                        events.insert(at, Event::Delta { choice, block, delta });
                        at += 1;
                    }
                    self.open.take_if(|(c, b, _)| (*c, *b) == (choice, block));
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn came(&mut self, choice: u32, block: u32) -> Option<&mut Came> {
        self.open.as_mut().filter(|(c, b, _)| (*c, *b) == (choice, block)).map(|(_, _, came)| came)
    }

    /// Where the dialect has it: an encrypted part for thoughts that nobody reads and for Responses, else a signature.
    fn sealed(&self, family: Family, state: Option<State>, shown: bool) -> State {
        let text = Some(Capsule { origin: self.origin.clone(), state }.seal());
        let is_encrypted = family == Family::Responses || (family == Family::Messages && !shown);
        let (signature, encrypted) = if is_encrypted { (None, text) } else { (text, None) };
        State { family, id: None, signature, encrypted }
    }
}

/// What `events` of an answer on `wire`, kept as they came, were to a caller: with the state of `target`'s model sealed. A node's target is `None`.
pub fn seal_as_sent((caller, thinks): (Dialect, bool), wire: Dialect, target: Option<&str>, model: &str, events: &mut Vec<Event>) {
    Sealer::new(caller, thinks, wire, &origin(target, model)).seal(events);
}

/// Where state was made: one account's is another's, nodes are alike.
pub(crate) fn origin(target: Option<&str>, model: &str) -> String {
    format!("{}/{model}", target.unwrap_or("node"))
}

/// Takes the state of `origin` out of its capsules. Thoughts that were made elsewhere go whole. True: they are missing now from a turn whose calls
/// have just been answered.
pub(crate) fn unseal(request: &mut Request, origin: &str, losses: &mut Losses) -> bool {
    let mut thoughtless = None;
    for (m, message) in request.messages.iter_mut().enumerate().filter(|(_, m)| m.role == Role::Assistant) {
        let mut b = 0;
        message.blocks.retain_mut(|block| {
            b += 1;
            let (Block::Reasoning { state, .. } | Block::ToolCall { state, .. }) = block else { return true };
            let Some(capsule) = state.as_ref().and_then(Capsule::of) else { return true };
            if capsule.origin == origin {
                *state = capsule.state;
                return true;
            }
            *state = None;
            let is_thought = matches!(block, Block::Reasoning { .. });
            losses.drop(format!("messages[{m}].blocks[{}]{}", b - 1, if is_thought { "" } else { ".state" }));
            thoughtless = is_thought.then_some(m).or(thoughtless);
            !is_thought
        });
    }
    let last = request.messages.iter().rposition(|message| message.role == Role::Assistant);
    let is_result = |block: &Block| matches!(block, Block::ToolResult { .. });
    last.is_some_and(|last| thoughtless == Some(last) && request.messages[last..].iter().any(|m| m.blocks.iter().any(is_result)))
}

#[cfg(test)]
mod tests {
    use wire::ir::Message;

    use super::*;

    const STATE: &str = "sig";

    fn thought(with_state: bool) -> Vec<Event> {
        let (choice, block) = (0, 0);
        let mut events = vec![
            Event::BlockStart { choice, block, kind: BlockKind::Reasoning },
            Event::Delta { choice, block, delta: Delta::Reasoning("hm".to_owned()) },
        ];
        if with_state {
            let state = State { family: Family::Gemini, id: None, signature: Some(STATE.to_owned()), encrypted: None };
            events.push(Event::Delta { choice, block, delta: Delta::State(state) });
        }
        events.push(Event::BlockStop { choice, block });
        events
    }

    fn echoed(events: &[Event]) -> Request {
        let state = events.iter().find_map(|e| if let Event::Delta { delta: Delta::State(s), .. } = e { Some(s.clone()) } else { None });
        let blocks = vec![Block::Reasoning { text: "hm".to_owned(), state }, Block::Text { text: "yes".to_owned() }];
        Request { messages: vec![Message { role: Role::Assistant, name: None, blocks }], ..Request::default() }
    }

    #[test]
    fn state_comes_home_and_nowhere_else() {
        for (caller, with_state) in [(Dialect::Messages, true), (Dialect::Messages, false), (Dialect::Responses, true)] {
            let mut events = thought(with_state);
            Sealer::new(caller, true, Dialect::Gemini, "here/m").seal(&mut events);
            assert!(!format!("{events:?}").contains("\"sig\""), "sealed: {events:?}");
            let mut losses = Losses::default();
            let mut home = echoed(&events);
            unseal(&mut home, "here/m", &mut losses);
            let Block::Reasoning { state, .. } = &home.messages[0].blocks[0] else { panic!("the thought is there: {home:?}") };
            assert_eq!(state.as_ref().and_then(|s| s.signature.as_deref()), with_state.then_some(STATE));
            assert!(losses.is_exact());

            let mut abroad = echoed(&events);
            unseal(&mut abroad, "there/m", &mut losses);
            assert_eq!(abroad.messages[0].blocks, [Block::Text { text: "yes".to_owned() }], "dropped whole");
            assert_eq!(losses.dropped, ["messages[0].blocks[0]"]);
        }
    }

    #[test]
    fn who_did_not_ask_for_thoughts_gets_none_that_nobody_can_read() {
        let mut unread = thought(true);
        unread.remove(1);
        for (thinks, is_sealed) in [(false, false), (true, true)] {
            let mut events = unread.clone();
            Sealer::new(Dialect::Messages, thinks, Dialect::Gemini, "here/m").seal(&mut events);
            let content = wire::messages::encode::response(&events)["content"].to_string();
            assert_eq!(content.contains("redacted_thinking"), is_sealed, "{content}");
        }
        // What can be read is shown, and comes back.
        let mut events = thought(true);
        Sealer::new(Dialect::Messages, false, Dialect::Gemini, "here/m").seal(&mut events);
        assert_eq!(wire::messages::encode::response(&events)["content"][0]["type"], "thinking");
    }

    #[test]
    fn nothing_is_sealed_for_those_who_cannot_carry_it_or_who_know_it() {
        for (caller, wire) in [(Dialect::Chat, Dialect::Gemini), (Dialect::Gemini, Dialect::Gemini)] {
            let mut events = thought(true);
            Sealer::new(caller, true, wire, "here/m").seal(&mut events);
            assert_eq!(events, thought(true));
        }
    }
}
