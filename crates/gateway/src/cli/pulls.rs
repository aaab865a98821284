//! `llm-router model register|pull|convert`: files of models, which a running router brings and keeps.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Failed, environment, out, remote::Remote};

/// How often a running task is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks in a row that may fail: a router that is started again, or a network that stumbles.
const FAILED_LOOKS_MAX: u32 = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct Register {
    /// OWNER/NAME on the hub.
    repo: String,
    /// A file of it; chosen where neither file nor quantization is named.
    #[arg(long, value_name = "FILE", conflicts_with = "quantization")]
    filename: Option<String>,
    /// A quantization instead of a file, such as Q4_K_M.
    #[arg(long, value_name = "QUANT")]
    quantization: Option<String>,
    /// A branch, tag or commit.
    #[arg(long)]
    revision: Option<String>,
    /// What people call it.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Convert {
    /// OWNER/NAME on the hub.
    repo: String,
    /// The weights, or the first part of them.
    #[arg(long, value_name = "FILE")]
    filename: Option<String>,
    /// What to write, such as f16 or q8_0.
    #[arg(long, value_name = "QUANT")]
    quantization: Option<String>,
    /// A branch, tag or commit.
    #[arg(long)]
    revision: Option<String>,
    /// Say that it is queued, and do not wait for its end.
    #[arg(long)]
    no_wait: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn router() -> Result<Remote, Failed> {
    Ok(Remote::of(&environment()?).context("a running router brings files of models: name it in LLM_ROUTER_URL")?)
}

/// Registers, and says what was registered.
pub(in crate::cli) async fn register(args: &Register) -> Result<(), Failed> {
    let made = ask_to_register(&router()?, args).await?;
    if args.json {
        return out::json(&made);
    }
    let megabytes = made["size_bytes"].as_u64().unwrap_or(0) / 1_000_000;
    out::line(&format!("{} is on its way: {megabytes} MB", text(&made["name"])))
}

/// Registers, and waits until the file is there.
pub(in crate::cli) async fn pull(args: &Register) -> Result<(), Failed> {
    let router = router()?;
    let made = ask_to_register(&router, args).await?;
    let name = text(&made["name"]).to_owned();
    let mut bar = out::Bar::new(&name);
    let model = until_settled(&mut bar, LOOK_EVERY, async || {
        let all = router.ask(Method::GET, "/api/models/registered", None).await?;
        let model = all.as_array().and_then(|all| all.iter().find(|model| text(&model["name"]) == name)).cloned();
        model.map_or_else(|| Ok(json!({"status": "failed", "error": "it was removed meanwhile"})), Ok)
    })
    .await?;
    if args.json {
        return out::json(&model);
    }
    out::line(&format!("{name} is here: {} MB", model["size_bytes"].as_u64().unwrap_or(0) / 1_000_000))
}

async fn ask_to_register(router: &Remote, args: &Register) -> anyhow::Result<Value> {
    let wanted = json!({
        "repo": args.repo, "filename": args.filename, "quantization": args.quantization, "revision": args.revision,
        "display_name": args.display_name,
    });
    let made = router.ask(Method::POST, "/api/models/register", Some(&wanted)).await?;
    for warning in made["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out::remark(&format!("note: {warning}"));
    }
    Ok(made)
}

/// Converts, and waits for its end.
pub(in crate::cli) async fn convert(args: &Convert) -> Result<(), Failed> {
    let router = router()?;
    let wanted = json!({"repo": args.repo, "filename": args.filename, "quantization": args.quantization, "revision": args.revision});
    let task = router.ask(Method::POST, "/api/models/convert", Some(&wanted)).await?;
    let (id, model) = (text(&task["task_id"]).to_owned(), text(&task["model"]).to_owned());
    let done = if args.no_wait {
        task
    } else {
        let path = format!("/api/models/convert/{id}");
        until_settled(&mut out::Bar::new(&model), LOOK_EVERY, async || router.ask(Method::GET, &path, None).await).await?
    };
    match (args.json, args.no_wait) {
        (true, _) => out::json(&done),
        (false, true) => out::line(&format!("{id} is queued")),
        (false, false) => out::line(&format!("{model} is converted")),
    }
}

/// Looks at a task until it is done; a failed one is an error with its reason.
async fn until_settled(bar: &mut out::Bar, every: Duration, mut look: impl AsyncFnMut() -> anyhow::Result<Value>) -> anyhow::Result<Value> {
    let mut failed = 0;
    loop {
        match look().await {
            Ok(task) => {
                failed = 0;
                match text(&task["status"]) {
                    "ready" | "completed" => {
                        bar.end();
                        return Ok(task);
                    }
                    "failed" => {
                        bar.end();
                        return Err(anyhow!("it failed: {}", task["error"].as_str().unwrap_or("the router does not say why")));
                    }
                    _ => bar.show(task["progress"].as_f64().unwrap_or(0.0)),
                }
            }
            Err(error) if failed == FAILED_LOOKS_MAX => return Err(error),
            Err(_) => failed += 1,
        }
        tokio::time::sleep(every).await;
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settled(answers: Vec<anyhow::Result<Value>>) -> anyhow::Result<Value> {
        let mut answers = answers.into_iter();
        until_settled(&mut out::Bar::new("m"), Duration::ZERO, async || answers.next().expect("it does not look on")).await
    }

    #[tokio::test]
    async fn a_task_is_followed_to_its_end() {
        let at = |status: &str| Ok(json!({"status": status, "progress": 0.5, "error": "no space"}));
        let done = settled(vec![at("queued"), Err(anyhow!("no answer")), at("in_progress"), at("completed")]).await;
        assert_eq!(done.expect("done")["status"], "completed");
        let failed = settled(vec![at("downloading"), at("failed")]).await.expect_err("it failed");
        assert!(failed.to_string().contains("no space"), "{failed}");
        let gone = (0..=FAILED_LOOKS_MAX).map(|n| Err(anyhow!("gone {n}"))).collect();
        assert!(settled(gone).await.expect_err("it is gone").to_string().contains("gone 10"));
    }
}
