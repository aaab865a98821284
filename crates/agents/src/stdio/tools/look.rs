//! How the router does, and what it did.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{list_as, list_schema, object, part, with_query};
use crate::stdio::{
    router::Trouble,
    typed::{Call, Effect, Typed},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestExplain {
    /// The request's id: `x-request-id` of the answer, `id` in request_history.
    request_id: String,
}

impl Typed for RequestExplain {
    const NAME: &'static str = "request_explain";
    const TITLE: &'static str = "Explain a request";
    const DESCRIPTION: &'static str =
        "The whole decision of a past request: candidates, attempts and how each ended, timings, tokens, losses.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get(format!("/api/requests/{}/explain", part(&self.request_id)?)))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"request_id": {"type": "string"}, "status": {"type": "integer"}, "attempts": {"type": ["array", "null"]}},
            "required": ["request_id"]
        })
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestHistory {
    /// Part of a model's name.
    model: Option<String>,
    /// A node's id.
    node_id: Option<String>,
    /// An account's or node's name.
    account: Option<String>,
    /// A key's id or name.
    key: Option<String>,
    /// success, error or cancelled.
    status: Option<Outcome>,
    /// A text in ids, names and errors.
    search: Option<String>,
    /// RFC 3339.
    start_time: Option<String>,
    /// RFC 3339.
    end_time: Option<String>,
    /// From 1.
    page: Option<u64>,
    /// Records on a page: 20 if not said, at most 100.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Error,
    Cancelled,
}

/// Records on a page: if nothing is said, and at most.
const RECORDS: (u64, u64) = (20, 100);

impl Typed for RequestHistory {
    const NAME: &'static str = "request_history";
    const TITLE: &'static str = "Look up requests";
    const DESCRIPTION: &'static str =
        "Past requests, newest first: model, service, key, status, duration, tokens, cost. Filters narrow it down.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        let limit = self.limit.unwrap_or(RECORDS.0);
        if !(1..=RECORDS.1).contains(&limit) {
            return Err(Trouble::invalid(format!("`limit` is from 1 to {}", RECORDS.1)));
        }
        let offset = (self.page.unwrap_or(1).max(1) - 1).saturating_mul(limit);
        let status = self.status.map(|status| match status {
            Outcome::Success => "success".to_owned(),
            Outcome::Error => "error".to_owned(),
            Outcome::Cancelled => "cancelled".to_owned(),
        });
        let pairs = [
            ("model", self.model.clone()),
            ("node_id", self.node_id.clone()),
            ("account", self.account.clone()),
            ("key", self.key.clone()),
            ("status", status),
            ("search", self.search.clone()),
            ("start_time", self.start_time.clone()),
            ("end_time", self.end_time.clone()),
            ("limit", Some(limit.to_string())),
            ("offset", Some(offset.to_string())),
        ];
        Ok(Call::get(with_query("/api/dashboard/request-responses", &pairs)))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {
                "records": {"type": "array", "items": {"type": "object"}},
                "total_count": {"type": "integer", "description": "Records on all pages"}
            },
            "required": ["records", "total_count"]
        })
    }

    fn shape(self, mut said: Value) -> Result<Value, Trouble> {
        let mut shaped = list_as("records", said["records"].take())?;
        shaped["total_count"] = said["total_count"].as_u64().unwrap_or(0).into();
        Ok(shaped)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    /// By what the sums are grouped: day if not said.
    group_by: Option<Group>,
    /// RFC 3339.
    start_time: Option<String>,
    /// RFC 3339.
    end_time: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Group {
    Key,
    Model,
    Account,
    Day,
}

impl Typed for Usage {
    const NAME: &'static str = "usage";
    const TITLE: &'static str = "Usage and cost";
    const DESCRIPTION: &'static str =
        "Sums of requests, tokens and cost by key, model, account or day. A key that may not read sees its own use.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        let group = match self.group_by.unwrap_or(Group::Day) {
            Group::Key => "key",
            Group::Model => "model",
            Group::Account => "account",
            Group::Day => "day",
        };
        let pairs = [("group_by", Some(group.to_owned())), ("start_time", self.start_time.clone()), ("end_time", self.end_time.clone())];
        Ok(Call::get(with_query("/api/usage", &pairs)))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"rows": {"type": "array", "items": {"type": "object"}}, "totals": {"type": "object"}},
            "required": ["rows"]
        })
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouterHealth {}

impl Typed for RouterHealth {
    const NAME: &'static str = "router_health";
    const TITLE: &'static str = "Health of the services";
    const DESCRIPTION: &'static str =
        "How the services behind the router do: healthy, degraded or not, requests, failures, and whether they are left alone.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/router/health"))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"overall_status": {"type": "string"}, "services": {"type": "object"}},
            "required": ["overall_status", "services"]
        })
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListNodes {}

impl Typed for ListNodes {
    const NAME: &'static str = "list_nodes";
    const TITLE: &'static str = "List nodes";
    const DESCRIPTION: &'static str = "The inference nodes, agents and adopted servers, with state, models and load.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/api/nodes"))
    }

    fn output() -> Value {
        list_schema("nodes", "Every registered node")
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        list_as("nodes", said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeHealth {
    /// The node's id or name.
    node: String,
}

impl Typed for NodeHealth {
    const NAME: &'static str = "node_health";
    const TITLE: &'static str = "Health of a node";
    const DESCRIPTION: &'static str = "State, load, memory and models of one node.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/api/nodes"))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"id": {"type": "string"}, "state": {"type": "string"}},
            "required": ["id"]
        })
    }

    fn shape(self, mut said: Value) -> Result<Value, Trouble> {
        let nodes = said.as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_meant = |node: &Value| ["id", "custom_name", "machine_name"].iter().any(|name| node[*name].as_str() == Some(&*self.node));
        let mut meant = nodes.into_iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (Some(node), None) => Ok(node),
            (None, _) => Err(Trouble::invalid(format!("no node is called `{}`; list_nodes has them all", self.node))),
            (Some(_), Some(_)) => Err(Trouble::invalid(format!("several nodes are called `{}`: use an id of list_nodes", self.node))),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisteredModels {}

impl Typed for RegisteredModels {
    const NAME: &'static str = "registered_models";
    const TITLE: &'static str = "Models with files here";
    const DESCRIPTION: &'static str = "Models whose files the router keeps or is bringing from the hub, with progress and errors.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/api/models/registered"))
    }

    fn output() -> Value {
        list_schema("models", "Every model that was registered")
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        list_as("models", said)
    }
}
