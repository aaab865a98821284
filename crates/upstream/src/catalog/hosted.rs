//! Those who host models behind a compatible wire.

use wire::Dialect::{Chat as ChatWire, Messages, Responses};

use super::{COMPATIBLE, CallIds, Chat, Effort, Provider, Rebase, Refusal, Scheme};
use crate::classify::{Kind, WRONG, message, named};

const CHAT: Chat = COMPATIBLE.chat;

const fn refused(fields: &'static [&'static str]) -> Refusal {
    Refusal { wire: ChatWire, models: &[], except: &[], while_thinking: false, fields }
}

/// Groq's host; `grok` is what Router API calls it.
const GROQ: Provider = Provider {
    name: "groq",
    scheme: Scheme::Bearer,
    may: &[Responses],
    chat: Chat {
        output_limit: "max_completion_tokens",
        stops_max: 4,
        effort: Effort::Words(&["none", "low", "medium", "high"]),
        thoughts: Some("reasoning"),
        refused_in_messages: &["name"],
        ..CHAT
    },
    refused: &[refused(&["logprobs", "logit_bias", "top_logprobs", "n", "top_k"])],
    tells: &[
        named("model_decommissioned", Kind::Model),
        named("tool_use_failed", Kind::Server),
        named("json_validate_failed", Kind::Server),
        message(&[498], "", Kind::Overloaded),
        message(&[413], "reduce the length", Kind::ContextLength),
    ],
    source: &[
        "https://console.groq.com/docs/api-reference",
        "https://console.groq.com/docs/openai",
        "https://console.groq.com/docs/rate-limits",
        "https://console.groq.com/docs/errors",
        "https://console.groq.com/docs/reasoning",
    ],
    unverified: "which efforts each model takes: gpt-oss takes low to high, Qwen none and default",
    ..COMPATIBLE
};

