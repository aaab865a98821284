//! The verbs of `llm-router config` that change its file.

use clap::{Args, Subcommand};
use config::{
    ConfigError, Environment, LoadArgs,
    edit::{self, AccountChange, AccountSecret, Document, Learned, Profile, TIERS},
};
use serde_json::json;

use super::{Failed, configuration::check_house, out};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an account, or change the one of that name.
    #[command(
        after_help = "Example: llm-router config add-account --name default --provider openai --base-url http://localhost:11434 \\\n           --api-key-env BACKEND_API_KEY --models gpt-5.2"
    )]
    AddAccount(Box<Account>),
    /// Take an account out of the file.
    #[command(after_help = "Example: llm-router config remove-account --name default")]
    RemoveAccount {
        /// Its name.
        #[arg(long = "name", value_name = "NAME", required_unless_present = "name")]
        named: Option<String>,
        /// Its name.
        #[arg(conflicts_with = "named")]
        name: Option<String>,
    },
    /// Let an account serve a further model.
    #[command(after_help = "Example: llm-router config add-model --model gpt-5.2 --account default --set-default")]
    AddModel {
        /// The model's name.
        #[arg(long)]
        model: String,
        /// The account that serves it.
        #[arg(long)]
        account: String,
        /// Make it the default model.
        #[arg(long)]
        set_default: bool,
    },
    /// Say which model serves a task at one tier.
    #[command(after_help = "Example: llm-router config set-route --task coding --tier high --model gpt-5.2")]
    SetRoute {
        /// What a request is about: general, coding, thinking, instruction_following, image.
        #[arg(long)]
        task: String,
        /// How hard it is.
        #[arg(long, value_parser = TIERS)]
        tier: String,
        /// The model, or several with commas between, in the order in which they are tried.
        #[arg(long, value_delimiter = ',', required = true)]
        model: Vec<String>,
    },
    /// Say which models are tried after those of the route.
    #[command(after_help = "Example: llm-router config set-fallbacks --models gpt-5.2-mini,qwen3-4b --append")]
    SetFallbacks {
        /// The models, in their order.
        #[arg(long, value_delimiter = ',', required = true)]
        models: Vec<String>,
        /// Keep those that are there, before these.
        #[arg(long)]
        append: bool,
    },
    /// Say what is known of a model, for learned routing.
    #[command(
        after_help = "Example: llm-router config set-profile --model gpt-5.2 --quality-bias 2 --cost-input-per-1k 0.01 --latency-ms 900"
    )]
    SetProfile(ModelProfile),
    /// Say which models learned routing chooses among for a task.
    #[command(after_help = "Example: llm-router config set-candidates --task coding --models gpt-5.2,gpt-5.2-codex --enable")]
    SetCandidates {
        /// What a request is about.
        #[arg(long)]
        task: String,
        /// The models.
        #[arg(long, value_delimiter = ',', required = true)]
        models: Vec<String>,
        /// Switch learned routing on.
        #[arg(long)]
        enable: bool,
    },
    /// Say how learned routing weighs.
    #[command(
        after_help = "Example: llm-router config set-learned --enabled true --bias=-4 --utility-cost 12 --set-feature code_score=0.2"
    )]
    SetLearned(Weights),
}

#[derive(Debug, Args)]
pub(super) struct Account {
    /// Its name; an account of that name is changed where something is said.
    #[arg(long)]
    name: String,
    /// Who is behind it.
    #[arg(long)]
    provider: Option<String>,
    /// Where it is.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// How it is opened.
    #[arg(long, value_parser = ["api_key", "oauth", "passthrough", "none"])]
    auth_mode: Option<String>,
    /// Its key, or `env:NAME` or `file:PATH`; better is --api-key-env.
    #[arg(long, value_name = "KEY", conflicts_with = "api_key_env")]
    api_key: Option<String>,
    /// The variable that holds its key.
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    #[command(flatten)]
    oauth: Oauth,
    /// OpenAI's organization.
    #[arg(long)]
    organization: Option<String>,
    /// OpenAI's project.
    #[arg(long)]
    project: Option<String>,
    /// Names and wildcards that it serves, with commas between.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Make its first model the default model.
    #[arg(long)]
    set_default: bool,
    /// Keep it, unused.
    #[arg(long)]
    disabled: bool,
    /// Use it again.
    #[arg(long, conflicts_with = "disabled")]
    enabled: bool,
}

