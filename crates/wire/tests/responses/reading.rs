//! Streams read and written, and what must be true of each.

use serde_json::{Value, json};
use wire::{
    ir::{BlockKind, Event, Finish},
    responses::stream,
};

/// The events of a stream fed in pieces of `size` bytes.
pub(super) fn read(bytes: &[u8], size: usize) -> Vec<Event> {
    let (mut decoder, mut events) = (stream::Decoder::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        decoder.feed(piece, &mut events).unwrap();
    }
    decoder.finish(&mut events);
    assert!(decoder.is_over());
    events
}

/// Blocks count up, do not overlap, and close unless the stream failed; "tool call" is said if and only if there was one.
pub(super) fn well_formed(events: &[Event]) {
    assert!(matches!(events[0], Event::Start { .. } | Event::Failed { .. }), "{events:?}");
    let (mut open, mut next, mut called) = (None, 0, false);
    for event in events {
        match event {
            Event::BlockStart { block, kind, .. } => {
                assert_eq!((open, *block), (None, next));
                (open, next) = (Some(*block), next + 1);
                called |= matches!(kind, BlockKind::ToolCall { .. });
            }
            Event::Delta { block, .. } => assert_eq!(open, Some(*block)),
            Event::BlockStop { block, .. } => assert_eq!(open.take(), Some(*block)),
            Event::Finish { reason, .. } => {
                assert_eq!(open, None);
                let is_cut = matches!(reason, Finish::Length | Finish::Filter | Finish::ContextFull | Finish::Other(_));
                assert!((*reason == Finish::ToolCall) == called || is_cut, "{reason:?}");
            }
            _ => {}
        }
    }
    assert!(matches!(events.last(), Some(Event::End | Event::Failed { .. })));
}

/// The frames of a stream.
pub(super) fn written(events: &[Event]) -> String {
    let (mut encoder, mut out) = (stream::Encoder::new(), Vec::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

/// The order of the official stream: numbers grow, items and parts open before they close, the last event repeats the items.
pub(super) fn legal(text: &str) {
    let frames: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|frame| {
            let (event, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect();
    let kind = |f: &Value| f["type"].as_str().unwrap().to_owned();
    assert_eq!((kind(&frames[0]), kind(&frames[1])), ("response.created".into(), "response.in_progress".into()));
    let (mut items, mut open, mut part) = (Vec::new(), None, None);
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(frame["sequence_number"], number);
        let place = frame.get("content_index").or(frame.get("summary_index")).cloned();
        match kind(frame).as_str() {
            "response.output_item.added" => {
                assert_eq!((open.replace(frame["item"]["id"].clone()), &frame["output_index"]), (None, &json!(items.len())));
            }
            "response.output_item.done" => {
                assert_eq!((open.take(), &part), (Some(frame["item"]["id"].clone()), &None));
                items.push(frame["item"].clone());
            }
            "response.content_part.added" | "response.reasoning_summary_part.added" => {
                assert_eq!((part.take(), &open), (None, &Some(frame["item_id"].clone())));
                part = place;
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => assert_eq!(part.take(), place),
            "response.function_call_arguments.delta" => assert_eq!(open, Some(frame["item_id"].clone())),
            "response.function_call_arguments.done" => assert!(frame["name"].is_string() && frame["arguments"].is_string()),
            other if other.contains("text.d") || other.contains("refusal.d") => {
                assert_eq!((&part, &open), (&place, &Some(frame["item_id"].clone())));
            }
            _ => {}
        }
    }
    assert_eq!(open, None);
    let last = frames.last().unwrap();
    assert!(matches!(kind(last).as_str(), "response.completed" | "response.incomplete"));
    assert_eq!(last["response"]["output"], json!(items));
}
