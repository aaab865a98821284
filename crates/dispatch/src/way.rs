//! The ways to targets.

use std::sync::Arc;

use fleet::{InFlight, Peer, Speaks};
use http::{HeaderValue, Request as HttpRequest, header};
use journey::{Operation, Pick, Request};
use upstream::Account;
use wire::{Dialect, Failure};

use crate::{
    letter::{Address, Letter},
    resume::Again,
    run::Dispatch,
};

/// A target with its request made.
pub(crate) struct Way<'a> {
    pub(crate) name: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) model: Arc<str>,
    pub(crate) timeouts: net::Timeouts,
    pub(crate) request: HttpRequest<net::Body>,
    pub(crate) guard: Option<InFlight>,
    /// The node, where it is one, and why it was taken.
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) pick: Option<Pick>,
    /// What it takes to go on elsewhere, where that is wanted.
    pub(crate) again: Option<Box<Again>>,
    /// Of a node: there are targets beside the fleet.
    pub(crate) has_others: bool,
    pub(crate) letter: Letter,
    pub(crate) wire: Dialect,
    /// Nodes have none.
    pub(crate) account: Option<&'a Account>,
}

impl<'a> Way<'a> {
    /// The way to an account.
    pub(crate) fn to_account(d: &Dispatch<'_>, account: &'a Account, model: &Arc<str>, request: &Request) -> Result<Self, Failure> {
        let wire = wire_for(d, account, model, request);
        let knows_usage = account.knows_stream_usage();
        let address = Address { wire, model, knows_usage, account: Some(account), d };
        let letter = Letter::write(request, &address)?;
        let mut built = match &request.upload {
            Some(form) => {
                account.post_form(wire, &letter.path, model, net::Body::stream(form.reader(model)), form.content_type().clone())?
            }
            None => account.post(wire, &letter.path, letter.body.clone(), request.head.stream)?,
        };
        account.pass(wire, d.headers, built.headers_mut());
        account.lend(wire, d.headers, d.may_leave, built.headers_mut())?;
        if request.operation == Operation::Other {
            let wanted = d.headers.get(header::ACCEPT).cloned();
            built.headers_mut().insert(header::ACCEPT, wanted.unwrap_or(HeaderValue::from_static("*/*")));
        }
        Ok(Self {
            name: account.name.clone(),
            provider: account.provider.clone(),
            node: None,
            model: model.clone(),
            timeouts: account.timeouts_of(request.head.stream),
            request: built,
            guard: None,
            peer: None,
            pick: None,
            again: None,
            has_others: false,
            letter,
            wire,
            account: Some(account),
        })
    }

    /// The way to a node or agent.
    pub(crate) fn to_node(
        d: &Dispatch<'_>,
        peer: &Arc<Peer>,
        (guard, pick): (InFlight, Pick),
        has_others: bool,
        model: &Arc<str>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let is_node = peer.speaks == Speaks::OpenAi;
        let address = Address { wire: Dialect::Chat, model, knows_usage: is_node, account: None, d };
        let mut letter = Letter::write(request, &address)?;
        let again = if Again::is_wanted(d, request, peer) { Again::of(d, request, peer, &mut letter, address.plain()) } else { None };
        if !is_node && request.operation == Operation::Other {
            let message = format!("`{}` answers chats only", peer.name);
            return Err(Failure::new(wire::Code::Unsupported, message).at("model"));
        }
        let body = match &request.upload {
            Some(form) => net::Body::stream(form.reader(model)),
            None => net::Body::from(letter.body.clone()),
        };
        let mut built = node_request(peer, &letter.path, body)?;
        let headers = built.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(form) = &request.upload {
            headers.insert(header::CONTENT_TYPE, form.content_type().clone());
        }
        Ok(Self {
            name: peer.name.clone(),
            provider: if is_node { "node".into() } else { "agent".into() },
            node: Some(peer.id.clone()),
            model: model.clone(),
            timeouts: if request.head.stream { d.rules.node_stream_timeouts } else { d.rules.node_timeouts },
            request: built,
            guard: Some(guard),
            peer: Some(peer.clone()),
            pick: Some(pick),
            again,
            has_others,
            letter,
            wire: Dialect::Chat,
            account: None,
        })
    }
}

/// A request for a node, with the router's proof; its path is below the version. Agents that speak no dialect have one path only.
pub(crate) fn node_request(peer: &Peer, path: &str, body: net::Body) -> Result<HttpRequest<net::Body>, Failure> {
    let url = if peer.speaks == Speaks::OpenAi { format!("{}/v1{path}", peer.url) } else { format!("{}/infer", peer.url) };
    let mut request = HttpRequest::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = url
        .parse()
        .map_err(|_| Failure::new(wire::Code::UpstreamError, format!("the address of the node `{}` is not usable", peer.name)))?;
    if let Ok(mut proof) = HeaderValue::from_str(&format!("Bearer {}", peer.router_secret))
        && !peer.router_secret.is_empty()
    {
        proof.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, proof);
    }
    Ok(request)
}

/// The caller's own wire where the account speaks it. Some models think with tools at hand on Responses only, as the operator has said.
fn wire_for(d: &Dispatch<'_>, account: &Account, model: &str, request: &Request) -> Dialect {
    let wire = account.wire_for(request.operation.dialect());
    let is_chat = wire == Dialect::Chat && request.operation == Operation::Generate(Dialect::Chat);
    let is_flagged =
        || d.rules.thinking_tools_on_responses.contains(model) || d.rules.thinking_tools_on_responses.contains(request.model());
    let thinks_with_tools =
        || request.inner().is_ok_and(|inner| !inner.tools.is_empty() && inner.reasoning.effort.as_deref().is_some_and(|e| e != "none"));
    let speaks_it = || account.wire_for(Dialect::Responses) == Dialect::Responses;
    if is_chat && is_flagged() && speaks_it() && thinks_with_tools() { Dialect::Responses } else { wire }
}
