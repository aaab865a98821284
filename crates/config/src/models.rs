//! The file's models, aliases and routes.

use std::collections::BTreeMap;

use crate::accounts::list;
use crate::config::{ModelEntry, RouteProfile, TaskRoute};
use crate::error::ConfigError;
use crate::fields::{Field, Fields, Place, field};
use crate::known;
use crate::reader::Reader;
use crate::setting::{Count, Setting, Share};
use crate::tree::{Node, Value};

/// The keys of a model that is written as an object.
pub(crate) const MODEL_FIELDS: &[Field] = &[
    field("id", "Its name."),
    field("context", "Most tokens of prompt and answer together."),
    field("max_output", "Most tokens of an answer."),
    field("capabilities", "Words such as `tools` and `vision`."),
    field("price", "What it costs, as in `prices`, which it wins over."),
];

/// The keys of a profile of `auto`.
pub(crate) const ROUTE_FIELDS: &[Field] = &[
    field("strategy", "How a model is chosen (`task-complexity`)."),
    field("model", "File or directory of what was learned."),
    field("quality", "0 (cheapest) to 1 (best)."),
];

const TASK_FIELDS: &[Field] = &[field("low", ""), field("medium", ""), field("high", ""), field("xhigh", ""), field("default", "")];

/// Names that a route's strategy can have.
pub const STRATEGIES: &[&str] = &[
    "task-complexity",
    "rules",
    "prior",
    "cluster",
    "knn",
    "linear",
    "irt",
    "mf",
    "mlp",
    "ensemble",
    "bandit",
    "cascade",
    "external",
    "simple-shuffle",
    "least-busy",
    "latency-based-routing",
    "cost-based-routing",
    "usage-based-routing",
    "usage-based-routing-v2",
    "llmrouter-knn",
    "llmrouter-svm",
    "llmrouter-mlp",
    "llmrouter-mf",
    "llmrouter-elo",
    "llmrouter-routerdc",
    "llmrouter-hybrid",
    "llmrouter-causallm",
    "llmrouter-graph",
    "llmrouter-automix",
    "llmrouter-r1",
    "llmrouter-gmt",
    "llmrouter-knn-multiround",
    "llmrouter-llm-multiround",
    "llmrouter-smallest",
    "llmrouter-largest",
    "llmrouter-custom",
    "llmrouter-cost-aware",
];

/// The models that the operator listed: a list of names or objects, or a map from name to object.
pub(crate) fn models(root: &Node, place: Place) -> Result<Vec<ModelEntry>, ConfigError> {
    if let Some(Node { value: Value::Map(entries), .. }) = root.get("models") {
        return entries.iter().map(|e| model(&e.node, format!("models.{}", e.key), Some(&e.key), place)).collect();
    }
    list(root, "models", place)?.iter().enumerate().map(|(i, node)| model(node, format!("models[{i}]"), None, place)).collect()
}

fn model(node: &Node, path: String, name: Option<&str>, place: Place) -> Result<ModelEntry, ConfigError> {
    if let Some(id) = node.scalar().filter(|text| !text.trim().is_empty()) {
        return Ok(ModelEntry { id: id.trim().to_owned(), ..ModelEntry::default() });
    }
    let fields = Fields::new(node, path, MODEL_FIELDS, place)?;
    let id = match name {
        Some(name) => name.to_owned(),
        None => fields.required("id")?,
    };
    Ok(ModelEntry {
        id,
        context: fields.optional::<Count>("context")?.map(|n| n.0),
        max_output: fields.optional::<Count>("max_output")?.map(|n| n.0),
        capabilities: fields.optional("capabilities")?.unwrap_or_default(),
        price: fields.node("price").map(Node::to_json),
    })
}

/// Names that stand for others.
pub(crate) fn aliases(root: &Node, place: Place) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let target = |name: &str, node: &Node| {
        let wrong = || ConfigError::Value {
            name: format!("aliases.{name}"),
            value: node.brief(),
            origin: place.at(node.line),
            allowed: "the name of a model, or a list of them".to_owned(),
        };
        Vec::<String>::from_node(node).filter(|targets| !targets.is_empty()).ok_or_else(wrong)
    };
    map(root, "aliases", place)?.iter().map(|e| Ok((e.key.clone(), target(&e.key, &e.node)?))).collect()
}

/// The models of each task and complexity.
pub(crate) fn task_routes(root: &Node, place: Place) -> Result<BTreeMap<String, TaskRoute>, ConfigError> {
    let route = |entry: &crate::tree::Entry| {
        let fields = Fields::new(&entry.node, format!("task_routes.{}", entry.key), TASK_FIELDS, place)?;
        let tier = |name: &str| -> Result<Vec<String>, ConfigError> { Ok(fields.optional(name)?.unwrap_or_default()) };
        Ok((
            entry.key.clone(),
            TaskRoute { low: tier("low")?, medium: tier("medium")?, high: tier("high")?, xhigh: tier("xhigh")?, default: tier("default")? },
        ))
    };
    map(root, "task_routes", place)?.iter().map(route).collect()
}

/// The profiles of `auto`. A strategy that nobody knows is an error that lists those there are.
pub(crate) fn routes(root: &Node, place: Place, reader: &Reader) -> Result<BTreeMap<String, RouteProfile>, ConfigError> {
    let profile = |entry: &crate::tree::Entry| {
        let fields = Fields::new(&entry.node, format!("routes.{}", entry.key), ROUTE_FIELDS, place)?;
        let strategy: String = fields.optional("strategy")?.unwrap_or_else(|| "task-complexity".to_owned());
        if !STRATEGIES.contains(&strategy.as_str()) {
            let nearest =
                known::nearest(&strategy, STRATEGIES.iter().copied()).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
            let node = fields.node("strategy").unwrap_or(&Node::NOTHING);
            return Err(fields.wrong("strategy", node, format!("one of {}{nearest}", STRATEGIES.join(", "))));
        }
        let model = fields.optional::<std::path::PathBuf>("model")?.map(|path| reader.path(&path));
        Ok((entry.key.clone(), RouteProfile { strategy, model, quality: fields.optional::<Share>("quality")?.map(|s| s.0) }))
    };
    map(root, "routes", place)?.iter().map(profile).collect()
}

fn map<'a>(root: &'a Node, key: &str, place: Place) -> Result<&'a [crate::tree::Entry], ConfigError> {
    match root.get(key) {
        None => Ok(&[]),
        Some(Node { value: Value::Map(entries), .. }) => Ok(entries),
        Some(node) => Err(ConfigError::Value {
            name: key.to_owned(),
            value: node.brief(),
            origin: place.at(node.line),
            allowed: "a mapping".to_owned(),
        }),
    }
}
