//! The built-in model that says "Hello world": for first steps and for load tests.

use journey::{Operation, Request};
use wire::{
    Failure,
    ir::{BlockKind, Delta, Event, Finish, Usage},
};

const TEXT: [&str; 2] = ["Hello", " world"];

/// Its answer. Prompt tokens are counted as one for four bytes of the body's input, its own as what they are: two.
pub(crate) fn answer(request: &Request) -> Vec<Event> {
    let (choice, block) = (0, 0);
    let usage = Usage { in_fresh: Some(request.guessed_tokens()), out_text: Some(2), ..Usage::default() };
    let mut events = vec![
        Event::Start {
            id: format!("cmpl-{}", uuid::Uuid::new_v4().simple()),
            model: request.model().to_owned(),
            created: jiff::Timestamp::now().as_second(),
        },
        Event::BlockStart { choice, block, kind: BlockKind::Text },
    ];
    events.extend(TEXT.map(|text| Event::Delta { choice, block, delta: Delta::Text(text.to_owned()) }));
    events.extend([Event::BlockStop { choice, block }, Event::Finish { choice, reason: Finish::Stop }, Event::Usage(usage), Event::End]);
    events
}

/// It only generates.
pub(crate) fn refuse(operation: Operation) -> Failure {
    let what = if operation == Operation::Embeddings { "makes no embeddings" } else { "has no such path" };
    Failure::new(wire::Code::Unsupported, format!("the model `dummy` {what}: name a model of an account or a node")).at("model")
}
