//! The table of providers: which variables hold their key and address, and which path their addresses usually have.

/// A provider that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// The word in `provider:` and before the colon of a model's name.
    pub name: &'static str,
    /// Variables that may hold the key, the first being the one to name in messages; empty where none is read.
    pub key_variables: &'static [&'static str],
    /// Variables that may hold the base URL.
    pub base_variables: &'static [&'static str],
    /// The base URL where none is given; empty where there is none.
    pub default_base: &'static str,
    /// The path of a base URL up to and including the version.
    pub path: &'static str,
    /// Whether it answers without a key.
    pub key_optional: bool,
    /// Dated versions of its API, where they are named apart from the path.
    pub versions: Option<Versions>,
}

/// How a provider's API is asked for in a version of a certain date (`?api-version=2024-10-21`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Variables that may hold the version.
    pub variables: &'static [&'static str],
    /// The path of a base URL where a dated version is asked for, which then is no part of the path.
    pub path: &'static str,
}

const fn with_key(
    name: &'static str,
    key_variables: &'static [&'static str],
    base_variables: &'static [&'static str],
    default_base: &'static str,
    path: &'static str,
) -> Provider {
    Provider { name, key_variables, base_variables, default_base, path, key_optional: false, versions: None }
}

const fn without_key(
    name: &'static str,
    key_variables: &'static [&'static str],
    base_variables: &'static [&'static str],
    default_base: &'static str,
) -> Provider {
    Provider { name, key_variables, base_variables, default_base, path: "/v1", key_optional: true, versions: None }
}

/// Those of the environment first, in the order in which its accounts are tried; then those that only a file can name.
/// `grok` means Groq's host, as it always did here; `groq` and `xai` say which of the two they mean.
const PROVIDERS: &[Provider] = &[
    with_key("cerebras", &["CEREBRAS_API_KEY"], &["CEREBRAS_BASE_URL"], "https://api.cerebras.ai", "/v1"),
    with_key("deepinfra", &["DEEPINFRA_TOKEN"], &["DEEPINFRA_BASE_URL"], "https://api.deepinfra.com", "/v1/openai"),
    with_key("openai", &["OPENAI_API_KEY", "EXTERNAL_OPENAI_KEY"], &["OPENAI_BASE_URL"], "https://api.openai.com", "/v1"),
    with_key(
        "anthropic",
        &["ANTHROPIC_API_KEY", "EXTERNAL_ANTHROPIC_KEY"],
        &["ANTHROPIC_API_BASE_URL", "ANTHROPIC_BASE_URL"],
        "https://api.anthropic.com",
        "/v1",
    ),
    with_key(
        "google",
        &["GOOGLE_API_KEY", "GEMINI_API_KEY", "EXTERNAL_GOOGLE_KEY"],
        &["GOOGLE_API_BASE_URL", "GOOGLE_BASE_URL"],
        "https://generativelanguage.googleapis.com",
        "/v1beta",
    ),
    with_key(
        "openrouter",
        &["OPENROUTER_API_KEY", "EXTERNAL_OPENROUTER_KEY"],
        &["OPENROUTER_BASE_URL"],
        "https://openrouter.ai",
        "/api/v1",
    ),
    with_key("grok", &["GROK_API_KEY", "EXTERNAL_GROK_KEY"], &["GROK_BASE_URL"], "https://api.groq.com", "/openai/v1"),
    with_key("venice", &["VENICE_API_KEY", "EXTERNAL_VENICE_KEY"], &["VENICE_BASE_URL"], "https://api.venice.ai", "/api/v1"),
    with_key("groq", &["GROQ_API_KEY"], &["GROQ_BASE_URL"], "https://api.groq.com", "/openai/v1"),
    with_key("xai", &["XAI_API_KEY"], &["XAI_BASE_URL"], "https://api.x.ai", "/v1"),
    with_key("mistral", &["MISTRAL_API_KEY"], &["MISTRAL_BASE_URL"], "https://api.mistral.ai", "/v1"),
    with_key("deepseek", &["DEEPSEEK_API_KEY"], &["DEEPSEEK_BASE_URL"], "https://api.deepseek.com", "/v1"),
    with_key("together", &["TOGETHER_API_KEY"], &["TOGETHER_BASE_URL"], "https://api.together.xyz", "/v1"),
    with_key("fireworks", &["FIREWORKS_API_KEY"], &["FIREWORKS_BASE_URL"], "https://api.fireworks.ai", "/inference/v1"),
    Provider {
        versions: Some(Versions { variables: &["AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"], path: "/openai" }),
        ..with_key("azure", &["AZURE_OPENAI_API_KEY"], &["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"], "", "/openai/v1")
    },
    without_key("llm-d", &["LLM_D_API_KEY"], &["LLMD_ENDPOINT", "LLM_D_BASE_URL"], ""),
    without_key("vllm", &["VLLM_API_KEY"], &["VLLM_BASE_URL"], ""),
    without_key("agent", &[], &["LOCAL_AGENT_URL"], "http://localhost:5000"),
    without_key("backend", &["BACKEND_API_KEY"], &["BACKEND_BASE_URL"], ""),
    without_key("ollama", &["OLLAMA_API_KEY"], &["OLLAMA_BASE_URL"], "http://localhost:11434"),
    with_key("openai-codex", &[], &[], "https://chatgpt.com/backend-api", ""),
];

/// Every provider that is known by name, in the order in which the environment's accounts are tried.
pub fn providers() -> &'static [Provider] {
    PROVIDERS
}

/// The provider of that name.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|p| p.name == name)
}

/// Where a provider lets people log in, and gives and renews the tokens of their accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OauthHome {
    /// Where somebody says yes, in a browser.
    pub authorize_url: &'static str,
    /// Where tokens are given and renewed.
    pub token_url: &'static str,
    /// Whom they are given to.
    pub client_id: &'static str,
    /// What is asked for, with blanks between.
    pub scope: &'static str,
    /// Where the browser is sent back to; the client is known with this address only.
    pub redirect_uri: &'static str,
}

/// The provider of a subscription that people log in to.
pub const SUBSCRIPTION: &str = "openai-codex";

/// What its own client uses: <https://github.com/openai/codex>, `codex-rs/login`.
const OPENAI_HOME: OauthHome = OauthHome {
    authorize_url: "https://auth.openai.com/oauth/authorize",
    token_url: "https://auth.openai.com/oauth/token",
    client_id: "app_EMoamEEZ73f0CkXaXp7hrann",
    scope: "openid profile email offline_access",
    redirect_uri: "http://localhost:1455/auth/callback",
};

/// The provider's own, where it is known.
pub fn oauth_home(name: &str) -> Option<&'static OauthHome> {
    [SUBSCRIPTION, "openai", "chatgpt"].contains(&name).then_some(&OPENAI_HOME)
}

/// What a prefix of a model's name means: itself, or the provider that a known misspelling stands for.
pub fn meant(prefix: &str) -> &str {
    if prefix == "ahtnorpic" { "anthropic" } else { prefix }
}

/// The path of a provider's base URLs, `/v1` for one that is not known. `api_version` is what was asked for, if anything was.
pub(crate) fn usual_path(name: &str, api_version: Option<&str>) -> &'static str {
    let Some(known) = provider(name) else { return "/v1" };
    match (known.versions, api_version) {
        (Some(versions), Some(version)) if is_dated(version) => versions.path,
        _ => known.path,
    }
}

/// Whether a version names a day (`2024-10-21`, `2025-04-01-preview`); others (`preview`, `latest`, `v1`) belong to the undated path.
pub(crate) fn is_dated(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
}