pub(super) const ROWS: &[Provider] = &[
    Provider {
        name: "openrouter",
        scheme: Scheme::Bearer,
        // Documented both, the Responses one as a beta without stored state.
        may: &[Responses, Messages],
        name_prefixes: &["openrouter"],
        chat: Chat { effort: Effort::Object, thoughts: Some("reasoning"), ..CHAT },
        tells: &[
            named("refusal", Kind::ContentPolicy),
            named("token_limit_exceeded", Kind::Credit),
            named("authentication", Kind::Key),
            named("permission_denied", Kind::Key),
            named("provider_overloaded", Kind::Overloaded),
            named("provider_unavailable", Kind::Overloaded),
            message(&[403], "flagged", Kind::ContentPolicy),
            message(&[403], "moderation", Kind::ContentPolicy),
            message(&[400], "is not a valid model", Kind::Model),
            message(&[404], "no endpoints found", Kind::Model),
            message(&[404], "no allowed providers", Kind::Model),
        ],
        passes: &["http-referer", "x-title", "x-openrouter-title", "x-openrouter-categories"],
        source: &[
            "https://openrouter.ai/docs/api/reference/overview",
            "https://openrouter.ai/docs/api/reference/errors-and-debugging",
            "https://openrouter.ai/docs/api/reference/limits",
            "https://openrouter.ai/docs/guides/best-practices/reasoning-tokens",
        ],
        unverified: "headers of limits on answers that succeed; in errors they stand in `metadata.headers`",
        ..COMPATIBLE
    },
    Provider { name: "grok", name_prefixes: &["grok"], ..GROQ },
    GROQ,
    Provider {
        name: "xai",
        scheme: Scheme::Bearer,
        // Its Messages endpoint is deprecated and not asked.
        wires: &[ChatWire, Responses],
        name_prefixes: &["grok-"],
        chat: Chat {
            output_limit: "max_completion_tokens",
            stops_max: 4,
            effort: Effort::Words(&["none", "low", "medium", "high"]),
            ..CHAT
        },
        refused: &[
            refused(&["top_k", "logit_bias"]),
            Refusal {
                wire: ChatWire,
                models: &["grok-3-mini", "grok-4", "grok-5", "grok-code"],
                except: &["grok-4-fast-non-reasoning", "grok-4-1-fast-non-reasoning", "grok-4.20-non-reasoning"],
                while_thinking: true,
                fields: &["presence_penalty", "frequency_penalty", "stop"],
            },
        ],
        tells: &[
            message(&[400], "incorrect api key", Kind::Key),
            message(&[403, 429], "credits", Kind::Credit),
            message(&[400, 403], "usage guidelines", Kind::ContentPolicy),
            message(WRONG, "maximum prompt length", Kind::ContextLength),
        ],
        passes: &["x-grok-conv-id"],
        source: &[
            "https://docs.x.ai/docs/api-reference",
            "https://docs.x.ai/docs/guides/reasoning",
            "https://docs.x.ai/docs/key-information/consumption-and-rate-limits",
        ],
        unverified: "which models take which effort; `none` and `medium` came with grok-4.3",
        ..COMPATIBLE
    },
    Provider {
        name: "venice",
        scheme: Scheme::Bearer,
        name_prefixes: &["venice"],
        tells: &[message(&[401, 403], "only available to pro", Kind::Model)],
        source: &[
            "https://docs.venice.ai/api-reference/endpoint/chat/completions",
            "https://docs.venice.ai/api-reference/error-codes",
            "https://docs.venice.ai/api-reference/rate-limiting",
        ],
        unverified: "whether wires besides chat are spoken; none is asked for",
        ..COMPATIBLE
    },
    Provider {
        name: "cerebras",
        scheme: Scheme::Bearer,
        chat: Chat {
            output_limit: "max_completion_tokens",
            developer: false,
            stops_max: 4,
            effort: Effort::Words(&["none", "low", "medium", "high"]),
            thoughts: Some("reasoning"),
            ..CHAT
        },
        refused: &[refused(&["frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls", "service_tier", "top_k"])],
        tells: &[
            named("wrong_api_key", Kind::Key),
            named("queue_exceeded", Kind::Overloaded),
            named("token_quota_exceeded", Kind::RateLimit),
            named("request_quota_exceeded", Kind::RateLimit),
        ],
        source: &[
            "https://inference-docs.cerebras.ai/api-reference/chat-completions",
            "https://inference-docs.cerebras.ai/resources/openai",
            "https://inference-docs.cerebras.ai/support/rate-limits",
            "https://inference-docs.cerebras.ai/support/error",
        ],
        unverified: "whether newer models take `parallel_tool_calls`, which was refused at first",
        ..COMPATIBLE
    },
    Provider {
        name: "deepinfra",
        scheme: Scheme::Bearer,
        may: &[Messages],
        rebased: &[Rebase { wire: Messages, from: "/v1/openai", to: "/anthropic/v1" }],
        tells: &[message(WRONG, "requested input length", Kind::ContextLength), message(&[404], "not available", Kind::Model)],
        source: &["https://deepinfra.com/docs/openai_api", "https://deepinfra.com/docs/advanced/rate-limits"],
        unverified: "the path of its Messages endpoint; it sends no headers of limits that are documented",
        ..COMPATIBLE
    },
    Provider {
        name: "mistral",
        scheme: Scheme::Bearer,
        name_prefixes: &["mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-"],
        // Usage comes with the last chunk of every stream, and unknown fields are refused with 422.
        stream_usage: false,
        chat: Chat {
            developer: false,
            some_tool: "any",
            call_ids: CallIds::Nine,
            effort: Effort::Words(&["none", "high"]),
            thoughts: None,
            refused_in_messages: &["name", "refusal"],
            ..CHAT
        },
        refused: &[refused(&["top_k", "logprobs", "top_logprobs", "logit_bias", "user", "store", "service_tier"])],
        tells: &[
            named("invalid_model", Kind::Model),
            named("service_tier_capacity_exceeded", Kind::Overloaded),
            message(WRONG, "too large for model", Kind::ContextLength),
        ],
        source: &[
            "https://docs.mistral.ai/api/endpoint/chat",
            "https://docs.mistral.ai/capabilities/reasoning/adjustable",
            "https://github.com/mistralai/mistral-common",
        ],
        unverified: "whether a model that cannot think refuses `reasoning_effort`; Mistral Large takes more words than none and high; \
                     the names of its limits' headers",
        ..COMPATIBLE
    },
    Provider {
        name: "deepseek",
        // The Messages base wants `x-api-key`.
        scheme: Scheme::OfTheWire,
        may: &[Messages, Responses],
        rebased: &[Rebase { wire: Messages, from: "/v1", to: "/anthropic/v1" }],
        name_prefixes: &["deepseek-chat", "deepseek-reasoner", "deepseek-flash", "deepseek-v4-"],
        chat: Chat { developer: false, stops_max: 16, effort: Effort::Thinking, ..CHAT },
        tells: &[message(&[400], "model not exist", Kind::Model), message(&[400], "content exists risk", Kind::ContentPolicy)],
        source: &[
            "https://api-docs.deepseek.com/api/create-chat-completion",
            "https://api-docs.deepseek.com/guides/thinking_mode",
            "https://api-docs.deepseek.com/guides/anthropic_api",
            "https://api-docs.deepseek.com/quick_start/error_codes",
        ],
        unverified: "the path of its Responses endpoint; it sends no headers of limits that are documented",
        ..COMPATIBLE
    },
    Provider {
        name: "together",
        scheme: Scheme::Bearer,
        chat: Chat { developer: false, ..CHAT },
        tells: &[
            named("model_not_available", Kind::Model),
            message(&[400, 403, 422], "max_new_tokens", Kind::ContextLength),
            message(&[403], "context length", Kind::ContextLength),
            message(&[403], "token count", Kind::ContextLength),
        ],
        source: &[
            "https://docs.together.ai/reference/chat-completions-1",
            "https://docs.together.ai/docs/error-codes",
            "https://docs.together.ai/docs/rate-limits",
        ],
        unverified: "whether the role `developer` is known (`system` is sent), and which words of effort are taken",
        ..COMPATIBLE
    },
    Provider {
        name: "fireworks",
        scheme: Scheme::Bearer,
        may: &[Responses, Messages],
        chat: Chat { developer: false, stops_max: 4, ..CHAT },
        // The account is suspended, or its bills are.
        tells: &[message(&[412], "", Kind::Credit)],
        source: &[
            "https://docs.fireworks.ai/api-reference/post-chatcompletions",
            "https://docs.fireworks.ai/tools-sdks/anthropic-compatibility",
            "https://docs.fireworks.ai/guides/inference-error-codes",
        ],
        unverified: "whether the role `developer` is known by every model (`system` is sent)",
        ..COMPATIBLE
    },
];
