//! Who may use the node: its router, or everybody on this machine where it stands alone.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, Uri, header::AUTHORIZATION};
use models::ticket;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use wire::{Code, Failure};

/// The address that a connection came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The rule for inference, model loading and logs. Health, metrics and the list of models are open.
#[derive(Debug, Clone, Default)]
pub struct Access {
    is_standalone: bool,
    /// Without a secret it is open to this machine and private networks: routers of the older kind have none.
    is_agent: bool,
    secret: Arc<Mutex<Option<String>>>,
    /// What the node shows its router.
    node_token: watch::Sender<Option<String>>,
}

impl Access {
    /// Stand-alone: open to this machine, closed to others. Else: open to the router, once it has said its secret.
    pub fn new(is_standalone: bool) -> Self {
        Self { is_standalone, ..Self::default() }
    }

    /// An agent: open to its neighbours until a router says a secret.
    pub fn of_agent() -> Self {
        Self { is_agent: true, ..Self::default() }
    }

    /// Whether this node joined as an agent: by names of its own choice.
    pub(crate) fn is_agent(&self) -> bool {
        self.is_agent
    }

    /// The router's secret, from its answer to the registration.
    pub fn set_secret(&self, secret: Option<String>) {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = secret.filter(|secret| !secret.is_empty());
    }

    /// The node's own token, from the same answer.
    pub fn set_node_token(&self, token: &str) {
        self.node_token.send_replace(Some(token.to_owned()));
    }

    /// That token, as soon as the node is registered.
    pub async fn node_token(&self) -> String {
        let mut changes = self.node_token.subscribe();
        // The sender is ours: it does not go before we do.
        changes.wait_for(Option::is_some).await.ok().and_then(|token| token.clone()).unwrap_or_default()
    }

    /// Whether a request for a model's file shows a ticket that the router has made with this node's secret.
    pub(super) fn has_ticket(&self, uri: &Uri) -> bool {
        let Some(model) = uri.path().strip_prefix("/api/models/blob/") else { return false };
        let value = |name: &str| uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let (Some(ticket), Some(expires_s)) = (value("ticket"), value("expires").and_then(|text| text.parse().ok())) else { return false };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs());
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        secret.as_deref().is_some_and(|secret| ticket::is_good(secret, model, expires_s, ticket, now_s))
    }

    pub(super) fn check(&self, path: &str, peer: Option<Peer>, headers: &HeaderMap) -> Result<(), Failure> {
        if !is_guarded(path) {
            return Ok(());
        }
        if self.is_standalone {
            let is_local = peer.is_some_and(|Peer(address)| is_loopback(address.ip()));
            let said = "a stand-alone node answers this machine only: join it to a router to use it from elsewhere";
            return if is_local { Ok(()) } else { Err(Failure::new(Code::PermissionDenied, said)) };
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        match (secret.as_deref(), shown) {
            (None, _) if self.is_agent && peer.is_some_and(|Peer(address)| is_near(address.ip())) => Ok(()),
            (Some(secret), Some(shown)) if bool::from(secret.as_bytes().ct_eq(shown.as_bytes())) => Ok(()),
            (_, Some(_)) => Err(Failure::new(Code::InvalidApiKey, "this is not the router's secret: a node is used through its router")),
            (_, None) => Err(Failure::new(Code::InvalidApiKey, "no secret was shown: a node is used through its router")),
        }
    }
}

fn is_guarded(path: &str) -> bool {
    let is_model_list = path == "/v1/models" || path.starts_with("/v1/models/");
    (path.starts_with("/v1/") && !is_model_list)
        || path.starts_with("/api/")
        || ["/log/level", "/infer", "/tokenize", "/detokenize", "/apply-template"].contains(&path)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, path: &str, peer: &str, shown: Option<&str>) -> Option<Code> {
        let mut headers = HeaderMap::new();
        if let Some(shown) = shown {
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
        }
        access.check(path, Some(Peer(peer.parse().unwrap())), &headers).err().map(|failure| failure.code)
    }

    #[test]
    fn an_agent_is_open_to_its_neighbours_until_a_router_says_a_secret() {
        let agent = Access::of_agent();
        assert_eq!(check(&agent, "/infer", "10.0.0.7:1", None), None);
        assert_eq!(check(&agent, "/infer", "203.0.113.9:1", None), Some(Code::InvalidApiKey));
        agent.set_secret(Some("s".to_owned()));
        assert_eq!(check(&agent, "/infer", "127.0.0.1:1", None), Some(Code::InvalidApiKey));
        assert_eq!(check(&agent, "/infer", "203.0.113.9:1", Some("Bearer s")), None);
    }

    #[test]
    fn alone_it_answers_this_machine_only() {
        let alone = Access::new(true);
        for (peer, wanted) in
            [("127.0.0.1:9", None), ("[::1]:9", None), ("[::ffff:127.0.0.1]:9", None), ("10.0.0.1:9", Some(Code::PermissionDenied))]
        {
            assert_eq!(check(&alone, "/v1/chat/completions", peer, None), wanted, "{peer}");
        }
        assert_eq!(check(&alone, "/health", "10.0.0.1:9", None), None);
    }

    #[test]
    fn with_a_router_only_its_secret_opens() {
        let access = Access::new(false);
        let chat = |shown| check(&access, "/v1/chat/completions", "127.0.0.1:9", shown);
        assert_eq!(chat(Some("Bearer s")), Some(Code::InvalidApiKey));
        access.set_secret(Some("s".to_owned()));
        assert_eq!([chat(Some("Bearer s")), chat(Some("bearer  s"))], [None, None]);
        for wrong in [None, Some("Bearer t"), Some("Bearer "), Some("Basic s"), Some("s")] {
            assert_eq!(chat(wrong), Some(Code::InvalidApiKey), "{wrong:?}");
        }
        access.set_secret(Some(String::new()));
        assert_eq!(chat(Some("Bearer ")), Some(Code::InvalidApiKey));
    }

    #[test]
    fn a_ticket_opens_one_models_files() {
        let access = Access::new(false);
        let ticket = ticket::sign("s", "tiny", 99_999_999_999);
        let shown =
            |path: &str, ticket: &str| access.has_ticket(&format!("{path}?expires=99999999999&ticket={ticket}&part=1").parse().unwrap());
        assert!(!shown("/api/models/blob/tiny", &ticket), "no secret yet");
        access.set_secret(Some("s".to_owned()));
        assert!(shown("/api/models/blob/tiny", &ticket));
        for (path, ticket) in [
            ("/api/models/blob/other", ticket.as_str()),
            ("/api/models/load", &ticket),
            ("/api/models/blob/tiny", "00"),
            ("/api/models/blob/tiny", ""),
        ] {
            assert!(!shown(path, ticket), "{path}");
        }
        let old = ticket::sign("s", "tiny", 1);
        assert!(!access.has_ticket(&format!("/api/models/blob/tiny?expires=1&ticket={old}").parse().unwrap()));
    }

    #[test]
    fn what_is_open_and_what_is_guarded() {
        let guarded = [
            "/v1/completions",
            "/v1/embeddings",
            "/v1/rerank",
            "/tokenize",
            "/detokenize",
            "/apply-template",
            "/api/models/load",
            "/api/logs",
            "/log/level",
            "/v1/models-x",
        ];
        let open = ["/v1/models", "/v1/models/a/b", "/health", "/startup", "/metrics", "/metrics/prom", "/slots", "/nope"];
        assert!(guarded.iter().all(|path| is_guarded(path)) && !open.iter().any(|path| is_guarded(path)));
    }
}
