//! `llm-router cost`: what was used and what it cost, of a running router, which knows the prices.

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Failed, environment, out, remote::Remote};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sums of requests, tokens and cost. What has no price is counted, never taken for free.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router cost report --by model --from 2027-01-01T00:00:00Z")]
    Report {
        /// By what the sums are grouped.
        #[arg(long, value_enum, default_value = "day")]
        by: Group,
        /// From this time on (RFC 3339).
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Up to this time (RFC 3339).
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// As JSON: {rows, totals}.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Group {
    Key,
    Model,
    Account,
    Day,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Account => "account",
            Self::Day => "day",
        }
    }
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let Command::Report { by, from, to, json } = command;
    let router = Remote::of(&environment()?).context("what was used is known to a running router: name it in LLM_ROUTER_URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let said = runtime.block_on(router.ask(Method::GET, &path(by, from.as_deref(), to.as_deref()), None))?;
    if json { out::json(&said) } else { out::table(&table(by, &said)) }
}

fn path(by: Group, from: Option<&str>, to: Option<&str>) -> String {
    let time = |name: &str, time: Option<&str>| time.map(|time| format!("&{name}={}", utf8_percent_encode(time, NON_ALPHANUMERIC)));
    let times = [time("start_time", from), time("end_time", to)];
    format!("/api/usage?group_by={}{}", by.name(), times.into_iter().flatten().collect::<String>())
}

/// The sums with a head, and all of them together at the end.
fn table(by: Group, said: &Value) -> Vec<Vec<String>> {
    let head = [by.name(), "requests", "errors", "input tokens", "output tokens", "cost USD", "without price"];
    let row = |name: &str, sums: &Value| {
        let count = |member: &str| sums[member].as_u64().unwrap_or(0).to_string();
        let cost = sums["cost_usd"].as_f64().map_or_else(|| "-".to_owned(), |cost| format!("{cost:.4}"));
        let counts = ["requests", "errors", "prompt_tokens", "completion_tokens"].map(count);
        [name.to_owned()].into_iter().chain(counts).chain([cost, count("unpriced_requests")]).collect::<Vec<_>>()
    };
    let name =
        |row: &Value| row["name"].as_str().or_else(|| row["group"].as_str()).filter(|name| !name.is_empty()).unwrap_or("-").to_owned();
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(said["rows"].as_array().into_iter().flatten().map(|each| row(&name(each), each)));
    rows.push(row("total", &said["totals"]));
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_said_as_they_must_be() {
        assert_eq!(path(Group::Key, None, None), "/api/usage?group_by=key");
        let both = path(Group::Day, Some("2027-01-01T00:00:00+01:00"), Some("x&y"));
        assert_eq!(both, "/api/usage?group_by=day&start_time=2027%2D01%2D01T00%3A00%3A00%2B01%3A00&end_time=x%26y");
    }

    #[test]
    fn what_has_no_price_costs_nothing_known() {
        let sums = json!({"group": "m", "name": null, "requests": 3, "errors": 1, "prompt_tokens": 5, "completion_tokens": 7, "cost_usd": null, "unpriced_requests": 3});
        let rows = table(Group::Model, &json!({"rows": [sums], "totals": {"requests": 3, "cost_usd": 0.5}}));
        assert_eq!(rows[1], ["m", "3", "1", "5", "7", "-", "3"]);
        assert_eq!((rows[2][0].as_str(), rows[2][5].as_str()), ("total", "0.5000"));
    }
}
