//! `llm-router mcp`: an MCP server over stdio for an assistant, in front of a running router.

use std::{path::PathBuf, time::Duration};

use agents::stdio::{Settings, TIMEOUT_S, TIMEOUT_S_MAX};
use anyhow::{Context as _, anyhow};
use config::Environment;
use telemetry::logs::{Console, LogSettings};

use super::{Failed, environment};

/// The router that is asked where `LLM_ROUTER_URL` names none.
const URL: &str = "http://localhost:8080";

/// The level of the log on standard error where `LLM_ROUTER_LOG_LEVEL` says none.
const LEVEL: &str = "warn";

pub(super) fn run() -> Result<(), Failed> {
    let environment = environment()?;
    let settings = settings(&environment)?;
    let level = environment.get("LLM_ROUTER_LOG_LEVEL").unwrap_or(LEVEL).to_owned();
    // Standard output carries messages and nothing else.
    let logs = telemetry::logs::start(&LogSettings { level, console: Console::Stderr, ..LogSettings::default() });
    let logs = logs.context("the log cannot be written")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(agents::stdio::serve(settings));
    // A read of standard input that nobody ends must not hold the process.
    runtime.shutdown_background();
    drop(logs);
    served.map_err(|error| Failed(1, error.to_string()))
}

fn settings(environment: &Environment) -> anyhow::Result<Settings> {
    let seconds = match environment.get("LLM_ROUTER_TIMEOUT") {
        None => TIMEOUT_S,
        Some(text) => {
            let seconds = text.parse().ok().filter(|seconds| (1..=TIMEOUT_S_MAX).contains(seconds));
            seconds.ok_or_else(|| anyhow!("LLM_ROUTER_TIMEOUT is a number of seconds from 1 to {TIMEOUT_S_MAX}, not `{text}`"))?
        }
    };
    let get = |name: &str| environment.get(name).map(str::to_owned);
    Ok(Settings {
        url: get("LLM_ROUTER_URL").unwrap_or_else(|| URL.to_owned()),
        api_key: get("LLM_ROUTER_API_KEY"),
        session_token: get("LLM_ROUTER_JWT_TOKEN"),
        openapi_path: environment.get("LLM_ROUTER_OPENAPI_PATH").map(PathBuf::from),
        timeout: Duration::from_secs(seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_bounds() {
        let of = |pairs: &[(&str, &str)]| settings(&Environment::from_map(pairs.iter().copied()));
        let plain = of(&[]).expect("defaults");
        assert_eq!((plain.url.as_str(), plain.timeout), (URL, Duration::from_secs(TIMEOUT_S)));
        assert_eq!(of(&[("LLM_ROUTER_TIMEOUT", "7")]).expect("seconds").timeout, Duration::from_secs(7));
        for wrong in ["0", "301", "soon", "-1"] {
            assert!(of(&[("LLM_ROUTER_TIMEOUT", wrong)]).is_err(), "{wrong}");
        }
    }
}
