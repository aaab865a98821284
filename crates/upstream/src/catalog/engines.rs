//! Engines that people run themselves, and whatever else speaks OpenAI's chat.

use wire::Dialect::{Messages, Responses};

use super::{COMPATIBLE, Provider, Scheme};

pub(super) const ROWS: &[Provider] = &[
    Provider {
        name: "ollama",
        // Its cloud takes no `x-api-key`; the local server takes anything.
        scheme: Scheme::Bearer,
        // Responses since 0.13.3 and Messages since 0.14, both without stored state.
        may: &[Responses, Messages],
        source: &["https://docs.ollama.com/api/openai-compatibility", "https://docs.ollama.com/api/anthropic-compatibility"],
        ..COMPATIBLE
    },
    Provider {
        name: "vllm",
        scheme: Scheme::Bearer,
        // By version: Responses since 0.10, Messages since 0.11.
        may: &[Responses, Messages],
        source: &["https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"],
        unverified: "the versions that brought Responses and Messages",
        ..COMPATIBLE
    },
    // A gateway in front of vLLM: what it lets through depends on its routes.
    Provider {
        name: "llm-d",
        scheme: Scheme::Bearer,
        may: &[Responses, Messages],
        name_prefixes: &["llmd-"],
        source: &["https://llm-d.ai/docs/architecture", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"],
        ..COMPATIBLE
    },
    Provider {
        name: "llama-server",
        scheme: Scheme::Bearer,
        may: &[Responses, Messages],
        source: &["https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"],
        ..COMPATIBLE
    },
    // A node of ours that is named as an account instead of registering itself.
    Provider {
        name: "node",
        scheme: Scheme::Bearer,
        source: &["https://platform.openai.com/docs/api-reference/chat/create"],
        ..COMPATIBLE
    },
    Provider {
        name: "agent",
        name_prefixes: &["local"],
        stream_usage: false,
        source: &["https://platform.openai.com/docs/api-reference/chat/create"],
        ..COMPATIBLE
    },
    Provider { name: "backend", may: &[Responses, Messages], ..COMPATIBLE },
    Provider { name: "custom", may: &[Responses, Messages], ..COMPATIBLE },
];
