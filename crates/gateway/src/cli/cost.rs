//! `llm-router cost`: what was used and what it cost, of a running router, which knows the prices.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failed, environment, out,
    remote::{Remote, asked},
};

/// Differing records that are told one by one.
const ROWS_SHOWN_MAX: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sums of requests, tokens and cost. What has no price is counted, never taken for free.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router cost report --by model --from 2027-01-01T00:00:00Z")]
    Report {
        /// By what the sums are grouped.
        #[arg(long, value_enum, default_value = "day")]
        by: Group,
        #[command(flatten)]
        times: Times,
        /// As JSON: {rows, totals}.
        #[arg(long)]
        json: bool,
    },
    /// Compute costs again, from what was used and the price book that each record names, and say which differ. Exit code 1 if any does.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router cost verify --from 2027-01-01T00:00:00Z")]
    Verify {
        #[command(flatten)]
        times: Times,
        /// As JSON: {examined, different, unverifiable, rows}.
        #[arg(long)]
        json: bool,
    },
    /// Charge requests by the prices of today: those whose cost is not known, as where a price was added later.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router cost recompute --from 2027-01-01T00:00:00Z")]
    Recompute {
        #[command(flatten)]
        times: Times,
        /// Also requests whose cost is known.
        #[arg(long)]
        all: bool,
        /// As JSON: {examined, changed, before_usd, after_usd, price_version}.
        #[arg(long)]
        json: bool,
    },
}

/// The time that is meant; all of it where nothing is said.
#[derive(Debug, Args)]
pub(super) struct Times {
    /// From this time on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl Times {
    /// As the router is asked.
    fn said(&self) -> [(&'static str, Option<&str>); 2] {
        [("start_time", self.from.as_deref()), ("end_time", self.to.as_deref())]
    }
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
    let router = Remote::of(&environment()?).context("what was used is known to a running router: name it in LLM_ROUTER_URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Report { by, times, json } => {
                let path = asked("/api/usage", [("group_by", Some(by.name()))].into_iter().chain(times.said()));
                let said = router.ask(Method::GET, &path, None).await?;
                if json { out::json(&said) } else { out::table(&table(by, &said)) }
            }
            Command::Verify { times, json } => verify(&router, &times, json).await,
            Command::Recompute { times, all, json } => {
                let asked = json!({"start_time": times.from, "end_time": times.to, "all": all});
                recompute(&router, asked, json).await
            }
        }
    })
}

/// Calls until the router has gone through everything; each call goes on where the one before ended.
async fn verify(router: &Remote, times: &Times, as_json: bool) -> Result<(), Failed> {
    let (mut sums, mut rows, mut next) = ([0; 3], Vec::new(), None::<String>);
    loop {
        let path = asked("/api/ledger/verify", [("after", next.as_deref())].into_iter().chain(times.said()));
        let said = router.ask(Method::GET, &path, None).await?;
        for (sum, name) in sums.iter_mut().zip(["examined", "different", "unverifiable"]) {
            *sum += said[name].as_u64().unwrap_or(0);
        }
        let more = said["rows"].as_array().into_iter().flatten().cloned();
        rows.extend(more.take(ROWS_SHOWN_MAX.saturating_sub(rows.len())));
        match said["next"].as_str() {
            Some(place) => next = Some(place.to_owned()),
            None => break,
        }
    }
    let [examined, different, unverifiable] = sums;
    if as_json {
        out::json(&json!({"examined": examined, "different": different, "unverifiable": unverifiable, "rows": rows}))?;
    } else {
        if !rows.is_empty() {
            let head = ["request", "time", "what", "recorded", "computed", "price book"].map(str::to_owned).to_vec();
            let cells = |row: &Value| {
                let text = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
                ["request_id", "timestamp", "what", "recorded", "computed", "price_version"].map(text).to_vec()
            };
            out::table(&[head].into_iter().chain(rows.iter().map(cells)).collect::<Vec<_>>())?;
        }
        out::line(&format!("{examined} records examined, {different} differ, {unverifiable} without a price book"))?;
    }
    if different > 0 { Err(Failed(1, format!("{different} records say something else than their price books"))) } else { Ok(()) }
}

async fn recompute(router: &Remote, mut asked: Value, as_json: bool) -> Result<(), Failed> {
    let (mut counts, mut dollars) = ([0; 2], [0.0; 2]);
    let version = loop {
        let said = router.ask(Method::POST, "/api/ledger/recompute", Some(&asked)).await?;
        for (count, name) in counts.iter_mut().zip(["examined", "changed"]) {
            *count += said[name].as_u64().unwrap_or(0);
        }
        for (sum, name) in dollars.iter_mut().zip(["before_usd", "after_usd"]) {
            *sum += said[name].as_f64().unwrap_or(0.0);
        }
        if said["next"].is_null() {
            break said["price_version"].clone();
        }
        asked["after"] = said["next"].clone();
    };
    let ([examined, changed], [before_usd, after_usd]) = (counts, dollars);
    if as_json {
        let said =
            json!({"examined": examined, "changed": changed, "before_usd": before_usd, "after_usd": after_usd, "price_version": version});
        return out::json(&said);
    }
    let version = version.as_str().unwrap_or_default();
    out::line(&format!(
        "{examined} records examined, {changed} charged anew by price book {version}: ${before_usd:.4} before, ${after_usd:.4} now"
    ))
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
    fn what_has_no_price_costs_nothing_known() {
        let sums = json!({"group": "m", "name": null, "requests": 3, "errors": 1, "prompt_tokens": 5, "completion_tokens": 7, "cost_usd": null, "unpriced_requests": 3});
        let rows = table(Group::Model, &json!({"rows": [sums], "totals": {"requests": 3, "cost_usd": 0.5}}));
        assert_eq!(rows[1], ["m", "3", "1", "5", "7", "-", "3"]);
        assert_eq!((rows[2][0].as_str(), rows[2][5].as_str()), ("total", "0.5000"));
    }
}
