//! What single values can't show: whether they go together.

use std::net::{IpAddr, Ipv4Addr};

use crate::account::Reach;
use crate::config::{AuthMode, Config, ManagementAuth};
use crate::error::ConfigError;
use crate::known;
use crate::providers::provider;
use crate::reader::Reader;

/// Makes the choices that depend on several settings, and refuses what doesn't go together.
pub(crate) fn settle(config: &mut Config, reader: &mut Reader) -> Result<(), ConfigError> {
    bind_safely(config, reader)?;
    distinct_listeners(config)?;
    check_default_model(config, reader)?;
    crate::litellm_words::warn_of_others(reader);
    Ok(())
}

impl Config {
    /// Refuses a router that nobody could ever call: `auth.mode: required` written by the operator, and no key in the settings
    /// nor, as `store_has_keys` says, in the database, and no identity provider.
    pub fn check_keys(&self, store_has_keys: bool) -> Result<(), ConfigError> {
        if self.auth.mode == AuthMode::Required && self.auth.mode_explicit && !store_has_keys && !self.auth.names_a_credential() {
            return Err(ConfigError::Invalid(
                "auth.mode is required (LLM_ROUTER_AUTH_MODE, INGRESS_AUTH_REQUIRED or ENABLE_AUTH), but there is no key: set LLM_ROUTER_API_KEYS or LLM_ROUTER_MASTER_KEY, or make one with `llm-router key create`"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Open access stays on loopback unless the operator says twice that it should not.
fn bind_safely(config: &mut Config, reader: &mut Reader) -> Result<(), ConfigError> {
    let what = match (config.auth.mode, config.auth.management) {
        (AuthMode::Off, _) => "auth.mode is off",
        (_, ManagementAuth::Open) => "auth.management is open",
        _ => return Ok(()),
    };
    let server = &mut config.server;
    if !reader.is_written("server.host") && server.listen.is_empty() {
        server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for shown in reader.shown.iter_mut().filter(|s| s.key == "server.host") {
            shown.value = server.host.to_string();
        }
        reader.warnings.push(format!("{what}: listening on 127.0.0.1 only; name a host to change that"));
        return Ok(());
    }
    let public = server.listeners().into_iter().find(|a| !a.ip().to_canonical().is_loopback());
    match public {
        Some(address) if !server.allow_insecure => Err(ConfigError::Invalid(format!(
            "{what}, and {address} ({}) can be reached from elsewhere: listen on 127.0.0.1, or set server.allow_insecure (LLM_ROUTER_ALLOW_INSECURE=true) if everybody who reaches it may use it",
            reader.origin(if server.listen.is_empty() { "server.host" } else { "server.listen" })
        ))),
        Some(address) => {
            reader.warnings.push(format!("{what}: everybody who reaches {address} may use this router"));
            Ok(())
        }
        None => Ok(()),
    }
}

fn distinct_listeners(config: &Config) -> Result<(), ConfigError> {
    let listen = &config.server.listen;
    match listen.iter().enumerate().find(|(i, a)| a.port() != 0 && listen[..*i].contains(a)) {
        Some((_, twice)) => Err(ConfigError::Invalid(format!("server.listen names {twice} twice"))),
        None => Ok(()),
    }
}

/// A default model that nothing lists is an error where the operator said what there is, and a warning where a node may bring it.
fn check_default_model(config: &Config, reader: &mut Reader) -> Result<(), ConfigError> {
    let Some(model) = config.default_model.as_deref() else { return Ok(()) };
    let open = |reach| matches!(reach, Reach::Any | Reach::Discovered);
    if is_listed(config, model) || config.accounts.iter().any(|a| a.enabled && open(a.reach)) {
        return Ok(());
    }
    let origin = reader.origin("default_model");
    // A provider of the environment may take it by its name alone.
    let may_be_taken = config.accounts.iter().any(|a| a.reach == Reach::Prefixed);
    if !config.models.is_empty() && !may_be_taken {
        let names =
            config.models.iter().map(|m| m.id.as_str()).chain(config.accounts.iter().flat_map(|a| a.models.iter().map(String::as_str)));
        let nearest = known::nearest(model, names).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        return Err(ConfigError::Invalid(format!(
            "default_model = {model} ({origin}) is unknown: neither models nor accounts nor aliases list it{nearest}"
        )));
    }
    if !config.accounts.is_empty() && !may_be_taken {
        reader.warnings.push(format!("default_model = {model}: no account lists it; only a node can serve it"));
    }
    Ok(())
}

fn is_listed(config: &Config, model: &str) -> bool {
    let is_automatic =
        model == "auto" || model.starts_with("auto:") || model == "dummy" || model.starts_with("dummy-") || model.contains('|');
    let has_prefix = |separator| {
        let prefix = model.split_once(separator).map(|(prefix, _)| prefix);
        prefix.is_some_and(|p| p == "node" || provider(p).is_some() || config.accounts.iter().any(|a| a.name == p || a.provider == p))
    };
    is_automatic
        || config.aliases.contains_key(model)
        || config.models.iter().any(|m| m.id == model)
        || config.accounts.iter().any(|a| a.upstream_name(model).is_some())
        || has_prefix(':')
        || has_prefix('/')
}
