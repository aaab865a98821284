//! What is sent: the caller's bytes on the raw lane, or a translation.

use std::sync::Arc;

use bytes::Bytes;
use journey::{Far, Forwarded, Operation, Request};
use upstream::Account;
use wire::{Code, Dialect, Failure, ToolNames, capsule, gemini, head::Edits, ir::Reasoning, json, losses::Losses};

use crate::{
    luggage::{origin, unseal},
    memory::{Context, Scope},
    run::Dispatch,
};

/// Where a letter goes.
pub(crate) struct Address<'a> {
    pub(crate) wire: Dialect,
    /// The model's name there.
    pub(crate) model: &'a Arc<str>,
    /// It knows `stream_options.include_usage`.
    pub(crate) knows_usage: bool,
    /// Whose peculiarities a translated body is fitted to; nodes have none.
    pub(crate) account: Option<&'a Account>,
    /// The rules of translations, and what was kept of conversations.
    pub(crate) d: &'a Dispatch<'a>,
}

impl Address<'_> {
    /// Whose conversation with whom.
    fn scope(&self) -> Scope {
        let caller = self.d.caller.cloned().unwrap_or_else(|| "anyone".into());
        Scope { caller, origin: origin(self.account.map(|account| &*account.name), self.model).into() }
    }

    /// What it takes to read an answer that is in the caller's dialect already.
    pub(crate) fn plain(&self) -> Translation {
        Translation {
            wire: self.wire,
            scope: self.scope(),
            context: Context::default(),
            far: None,
            choices: 1,
            names: ToolNames::default(),
        }
    }

    /// Tokens that the model writes at most, where the operator said so of one of its names.
    fn output_max(&self, asked: &str) -> Option<u32> {
        let known = &self.d.rules.output_max;
        known.get(&**self.model).or_else(|| known.get(asked)).copied()
    }
}

/// What it takes to read the answer to a translated request.
#[derive(Debug)]
pub(crate) struct Translation {
    /// The wire that the answer comes on.
    pub(crate) wire: Dialect,
    pub(crate) scope: Scope,
    /// The conversation that the answer goes on with.
    pub(crate) context: Context,
    /// Where the upstream's words are kept, if they are.
    pub(crate) far: Option<Arc<Far>>,
    /// How many answers were asked for.
    pub(crate) choices: u32,
    /// Functions whose names were too long for the wire.
    pub(crate) names: ToolNames,
}

/// A body for a wire.
#[derive(Debug, Default)]
pub(crate) struct Letter {
    /// Below the upstream's base URL.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// The extra usage frame was asked for by the router and is for the router alone.
    pub(crate) strip_usage: bool,
    /// None where the answer is in the caller's dialect.
    pub(crate) translation: Option<Translation>,
    /// What the translation cannot carry.
    pub(crate) losses: Losses,
}

impl Letter {
    /// Writes a request for an upstream.
    ///
    /// # Errors
    /// [`Code::Unsupported`] where the wire has no such operation, [`Code::LossyTranslation`] where `strict` refuses, and what the
    /// caller's dialect finds wrong with the body.
    pub(crate) fn write(request: &Request, to: &Address<'_>) -> Result<Self, Failure> {
        let wire = to.wire;
        match request.operation {
            Operation::Completions if wire != Dialect::Chat => Self::translated(request, to, None),
            Operation::Embeddings if wire != Dialect::Chat => {
                let message = format!("{} cannot be asked of an account that speaks `{}`", request.operation.name(), wire.name());
                Err(Failure::new(Code::Unsupported, message).at("model"))
            }
            Operation::Completions => Ok(Self::raw(request, to, "/completions".to_owned())),
            Operation::Embeddings => Ok(Self::raw(request, to, "/embeddings".to_owned())),
            Operation::Other => {
                let path = request.forwarded.as_ref().map_or("/", Forwarded::path);
                if to.account.is_some() && !matches!(wire, Dialect::Chat | Dialect::Responses) {
                    let message = format!("`{path}` cannot be asked of an account that speaks `{}` only", wire.name());
                    return Err(Failure::new(Code::Unsupported, message).at("model"));
                }
                Ok(Self::raw(request, to, path.to_owned()))
            }
            Operation::Count(dialect) if dialect == wire => Ok(Self::raw(request, to, Self::count_path(to))),
            Operation::Count(_) => Self::counting(request, to),
            Operation::Generate(dialect) if dialect == wire && Self::passes(request, to) => {
                let path = Self::path(request, to);
                Ok(Self::raw(request, to, path))
            }
            Operation::Generate(dialect) => Self::translated(request, to, Some(dialect)),
        }
    }

