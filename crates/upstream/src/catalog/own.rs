//! Those who made the wires: OpenAI (and Azure's copy of it), Anthropic, Google.

use wire::Dialect::{Chat as ChatWire, Gemini, Messages, Responses};

use super::{AccountName, COMPATIBLE, Chat, Provider, Rebase, Refusal, Scheme, Shape};
use crate::classify::{Kind, Tell, WRONG, message, named};

/// OpenAI's models that think do not let themselves be steered so.
const SAMPLING: &[&str] =
    &["temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "stop"];
const THINKING_MODELS: &[&str] = &["o1", "o3", "o4", "gpt-5", "gpt-6"];
const CHATTING_MODELS: &[&str] = &["gpt-5-chat", "gpt-5.1-chat", "gpt-5.2-chat"];

/// Models that cannot think and refuse to be told how much they should.
const PLAIN_MODELS: &[&str] = &["gpt-3.5", "gpt-4", "chatgpt-4o", "gpt-5-chat"];

const fn while_thinking(wire: wire::Dialect, fields: &'static [&'static str]) -> Refusal {
    Refusal { wire, models: THINKING_MODELS, except: CHATTING_MODELS, while_thinking: true, fields }
}

const fn by(models: &'static [&'static str], wire: wire::Dialect, fields: &'static [&'static str]) -> Refusal {
    Refusal { wire, models, except: &[], while_thinking: false, fields }
}

const OPENAI_REFUSED: &[Refusal] = &[
    by(&[], ChatWire, &["top_k"]),
    while_thinking(ChatWire, SAMPLING),
    while_thinking(Responses, &["temperature", "top_p"]),
    by(PLAIN_MODELS, ChatWire, &["reasoning_effort"]),
    by(PLAIN_MODELS, Responses, &["reasoning"]),
];

const OPENAI_CHAT: Chat = Chat { output_limit: "max_completion_tokens", stops_max: 4, thoughts: None, ..COMPATIBLE.chat };

pub(super) const ROWS: &[Provider] = &[
    Provider {
        name: "openai",
        scheme: Scheme::Bearer,
        wires: &[ChatWire, Responses],
        name_prefixes: &["gpt-"],
        foreign_prefixes: &["gpt-oss"],
        // The word is also used for whatever speaks OpenAI's chat.
        elsewhere: Some("openai-compatible"),
        chat: OPENAI_CHAT,
        refused: OPENAI_REFUSED,
        tells: &[
            named("invalid_prompt", Kind::ContentPolicy),
            named("slow_down", Kind::Overloaded),
            named("server_is_overloaded", Kind::Overloaded),
            message(&[403], "country, region, or territory not supported", Kind::Key),
        ],
        passes: &["x-client-request-id"],
        source: &[
            "https://platform.openai.com/docs/api-reference/chat/create",
            "https://platform.openai.com/docs/api-reference/responses/create",
            "https://platform.openai.com/docs/guides/rate-limits",
            "https://platform.openai.com/docs/guides/error-codes",
            "https://platform.openai.com/docs/guides/reasoning",
        ],
        unverified: "which names its next thinking models will have, and which of them do not think unless they are told to (they are taken to think); whether `reasoning_content` in a message is refused or ignored (it is not sent)",
        ..COMPATIBLE
    },
    // `provider: openai` at another address. It may be OpenAI behind a proxy or anything that says it is compatible.
    Provider {
        name: "openai-compatible",
        may: &[Responses],
        source: &["https://platform.openai.com/docs/api-reference/chat/create"],
        ..COMPATIBLE
    },
    Provider {
        name: "openai-codex",
        scheme: Scheme::Bearer,
        wires: &[Responses],
        only_streams: true,
        shape: Shape::Under("/codex"),
        refused: &[by(&[], Responses, &["max_output_tokens", "temperature", "top_p", "user", "metadata", "truncation"])],
        instructions: "You are a helpful assistant.",
        headers: &[("openai-beta", "responses=experimental"), ("originator", "llm-router")],
        names_account: Some(AccountName {
            header: "chatgpt-account-id",
            claim: "https://api.openai.com/auth",
            member: "chatgpt_account_id",
        }),
        source: &["https://github.com/openai/codex"],
        unverified: "there is no reference of this service; what is known is what its own client sends",
        ..COMPATIBLE
    },
    Provider {
        name: "azure",
        scheme: Scheme::Header("api-key"),
        wires: &[ChatWire],
        // In some regions, for some models, and of dated versions only in late previews.
        may: &[Responses],
        shape: Shape::Deployments,
        chat: OPENAI_CHAT,
        // The deployment's name may be any, but most have their model's.
        refused: OPENAI_REFUSED,
        tells: &[
            named("operationnotsupported", Kind::Model),
            named("unavailable_model", Kind::Model),
            named("unknown_model", Kind::Model),
            message(&[400], "api version not supported", Kind::Endpoint),
            message(&[404], "resource not found", Kind::Endpoint),
        ],
        passes: &["x-ms-client-request-id", "aoai-evals"],
        source: &[
            "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
            "https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
            "https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits",
        ],
        unverified: "dated versions from before September 2024 know `max_tokens` only; they are spoken to as the newer ones",
        ..COMPATIBLE
    },
    // `/v1/chat/completions` exists too, for comparisons only, and ignores what it does not know: it is spoken where the operator says so.
    Provider {
        name: "anthropic",
        wires: &[Messages],
        counts: &[Messages],
        name_prefixes: &["claude"],
        tells: &[
            message(&[400, 429], "spend limit", Kind::Credit),
            message(&[400], "usage limits", Kind::Credit),
            message(&[400], "content filtering policy", Kind::ContentPolicy),
            message(&[400, 413], "exceed context limit", Kind::ContextLength),
        ],
        source: &[
            "https://platform.claude.com/docs/en/api/messages",
            "https://platform.claude.com/docs/en/api/rate-limits",
            "https://platform.claude.com/docs/en/api/errors",
            "https://platform.claude.com/docs/en/api/openai-sdk",
        ],
        ..COMPATIBLE
    },
    // The compatible chat endpoint loses thought signatures and is spoken where the operator says so.
    Provider {
        name: "google",
        wires: &[Gemini],
        counts: &[Gemini],
        name_prefixes: &["gemini", "google"],
        rebased: &[Rebase { wire: ChatWire, from: "/v1beta", to: "/v1beta/openai" }],
        refused: &[by(&[], ChatWire, &["top_k", "seed", "logit_bias"])],
        tells: &[
            Tell { statuses: &[402], ..named("resource_exhausted", Kind::Credit) },
            named("resource_exhausted", Kind::RateLimit),
            named("api_key_invalid", Kind::Key),
            named("api_key_service_blocked", Kind::Key),
            message(&[400], "api key", Kind::Key),
            // The free tier is not to be had in the place of the router, or billing is off.
            named("failed_precondition", Kind::Credit),
            named("unavailable", Kind::Overloaded),
            named("deadline_exceeded", Kind::Timeout),
            message(WRONG, "exceeds the maximum number of tokens", Kind::ContextLength),
        ],
        source: &[
            "https://ai.google.dev/api/generate-content",
            "https://ai.google.dev/gemini-api/docs/troubleshooting",
            "https://ai.google.dev/gemini-api/docs/rate-limits",
            "https://ai.google.dev/gemini-api/docs/openai",
        ],
        unverified: "which fields the compatible chat endpoint refuses",
        ..COMPATIBLE
    },
];
