//! What changes the router. All of it needs an administrator's credentials.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{list_as, list_schema, object, part};
use crate::stdio::{
    router::Trouble,
    typed::{Call, Effect, Typed},
};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterModel {
    /// `owner/name` on the hub.
    repo: String,
    /// A GGUF file of it; chosen where neither file nor quantization is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// A quantization instead of a file, such as Q4_K_M.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<String>,
    /// A branch, tag or commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
}

impl Typed for RegisterModel {
    const NAME: &'static str = "register_model";
    const TITLE: &'static str = "Register a model of the hub";
    const DESCRIPTION: &'static str = "Registers a GGUF model of the hub; its file is brought behind the answer, which may be gigabytes. registered_models shows how far it is.";
    const EFFECT: Effect = Effect::Adds;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::send(Method::POST, "/api/models/register", Some(json!(self))))
    }

    fn output() -> Value {
        json!({"type": "object", "properties": {"name": {"type": "string"}, "status": {"type": "string"}}})
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainNode {
    /// The node's id.
    node_id: String,
    /// True: it gets nothing new and finishes what it has. False: it gets requests again.
    draining: bool,
}

impl Typed for DrainNode {
    const NAME: &'static str = "drain_node";
    const TITLE: &'static str = "Drain a node";
    const DESCRIPTION: &'static str = "Sends a node nothing new, or sends it requests again.";
    const EFFECT: Effect = Effect::Adds;

    fn call(&self) -> Result<Call, Trouble> {
        let path = format!("/api/nodes/{}/drain", part(&self.node_id)?);
        Ok(Call::send(Method::POST, path, Some(json!({"draining": self.draining}))))
    }

    fn output() -> Value {
        json!({"type": "object", "properties": {"draining": {"type": "boolean"}}, "required": ["draining"]})
    }

    fn shape(self, _: Value) -> Result<Value, Trouble> {
        Ok(json!({"draining": self.draining}))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListApiKeys {}

impl Typed for ListApiKeys {
    const NAME: &'static str = "list_api_keys";
    const TITLE: &'static str = "List API keys";
    const DESCRIPTION: &'static str = "API keys with scopes, limits, expiry and last use; never their secrets.";
    const EFFECT: Effect = Effect::Reads;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::get("/api/api-keys"))
    }

    fn output() -> Value {
        list_schema("api_keys", "Every key that is not revoked")
    }

    fn shape(self, mut said: Value) -> Result<Value, Trouble> {
        list_as("api_keys", said["api_keys"].take())
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateApiKey {
    /// What people call it.
    name: String,
    /// What it may do: inference, mcp, a2a, files, read, ops, admin. The first four if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    /// The models that it may use; all if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_models: Option<Vec<String>>,
    /// When it ends (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Bounds on what it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    rpm: Option<u32>,
    /// Tokens in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    tpm: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
}

impl Typed for CreateApiKey {
    const NAME: &'static str = "create_api_key";
    const TITLE: &'static str = "Make an API key";
    const DESCRIPTION: &'static str =
        "Makes an API key. Its secret is in the result, once: the only secret that any tool shows. Give it to the person who asked.";
    const EFFECT: Effect = Effect::Adds;
    const SHOWS_SECRET: bool = true;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::send(Method::POST, "/api/api-keys", Some(json!(self))))
    }

    fn output() -> Value {
        json!({
            "type": "object",
            "properties": {"id": {"type": "string"}, "key": {"type": "string", "description": "The secret, shown once"}, "name": {"type": "string"}},
            "required": ["id", "key"]
        })
    }

    fn shape(self, said: Value) -> Result<Value, Trouble> {
        object(said)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeApiKey {
    /// Its id, as list_api_keys shows it.
    id: String,
}

impl Typed for RevokeApiKey {
    const NAME: &'static str = "revoke_api_key";
    const TITLE: &'static str = "Revoke an API key";
    const DESCRIPTION: &'static str = "Refuses an API key from now on, everywhere. It does not come back.";
    const EFFECT: Effect = Effect::Destroys;

    fn call(&self) -> Result<Call, Trouble> {
        Ok(Call::send(Method::DELETE, format!("/api/api-keys/{}", part(&self.id)?), None))
    }

    fn output() -> Value {
        json!({"type": "object", "properties": {"revoked": {"type": "string", "description": "The key's id"}}, "required": ["revoked"]})
    }

    fn shape(self, _: Value) -> Result<Value, Trouble> {
        Ok(json!({"revoked": self.id}))
    }
}
