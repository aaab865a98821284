//! What can be read: the description of all paths, and guides.

use std::path::Path;

use http::Method;
use rmcp::{
    ErrorData,
    model::{Resource, ResourceContents},
};
use tokio::io::AsyncReadExt as _;

use super::router::{DOCUMENT_BYTES_MAX, Router};

const OPENAPI: &str = "llm-router://api/openapi";

/// A guide that comes with the program.
struct Guide {
    uri: &'static str,
    title: &'static str,
    description: &'static str,
    text: &'static str,
}

const GUIDES: [Guide; 6] = [
    Guide {
        uri: "llm-router://guide/overview",
        title: "Overview",
        description: "What the router is, who may do what, and which guide has what",
        text: include_str!("guides/overview.md"),
    },
    Guide {
        uri: "llm-router://guide/openai-compatible",
        title: "Asking models",
        description: "Chat, messages, responses, embeddings, and how to name a model",
        text: include_str!("guides/openai-compatible.md"),
    },
    Guide {
        uri: "llm-router://guide/node-management",
        title: "Nodes",
        description: "Inference nodes: list, drain, approve, remove, join tokens",
        text: include_str!("guides/node-management.md"),
    },
    Guide {
        uri: "llm-router://guide/model-management",
        title: "Models",
        description: "Bringing models from the hub, converting them, deleting them",
        text: include_str!("guides/model-management.md"),
    },
    Guide {
        uri: "llm-router://guide/user-management",
        title: "Users and keys",
        description: "People who log in, and API keys with scopes and limits",
        text: include_str!("guides/user-management.md"),
    },
    Guide {
        uri: "llm-router://guide/dashboard",
        title: "What happened",
        description: "Figures, records of requests, explanations, usage and logs",
        text: include_str!("guides/dashboard.md"),
    },
];

/// The list of resources.
pub(super) fn all() -> Vec<Resource> {
    let openapi = Resource::new(OPENAPI, "llm-router-openapi")
        .with_title("All paths (OpenAPI)")
        .with_description("The description of every path of the running router")
        .with_mime_type("application/json");
    let guides = GUIDES.iter().map(|guide| {
        let name = format!("llm-router-guide-{}", guide.uri.rsplit('/').next().unwrap_or_default());
        Resource::new(guide.uri, name)
            .with_title(guide.title)
            .with_description(guide.description)
            .with_mime_type("text/markdown")
            .with_size(guide.text.len() as u64)
    });
    std::iter::once(openapi).chain(guides).collect()
}

/// One of them.
pub(super) async fn read(uri: &str, router: &Router, openapi_path: Option<&Path>) -> Result<ResourceContents, ErrorData> {
    if uri == OPENAPI {
        let text = match openapi_path {
            Some(path) => of_file(path).await,
            None => of_router(router).await,
        };
        let text = text.map_err(|why| ErrorData::internal_error(why, None))?;
        return Ok(ResourceContents::text(router.mask_text(&text), uri).with_mime_type("application/json"));
    }
    let guide = GUIDES.iter().find(|guide| guide.uri == uri);
    let guide = guide.ok_or_else(|| ErrorData::resource_not_found(format!("there is no resource `{uri}`"), None))?;
    Ok(ResourceContents::text(guide.text, uri).with_mime_type("text/markdown"))
}

async fn of_router(router: &Router) -> Result<String, String> {
    let mut ask = router.ask(Method::GET, "/openapi.json", None).map_err(|trouble| trouble.message)?;
    ask.bytes_max = DOCUMENT_BYTES_MAX;
    let said = router.send(ask).await.map_err(|trouble| trouble.message)?;
    if !said.is_success() {
        return Err(said.trouble().message);
    }
    if said.is_cut {
        return Err(format!("the description is longer than {DOCUMENT_BYTES_MAX} bytes"));
    }
    String::from_utf8(said.body.into()).map_err(|_| "the description is no text".to_owned())
}

async fn of_file(path: &Path) -> Result<String, String> {
    let wrong = |error: std::io::Error| format!("LLM_ROUTER_OPENAPI_PATH ({}) cannot be read: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let mut text = String::new();
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text).await.map_err(wrong)?;
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("{} has more than {DOCUMENT_BYTES_MAX} bytes", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guide_is_a_page_and_names_no_other_address() {
        for guide in &GUIDES {
            assert!(guide.text.starts_with("# ") && guide.text.len() > 400, "{}", guide.uri);
            for word in guide.text.split_whitespace().filter(|word| word.contains("http://")) {
                assert!(word.contains("http://localhost:8080"), "{}: {word}", guide.uri);
            }
        }
    }

    #[test]
    fn every_command_of_the_guides_is_understood() {
        let origin = super::super::origin::Origin::of("http://localhost:8080").expect("an address");
        let mut commands = 0;
        for guide in &GUIDES {
            for command in guide.text.lines().filter(|line| line.starts_with("curl ")) {
                super::super::curl::read(command, &origin).unwrap_or_else(|why| panic!("{}: {command}: {why}", guide.uri));
                commands += 1;
            }
        }
        assert!(commands > 20, "{commands}");
    }
}
