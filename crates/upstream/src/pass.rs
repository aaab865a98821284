//! Which of a client's headers may travel to an upstream. Everything that is not named here stays behind: credentials, cookies and
//! whatever else belongs between the client and the router.

use http::HeaderName;
use wire::Dialect;

/// The wires on which a header may be seen.
const EVERYWHERE: &[Dialect] = &Dialect::ALL;
const OPENAI: &[Dialect] = &[Dialect::Chat, Dialect::Responses];
const MESSAGES: &[Dialect] = &[Dialect::Messages];
const GEMINI: &[Dialect] = &[Dialect::Gemini];

/// The whole list.
pub(crate) const PASSED: [(&str, &[Dialect]); 11] = [
    ("traceparent", EVERYWHERE),
    ("tracestate", EVERYWHERE),
    ("idempotency-key", EVERYWHERE),
    ("openai-organization", OPENAI),
    ("openai-project", OPENAI),
    ("openai-beta", OPENAI),
    ("anthropic-version", MESSAGES),
    ("anthropic-beta", MESSAGES),
    ("x-goog-user-project", GEMINI),
    ("x-goog-api-client", GEMINI),
    ("x-goog-request-params", GEMINI),
];

/// Never passed, whatever a row says.
pub(crate) const NEVER: [&str; 8] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key", "x-forwarded-for", "host"];

/// Those that say whose call it is or which, and change nothing of what is answered.
const TRACES: [&str; 4] = ["traceparent", "tracestate", "idempotency-key", "x-goog-api-client"];

/// The headers of a client that may change what an upstream answers, whoever that is.
pub fn shaping() -> impl Iterator<Item = HeaderName> {
    PASSED.iter().map(|(name, _)| *name).filter(|name| !TRACES.contains(name)).map(HeaderName::from_static)
}

/// Whether a client's header may travel on a wire, whoever the provider is.
pub fn may_pass(wire: Dialect, name: &HeaderName) -> bool {
    PASSED.iter().any(|(own, wires)| *own == name.as_str() && wires.contains(&wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_sees_its_own() {
        let seen =
            |name: &str| -> Vec<Dialect> { Dialect::ALL.into_iter().filter(|wire| may_pass(*wire, &name.parse().unwrap())).collect() };
        assert_eq!(seen("traceparent"), Dialect::ALL);
        assert_eq!(seen("OpenAI-Beta"), OPENAI);
        assert_eq!(seen("anthropic-beta"), MESSAGES);
        assert_eq!(seen("x-goog-user-project"), GEMINI);
        for name in NEVER.into_iter().chain(["content-type", "accept", "user-agent", "x-request-id", "baggage"]) {
            assert_eq!(seen(name), [], "{name}");
        }
    }

    #[test]
    fn no_row_lets_a_secret_pass() {
        for row in crate::catalog::providers() {
            assert!(row.passes.iter().all(|name| !NEVER.contains(name)), "{}", row.name);
        }
    }
}