/// Each with its value, or the variable that has it.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
struct Oauth {
    /// The token that is sent.
    #[arg(long, value_name = "TOKEN", conflicts_with = "oauth_access_token_env")]
    oauth_access_token: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_access_token_env: Option<String>,
    /// Gets a new one.
    #[arg(long, value_name = "TOKEN", conflicts_with = "oauth_refresh_token_env")]
    oauth_refresh_token: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_refresh_token_env: Option<String>,
    /// When the token ends, in Unix seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "oauth_expires_at_env")]
    oauth_expires_at: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_expires_at_env: Option<String>,
    /// Where the token is renewed.
    #[arg(long, value_name = "URL")]
    oauth_token_url: Option<String>,
    /// For renewal.
    #[arg(long, value_name = "ID", conflicts_with = "oauth_client_id_env")]
    oauth_client_id: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_client_id_env: Option<String>,
    /// For renewal.
    #[arg(long, value_name = "SECRET", conflicts_with = "oauth_client_secret_env")]
    oauth_client_secret: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_client_secret_env: Option<String>,
    /// Sent beside the token.
    #[arg(long, value_name = "ID", conflicts_with = "oauth_account_id_env")]
    oauth_account_id: Option<String>,
    /// Its variable.
    #[arg(long, value_name = "NAME")]
    oauth_account_id_env: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ModelProfile {
    /// The model's name.
    #[arg(long)]
    model: String,
    /// Added to its score.
    #[arg(long, allow_negative_numbers = true)]
    quality_bias: Option<f64>,
    /// How much it gains by what a request is like.
    #[arg(long, allow_negative_numbers = true)]
    quality_sensitivity: Option<f64>,
    /// In dollars for 1000 tokens of a prompt.
    #[arg(long)]
    cost_input_per_1k: Option<f64>,
    /// In dollars for 1000 tokens of an answer.
    #[arg(long)]
    cost_output_per_1k: Option<f64>,
    /// To the end of an answer.
    #[arg(long)]
    latency_ms: Option<f64>,
    /// 0 to 1.
    #[arg(long)]
    failure_rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(super) struct Weights {
    /// Whether it is used.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    enabled: Option<bool>,
    /// Where the score of every model begins.
    #[arg(long, allow_negative_numbers = true)]
    bias: Option<f64>,
    /// Tokens of an answer where a request names no bound.
    #[arg(long)]
    default_output_tokens: Option<u32>,
    /// Weight of a dollar.
    #[arg(long)]
    utility_cost: Option<f64>,
    /// Weight of a second.
    #[arg(long)]
    utility_latency: Option<f64>,
    /// Weight of certain failure.
    #[arg(long)]
    utility_failure: Option<f64>,
    /// Weight of a feature; may be given several times.
    #[arg(long, value_name = "NAME=WEIGHT", value_parser = feature)]
    set_feature: Vec<(String, f64)>,
    /// Forget all weights of features before.
    #[arg(long)]
    clear_features: bool,
}

fn feature(text: &str) -> Result<(String, f64), String> {
    let (name, weight) = text.split_once('=').ok_or("write NAME=WEIGHT")?;
    let weight = weight.trim().parse().map_err(|_| format!("`{weight}` is no number"))?;
    Ok((name.trim().to_owned(), weight))
}

impl Account {
    fn change(self) -> AccountChange {
        let oauth = self.oauth;
        let pairs = [
            ("api_key", self.api_key, self.api_key_env),
            ("oauth_access_token", oauth.oauth_access_token, oauth.oauth_access_token_env),
            ("oauth_refresh_token", oauth.oauth_refresh_token, oauth.oauth_refresh_token_env),
            ("oauth_expires_at", oauth.oauth_expires_at, oauth.oauth_expires_at_env),
            ("oauth_client_id", oauth.oauth_client_id, oauth.oauth_client_id_env),
            ("oauth_client_secret", oauth.oauth_client_secret, oauth.oauth_client_secret_env),
            ("oauth_account_id", oauth.oauth_account_id, oauth.oauth_account_id_env),
        ];
        let secret = |value: Option<String>, variable: Option<String>| {
            variable.map(AccountSecret::Variable).or_else(|| value.map(AccountSecret::Literal))
        };
        AccountChange {
            name: self.name,
            provider: self.provider,
            base_url: self.base_url,
            auth_mode: self.auth_mode,
            secrets: pairs.into_iter().filter_map(|(key, value, variable)| Some((key, secret(value, variable)?))).collect(),
            oauth_token_url: oauth.oauth_token_url,
            organization: self.organization,
            project: self.project,
            models: self.models.map(named),
            enabled: if self.disabled { Some(false) } else { self.enabled.then_some(true) },
            set_default: self.set_default,
        }
    }
}

/// The names that are some.
fn named(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// How a change is made and told.
pub(super) struct How {
    pub(super) sources: LoadArgs,
    pub(super) dry_run: bool,
    pub(super) json: bool,
}

pub(super) fn run(command: Command, how: &How, environment: &Environment) -> Result<(), Failed> {
    change(how, environment, |document| apply(command, document))
}

/// Makes a change of the file, judges the whole, and writes it; what should be said comes back from the change.
pub(super) fn change(
    how: &How,
    environment: &Environment,
    make: impl FnOnce(&mut Document) -> Result<Vec<String>, ConfigError>,
) -> Result<(), Failed> {
    let target = edit::target(&how.sources, environment)?;
    let mut document = target.document()?;
    // What the file was warned about before is no news.
    let known = config::load_text(&how.sources, environment, document.text(), target.path()).map(|l| l.warnings).unwrap_or_default();
    let notes = make(&mut document).map_err(|error| Failed(1, error.to_string()))?;
    let loaded = config::load_text(&how.sources, environment, document.text(), target.path())
        .map_err(|error| Failed(super::EXIT_CONFIG, format!("nothing was written, for the file would not be valid: {error}")))?;
    check_house(loaded.config)?;
    let warnings: Vec<&String> = loaded.warnings.iter().filter(|warning| !known.contains(warning)).collect();
    let changed = if how.dry_run { target.document()?.text() != document.text() } else { target.write(document.text())? };
    let file = target.path().display().to_string();
    if how.json {
        let text = how.dry_run.then(|| document.masked()).flatten();
        return out::json(
            &json!({"file": file, "changed": changed, "dry_run": how.dry_run, "notes": notes, "warnings": warnings, "text": text}),
        );
    }
    for said in notes.iter().chain(warnings) {
        out::remark(&format!("warning: {said}"));
    }
    match (how.dry_run, changed) {
        (true, _) => {
            out::remark(&format!("{file}: not written (--dry-run)"));
            let not_followed =
                || Failed(1, "the file is written in a way in which its secrets can't be told, so it is not shown".to_owned());
            out::print(&document.masked().ok_or_else(not_followed)?)
        }
        (false, true) => out::line(&format!("{file}: changed")),
        (false, false) => out::line(&format!("{file}: nothing to change")),
    }
}

/// Makes a change; what should be said about it comes back.
fn apply(command: Command, document: &mut Document) -> Result<Vec<String>, ConfigError> {
    let quiet = |()| Vec::new();
    match command {
        Command::AddAccount(account) => edit::add_account(document, &account.change()).map(quiet),
        Command::RemoveAccount { named, name } => edit::remove_account(document, &named.or(name).unwrap_or_default()).map(quiet),
        Command::AddModel { model, account, set_default } => edit::add_model(document, &model, &account, set_default),
        Command::SetRoute { task, tier, model } => edit::set_route(document, &task, &tier, &named(model)),
        Command::SetFallbacks { models, append } => edit::set_fallbacks(document, &named(models), append).map(quiet),
        Command::SetProfile(profile) => {
            let known = Profile {
                quality_bias: profile.quality_bias,
                quality_sensitivity: profile.quality_sensitivity,
                cost_input_per_1k: profile.cost_input_per_1k,
                cost_output_per_1k: profile.cost_output_per_1k,
                latency_ms: profile.latency_ms,
                failure_rate: profile.failure_rate,
            };
            edit::set_profile(document, &profile.model, &known).map(quiet)
        }
        Command::SetCandidates { task, models, enable } => edit::set_candidates(document, &task, &named(models), enable),
        Command::SetLearned(weights) => {
            let learned = Learned {
                enabled: weights.enabled,
                bias: weights.bias,
                default_output_tokens: weights.default_output_tokens,
                utility_cost: weights.utility_cost,
                utility_latency: weights.utility_latency,
                utility_failure: weights.utility_failure,
                features: weights.set_feature,
                clear_features: weights.clear_features,
            };
            edit::set_learned(document, &learned).map(quiet)
        }
    }
}