    fn count_path(to: &Address<'_>) -> String {
        if to.wire == Dialect::Gemini { gemini::path(to.model, "countTokens") } else { "/messages/count_tokens".to_owned() }
    }

    /// A question for the number of tokens in another dialect. What gets lost on the way is not counted.
    fn counting(request: &Request, to: &Address<'_>) -> Result<Self, Failure> {
        let mut inner = request.inner()?.clone();
        to.wire.check_request(&inner)?;
        to.model.as_ref().clone_into(&mut inner.model);
        let mut losses = Losses::default();
        unseal(&mut inner, &to.scope().origin, &mut losses);
        ToolNames::fit(&mut inner, to.wire);
        let body = to.wire.encode_count(&inner, &mut losses);
        Ok(Self { path: Self::count_path(to), body: json::text(&body).into(), losses, ..Self::default() })
    }

    /// Whether the body may go as it is: not with state of another provider's in it, nor to a server with rules that no client keeps by itself
    /// (streams only, nothing stored).
    fn passes(request: &Request, to: &Address<'_>) -> bool {
        !to.account.is_some_and(Account::only_streams) && !capsule::may_hold(&request.body)
    }

    fn path(request: &Request, to: &Address<'_>) -> String {
        let path = to.wire.path(to.model, request.head.stream);
        // A caller of the same dialect gets the form of stream that it asked for.
        let as_array = request.operation.dialect() == to.wire && request.in_path.as_ref().is_some_and(|p| p.as_array);
        if as_array { path.trim_end_matches("?alt=sse").to_owned() } else { path }
    }

    fn raw(request: &Request, to: &Address<'_>, path: String) -> Self {
        let head = &request.head;
        // Usage is always asked of a stream: records and limits need it.
        let has_option = to.wire == Dialect::Chat && matches!(request.operation, Operation::Generate(_) | Operation::Completions);
        let add_usage = has_option && head.stream && to.knows_usage && !head.include_usage;
        // Gemini's model stands in the path.
        let named = request.in_path.is_none().then_some(&**to.model);
        let body = head.rewrite(&request.body, Edits { model: named, include_usage: add_usage });
        Self { path, body, strip_usage: add_usage, translation: None, losses: Losses::default() }
    }

    /// `dialect` is the caller's; text completions have none of the four.
    fn translated(request: &Request, to: &Address<'_>, dialect: Option<Dialect>) -> Result<Self, Failure> {
        let mut inner = request.inner()?.clone();
        to.wire.check_request(&inner)?;
        to.model.as_ref().clone_into(&mut inner.model);
        let only_streams = to.account.is_some_and(Account::only_streams);
        inner.stream |= only_streams;
        inner.stream_usage = inner.stream && to.knows_usage;
        let mut losses = Losses::default();
        if json::has_wide_numbers(&request.body) {
            losses.change("numbers");
        }
        let scope = to.scope();
        let is_thoughtless = unseal(&mut inner, &scope.origin, &mut losses);
        // Messages refuses thinking with a budget in the middle of a turn that does not begin with thoughts.
        if is_thoughtless
            && dialect == Some(to.wire)
            && to.wire == Dialect::Messages
            && inner.reasoning.budget_tokens.is_some_and(|n| n > 0)
        {
            inner.reasoning = Reasoning::default();
            losses.drop("reasoning");
        }
        let mut context = Context::default();
        if to.wire != Dialect::Chat {
            context = to.d.memory.context(&inner.messages);
            to.d.memory.restore(&scope, &mut inner);
        }
        let names = ToolNames::fit(&mut inner, to.wire);
        let mut body = to.wire.encode_request_within(&inner, to.output_max(request.model()), &mut losses);
        if let Some(account) = to.account {
            account.fit(to.wire, &inner.reasoning, &mut body, &mut losses);
        }
        if request.strict && !losses.is_exact() {
            let message = format!("`strict` refuses this translation to `{}`: {}", to.wire.name(), losses.header());
            return Err(Failure::new(Code::LossyTranslation, message));
        }
        let is_foreign = dialect != Some(to.wire);
        let strip_usage = !is_foreign && inner.stream_usage && !request.head.include_usage && to.wire == Dialect::Chat;
        let choices = body["n"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(1);
        let translation = (is_foreign || only_streams).then_some(Translation { wire: to.wire, scope, context, far: None, choices, names });
        Ok(Self { path: Self::path(request, to), body: json::text(&body).into(), strip_usage, translation, losses })
    }
}
