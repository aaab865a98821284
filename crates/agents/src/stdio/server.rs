//! What the client sees: tools, resources, prompts.

use std::{future::ready, path::PathBuf};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, GetPromptRequestParams, GetPromptResponse, Implementation,
        JsonObject, ListPromptsResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;

use super::{
    Settings, execute, prompts, resources,
    router::{Router, Trouble},
    tools,
    typed::{self, Effect},
};

const INSTRUCTIONS: &str = "Tools for a running LLM Router: one gateway in front of language models, clouds and own nodes. Use the typed tools first; \
    `execute_curl` makes any other request (llm-router://api/openapi has all paths, llm-router://guide/overview is the way in). Secrets in results are masked.";

/// The server of one client.
pub(super) struct Server {
    router: Router,
    openapi_path: Option<PathBuf>,
}

impl Server {
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { router: Router::new(&settings)?, openapi_path: settings.openapi_path })
    }

    async fn call(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, ErrorData> {
        if name == execute::NAME {
            return Ok(match typed::read(arguments) {
                Ok(arguments) => {
                    let result = execute::run(&self.router, arguments).await;
                    let is_success = result["success"] == Value::Bool(true);
                    if is_success { CallToolResult::structured(result) } else { CallToolResult::structured_error(result) }
                }
                Err(trouble) => self.failed(&trouble),
            });
        }
        let Some(tool) = tools::ALL.iter().find(|tool| tool.name == name) else {
            return Err(ErrorData::invalid_params(format!("there is no tool `{name}`"), None));
        };
        Ok(match tool.run(&self.router, arguments).await {
            Ok(result) => CallToolResult::structured(result),
            Err(trouble) => self.failed(&trouble),
        })
    }

    /// In the text only: structured content has to have the form of a success.
    fn failed(&self, trouble: &Trouble) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.router.mask(trouble.shown()).to_string())])
    }
}

/// `execute_curl` as it stands in the list of tools.
fn execute_curl() -> Tool {
    Tool::new(execute::NAME, execute::DESCRIPTION, typed::input::<execute::Arguments>())
        .with_title("Request the router")
        .with_raw_output_schema(typed::object(execute::output()))
        .with_annotations(Effect::Destroys.hints("Request the router").idempotent(false))
}

fn all_tools() -> Vec<Tool> {
    std::iter::once(execute_curl()).chain(tools::ALL.iter().map(typed::Entry::listed)).collect()
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let can = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        let who = Implementation::new("llm-router", env!("CARGO_PKG_VERSION")).with_title("LLM Router");
        ServerConfig::new(can).with_server_info(who).with_instructions(INSTRUCTIONS)
    }

    fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListToolsResult, ErrorData>> + Send + '_ {
        ready(Ok(ListToolsResult::with_all_items(all_tools())))
    }

    async fn call_tool(&self, asked: CallToolRequestParams, _: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let result = self.call(&asked.name, asked.arguments.unwrap_or_default()).await?;
        Ok(result.into())
    }

    fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListResourcesResult, ErrorData>> + Send + '_ {
        ready(Ok(ListResourcesResult::with_all_items(resources::all())))
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = resources::read(&asked.uri, &self.router, self.openapi_path.as_deref()).await?;
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListPromptsResult, ErrorData>> + Send + '_ {
        ready(Ok(ListPromptsResult::with_all_items(prompts::all())))
    }

    fn get_prompt(
        &self,
        asked: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<GetPromptResponse, ErrorData>> + Send + '_ {
        ready(prompts::get(&asked.name, &asked.arguments.unwrap_or_default()).map(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_tool_says_what_it_takes_gives_and_does() {
        let tools = all_tools();
        let names: BTreeSet<&str> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names.len(), tools.len(), "no two of a name");
        for tool in &tools {
            assert!(tool.description.as_ref().is_some_and(|said| said.len() > 20), "{}", tool.name);
            let output = tool.output_schema.as_ref().expect("an output schema");
            for schema in [&*tool.input_schema, &**output] {
                assert_eq!(schema["type"], "object", "{}", tool.name);
                let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                assert!(required.iter().all(|name| schema["properties"].get(name.as_str().unwrap_or_default()).is_some()), "{}", tool.name);
            }
            let hints = tool.annotations.as_ref().expect("hints");
            assert!(hints.read_only_hint == Some(true) || hints.destructive_hint.is_some(), "{}", tool.name);
        }
        let read_only = tools.iter().filter(|tool| tool.annotations.as_ref().and_then(|a| a.read_only_hint) == Some(true)).count();
        assert_eq!(read_only, 10);
    }

    #[test]
    fn execute_curl_takes_what_it_always_took() {
        let tool = execute_curl();
        let members: BTreeSet<&str> = tool.input_schema["properties"].as_object().expect("members").keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["command", "auto_auth", "timeout"]));
        assert_eq!(tool.input_schema["required"], serde_json::json!(["command"]));
    }
}
