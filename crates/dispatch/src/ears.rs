//! Those who hear a translated answer before the client does.

use journey::{Operation, Request};
use wire::{AnswerLosses, ToolNames, ir::Event, losses::Losses, tap::Seen};

use crate::{letter::Translation, luggage::Sealer, memory::Listener, run::Dispatch};

/// One pass over the events of an answer for all that want to know of it.
pub(crate) struct Ears {
    listener: Listener,
    sealer: Sealer,
    losses: AnswerLosses,
    seen: Seen,
    names: ToolNames,
    /// The name that was asked for.
    model: String,
}

impl Ears {
    /// For the answer to a translated request.
    pub(crate) fn new(d: &Dispatch<'_>, request: &Request, translation: Translation) -> Self {
        let Translation { wire, scope, context, names, .. } = translation;
        let caller = request.operation.dialect();
        let sealer = Sealer::new(caller, request.head.shape.thinks, wire, &scope.origin);
        let listener = Listener::new(d.memory.clone(), scope, context);
        let losses = if request.operation == Operation::Completions { AnswerLosses::for_completions() } else { AnswerLosses::new(caller) };
        Self { listener, sealer, losses, seen: Seen::default(), names, model: request.model().to_owned() }
    }

    /// Keeps what the next turn will need, notes what is said and what gets lost, and seals what only its maker understands.
    pub(crate) fn hear(&mut self, events: &mut Vec<Event>) {
        for event in events.iter_mut() {
            if let Event::Start { id, created, model } = event {
                // Not every dialect says when it began, and not every server which answer this is, or whose: clients keep answers by their ids.
                if *created == 0 {
                    *created = jiff::Timestamp::now().as_second();
                }
                if id.is_empty() {
                    *id = uuid::Uuid::now_v7().simple().to_string();
                }
                if model.is_empty() {
                    model.clone_from(&self.model);
                }
            }
            self.names.restore(event);
            self.listener.hear(event);
            self.losses.event(event);
            self.seen.note(event);
        }
        self.sealer.seal(events);
    }

    /// What was said.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What the caller's dialect cannot say of it.
    pub(crate) fn losses(&self) -> &Losses {
        self.losses.losses()
    }
}
