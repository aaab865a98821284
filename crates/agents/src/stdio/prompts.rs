//! Prompts for what people often want of an assistant here.

use rmcp::{
    ErrorData,
    model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role},
};

/// Longest value of an argument.
const VALUE_BYTES_MAX: usize = 4096;

struct Task {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Its one argument: name, what it is.
    argument: Option<(&'static str, &'static str)>,
    /// `{}` is the argument.
    text: &'static str,
}

const TASKS: [Task; 4] = [
    Task {
        name: "diagnose_router",
        title: "Is the router well?",
        description: "Looks at services, nodes and recent failures, and says what to do",
        argument: None,
        text: "Find out how the LLM Router does. Call router_health, list_nodes, and request_history with status `error`. Say in a few sentences what is \
            well and what is not; for each trouble name the cause as far as the answers show it (request_explain has the attempts of a request) and the \
            next step. Change nothing.",
    },
    Task {
        name: "explain_request",
        title: "Why did a request go this way?",
        description: "Explains one request in words",
        argument: Some(("request_id", "The request's id")),
        text: "Call request_explain for the request `{}` of the LLM Router. Say in plain words who answered and why, which others were tried or passed by and \
            why, where the time went, and whether anything was lost in translation.",
    },
    Task {
        name: "add_model",
        title: "Bring a model",
        description: "Finds a model on the hub, registers it and tries it",
        argument: Some(("model", "What is wanted: a repository on the hub, or words")),
        text: "Bring the model `{}` to the LLM Router. Read llm-router://guide/model-management. Look for a GGUF form of it, say which file you would take, how \
            large it is and what memory it needs, and ask before you register it. Then follow registered_models until it is ready, and try it with chat.",
    },
    Task {
        name: "review_usage",
        title: "What is used, and what does it cost?",
        description: "Sums up the last week by model and key",
        argument: None,
        text: "Call usage of the LLM Router for the last seven days, by model, by key and by day. Say who uses what, what it costs, what has no known price, and \
            what stands out.",
    },
];

/// The list of prompts.
pub(super) fn all() -> Vec<Prompt> {
    let listed = |task: &Task| {
        let argument = |(name, what): (&str, &str)| vec![PromptArgument::new(name).with_description(what).with_required(true)];
        Prompt::new(task.name, Some(task.description), task.argument.map(argument)).with_title(task.title)
    };
    TASKS.iter().map(listed).collect()
}

/// One of them, with its argument in place.
pub(super) fn get(name: &str, arguments: &JsonObject) -> Result<GetPromptResult, ErrorData> {
    let task = TASKS.iter().find(|task| task.name == name);
    let task = task.ok_or_else(|| ErrorData::invalid_params(format!("there is no prompt `{name}`"), None))?;
    let text = match task.argument {
        None => task.text.to_owned(),
        Some((argument, _)) => {
            let value = arguments
                .get(argument)
                .and_then(|value| value.as_str())
                .filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX);
            let value = value.ok_or_else(|| ErrorData::invalid_params(format!("`{argument}` is missing, or too long"), None))?;
            task.text.replacen("{}", value, 1)
        }
    };
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).with_description(task.description))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_hold_their_argument() {
        assert!(get("diagnose_router", &JsonObject::new()).is_ok());
        assert!(get("explain_request", &JsonObject::new()).is_err());
        assert!(get("no_such", &JsonObject::new()).is_err());
        let arguments = [("request_id".to_owned(), "r-1".into())].into_iter().collect();
        let prompt = get("explain_request", &arguments).expect("a prompt");
        let said = prompt.messages[0].content.as_text().expect("a text");
        assert!(said.text.contains("`r-1`"), "{}", said.text);
    }
}
