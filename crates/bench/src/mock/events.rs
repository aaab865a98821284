//! Streamed answers: what is sent and when.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{server::State, settings::Behaviour};
use crate::clock::now_ns;

/// The APIs that stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Responses,
    Messages,
    Gemini,
}

/// Text of about `len` bytes: a stamp of the sending time or a number, then filling.
pub(super) fn text(index: u64, len: usize, stamp: bool) -> String {
    let mut text = if stamp { format!("@@{}@", now_ns()) } else { format!("w{index:05} ") };
    let shortest = text.len();
    while text.len() < len {
        text.push_str("lorem ipsum ");
    }
    text.truncate(len.max(shortest));
    text
}

fn head(api: Api, model: &str) -> String {
    match api {
        Api::Chat => format!(
            "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":null}}]}}\n\n"
        ),
        Api::Messages => format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_mock\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"{model}\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{{\"input_tokens\":100,\"output_tokens\":1}}}}}}\n\nevent: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n"
        ),
        Api::Responses => format!(
            "event: response.created\ndata: {{\"type\":\"response.created\",\"sequence_number\":0,\"response\":{{\"id\":\"resp_mock\",\"object\":\"response\",\"created_at\":1700000000,\"status\":\"in_progress\",\"model\":\"{model}\",\"output\":[]}}}}\n\nevent: response.output_item.added\ndata: {{\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{{\"id\":\"msg_mock\",\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}}}\n\nevent: response.content_part.added\ndata: {{\"type\":\"response.content_part.added\",\"sequence_number\":2,\"item_id\":\"msg_mock\",\"output_index\":0,\"content_index\":0,\"part\":{{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[]}}}}\n\n"
        ),
        Api::Gemini => String::new(),
    }
}

fn chunk(api: Api, model: &str, index: u64, text: &str) -> String {
    let n = index + 3;
    match api {
        Api::Chat => format!(
            "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        ),
        Api::Messages => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        ),
        Api::Responses => format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{n},\"item_id\":\"msg_mock\",\"output_index\":0,\"content_index\":0,\"delta\":\"{text}\"}}\n\n"
        ),
        Api::Gemini => format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":100,\"candidatesTokenCount\":{n},\"totalTokenCount\":{}}},\"modelVersion\":\"{model}\"}}\n\n",
            100 + n
        ),
    }
}

fn tail(api: Api, model: &str, chunks: u64, asks_usage: bool) -> String {
    let total = chunks + 100;
    match api {
        Api::Chat => {
            let start = format!(
                "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\","
            );
            let usage = format!(
                "{start}\"choices\":[],\"usage\":{{\"prompt_tokens\":100,\"completion_tokens\":{chunks},\"total_tokens\":{total}}}}}\n\n"
            );
            let usage = if asks_usage { usage } else { String::new() };
            format!("{start}\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n{usage}data: [DONE]\n\n")
        }
        Api::Messages => format!(
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\nevent: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{chunks}}}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        ),
        Api::Responses => format!(
            "event: response.output_text.done\ndata: {{\"type\":\"response.output_text.done\",\"sequence_number\":{},\"item_id\":\"msg_mock\",\"output_index\":0,\"content_index\":0,\"text\":\"x\"}}\n\nevent: response.completed\ndata: {{\"type\":\"response.completed\",\"sequence_number\":{},\"response\":{{\"id\":\"resp_mock\",\"object\":\"response\",\"created_at\":1700000000,\"status\":\"completed\",\"model\":\"{model}\",\"output\":[{{\"id\":\"msg_mock\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{{\"type\":\"output_text\",\"text\":\"x\",\"annotations\":[]}}]}}],\"usage\":{{\"input_tokens\":100,\"output_tokens\":{chunks},\"total_tokens\":{total}}}}}}}\n\n",
            chunks + 3,
            chunks + 4
        ),
        Api::Gemini => format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"\"}}],\"role\":\"model\"}},\"finishReason\":\"STOP\",\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":100,\"candidatesTokenCount\":{chunks},\"totalTokenCount\":{total}}},\"modelVersion\":\"{model}\"}}\n\n"
        ),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Chunks,
    Ended,
}

/// An event stream that keeps its own time.
pub(super) struct Events {
    api: Api,
    behaviour: Behaviour,
    model: String,
    asks_usage: bool,
    state: Rc<State>,
    sent: u64,
    stage: Stage,
    sleep: Pin<Box<Sleep>>,
    is_waiting: bool,
    is_finished: bool,
}

impl Events {
    pub(super) fn new(api: Api, behaviour: Behaviour, model: String, asks_usage: bool, state: Rc<State>) -> Self {
        state.stats.stream_started();
        let sleep = Box::pin(sleep_until(Instant::now() + Duration::from_millis(behaviour.ttft_ms)));
        let is_waiting = behaviour.ttft_ms > 0;
        Self { api, behaviour, model, asks_usage, state, sent: 0, stage: Stage::Head, sleep, is_waiting, is_finished: false }
    }

    fn next(&mut self) -> Option<String> {
        if self.stage == Stage::Head {
            self.stage = Stage::Chunks;
            let head = head(self.api, &self.model);
            if !head.is_empty() {
                return Some(head);
            }
        }
        if self.stage == Stage::Ended {
            return None;
        }
        if self.sent == self.behaviour.chunks {
            self.stage = Stage::Ended;
            return Some(tail(self.api, &self.model, self.sent, self.asks_usage));
        }
        let text = text(self.sent, self.behaviour.chunk_bytes, self.behaviour.stamp);
        let chunk = chunk(self.api, &self.model, self.sent, &text);
        self.sent += 1;
        self.state.stats.chunk();
        Some(chunk)
    }

    /// Waits before the next chunk; the head and the first chunk go together, as do the last chunk and the end.
    fn arm(&mut self) {
        let gap = Duration::from_millis(self.behaviour.gap_ms);
        if self.stage != Stage::Chunks || self.sent == 0 || self.sent == self.behaviour.chunks || gap.is_zero() {
            return;
        }
        // From the last deadline, not from now: a late chunk does not make all others late.
        let now = Instant::now();
        let due = self.sleep.deadline() + gap;
        self.sleep.as_mut().reset(if due < now { now + gap } else { due });
        self.is_waiting = true;
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_waiting {
            ready!(self.sleep.as_mut().poll(cx));
            self.is_waiting = false;
        }
        let Some(event) = self.next() else {
            self.is_finished = true;
            return Poll::Ready(None);
        };
        self.arm();
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.state.stats.stream_ended(self.is_finished);
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, chunk, head, tail, text};

    #[test]
    fn every_event_is_json() {
        for api in [Api::Chat, Api::Messages, Api::Responses, Api::Gemini] {
            let stream = [head(api, "m"), chunk(api, "m", 0, "hi"), tail(api, "m", 1, true)].concat();
            let lines = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]");
            for line in lines {
                assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{api:?}: {line}");
            }
            assert!(stream.ends_with("\n\n"));
        }
    }

    #[test]
    fn text_has_its_length_and_never_a_cut_stamp() {
        assert_eq!(text(3, 32, false).len(), 32);
        assert_eq!(text(3, 0, false), "w00003 ");
        let stamped = text(0, 4, true);
        assert!(stamped.starts_with("@@") && stamped.ends_with('@'), "{stamped}");
    }
}
