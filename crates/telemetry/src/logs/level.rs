//! Env-filter syntax, with the level names of other ecosystems and our libraries' noise turned down.

use tracing_subscriber::EnvFilter;

use crate::Error;

/// Libraries that say too much below `warn`.
const NOISY: [&str; 7] = ["h2", "hyper", "hyper_util", "mio", "rustls", "sqlx", "tower"];
/// Longest specification taken.
const LEVEL_BYTES_MAX: usize = 1024;
const ALLOWED: &str = "use off, error, warn, info, debug or trace, or target=level pairs joined by commas";

/// The filter of a specification.
pub(super) fn filter(given: &str) -> Result<EnvFilter, Error> {
    let fail = |reason: String| Error::Level { given: given.chars().take(80).collect(), reason };
    if given.trim().is_empty() || given.len() > LEVEL_BYTES_MAX {
        return Err(fail(ALLOWED.into()));
    }
    let mut directives = Vec::new();
    for part in given.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = part.rsplit_once('=').map_or(("", part), |(target, level)| (target, level));
        // A bare word that is no level would silently mean "this target at trace".
        let level = level_name(level).ok_or_else(|| fail(ALLOWED.into()))?;
        directives.push(if target.is_empty() { level.to_owned() } else { format!("{target}={level}") });
    }
    // Where nothing below `error` is wanted, the libraries' `warn` would be more, not less.
    let is_quieter = directives.iter().any(|directive| matches!(directive.as_str(), "off" | "error"));
    for library in NOISY.into_iter().filter(|_| !is_quieter) {
        let is_named =
            directives.iter().any(|directive| directive.strip_prefix(library).is_some_and(|rest| rest.starts_with(['=', ':', '['])));
        if !is_named {
            directives.push(format!("{library}=warn"));
        }
    }
    EnvFilter::builder().parse(directives.join(",")).map_err(|error| fail(format!("{error}; {ALLOWED}")))
}

fn level_name(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "off" | "none" => "off",
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_of_other_ecosystems_work() {
        for level in ["INFO", "Warning", "CRITICAL", "router=debug,info", "info, net::pool=trace", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused_with_what_is() {
        for level in ["", "  ", "loud", "info,loud", "router=loud", "=", &"x".repeat(2000)] {
            let error = filter(level).expect_err(level);
            assert!(error.to_string().contains("debug"), "{error}");
        }
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        assert!(filter("debug").expect("a filter").to_string().contains("hyper=warn"));
        assert!(!filter("debug,hyper=trace").expect("a filter").to_string().contains("hyper=warn"));
        assert!(!filter("error").expect("a filter").to_string().contains("warn"));
    }
}
