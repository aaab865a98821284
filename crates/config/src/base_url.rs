//! Base URLs as people write them, made into the one form that the rest of the house appends to.

/// An `http` or `https` URL with a host, without blanks, slashes at its end, query or fragment; or what it should be.
pub(crate) fn checked(text: &str) -> Result<String, &'static str> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").ok_or("an address that begins with http:// or https://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("an address that begins with http:// or https://");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an address with a host, as http://127.0.0.1:8000");
    }
    if text.contains(['?', '#']) {
        return Err("an address without ? and #");
    }
    if host.contains('@') {
        return Err("an address without a user name; credentials belong in api_key or headers");
    }
    Ok(format!("{}://{rest}", scheme.to_ascii_lowercase()))
}

/// `text` with the path that `usual` gives to the provider's version: a bare host gets all of it, a path that lacks only its
/// end gets that, one that names no version at all gets the last segment of `usual`. An empty `usual` leaves the path alone.
pub(crate) fn normalised(text: &str, usual: &str) -> Result<String, &'static str> {
    let url = checked(text)?;
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[host_at..].find('/').map_or(url.len(), |at| host_at + at);
    let (host, path) = url.split_at(path_at);
    if usual.is_empty() || path.ends_with(usual) {
        return Ok(url);
    }
    if path.is_empty() || usual.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) {
        return Ok(format!("{host}{usual}"));
    }
    if path.split('/').any(is_version) {
        return Ok(url);
    }
    match usual.split('/').find(|segment| is_version(segment)) {
        Some(version) => Ok(format!("{url}/{version}")),
        // A path without a version is a place of its own, and an address below it is one already.
        None if path.contains(usual) => Ok(url),
        None => Ok(format!("{url}{usual}")),
    }
}

/// `v1`, `v1beta`, `v2alpha1`, …
fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_one_base() {
        for (text, usual, want) in [
            ("http://h:1", "/v1", "http://h:1/v1"),
            ("http://h:1/", "/v1", "http://h:1/v1"),
            ("http://h/v1", "/v1", "http://h/v1"),
            ("HTTPS://h/v1/", "/v1", "https://h/v1"),
            ("http://h/proxy", "/v1", "http://h/proxy/v1"),
            ("http://h/proxy/v1", "/v1", "http://h/proxy/v1"),
            ("http://h", "/openai/v1", "http://h/openai/v1"),
            ("http://h/openai", "/openai/v1", "http://h/openai/v1"),
            ("http://h/openai/v1", "/openai/v1", "http://h/openai/v1"),
            ("http://h/v1", "/openai/v1", "http://h/v1"),
            ("http://h/api", "/api/v1", "http://h/api/v1"),
            ("http://h", "/v1/openai", "http://h/v1/openai"),
            ("http://h/v1", "/v1/openai", "http://h/v1/openai"),
            ("http://h/v1/openai", "/v1/openai", "http://h/v1/openai"),
            ("http://h", "/v1beta", "http://h/v1beta"),
            ("http://h/v1", "/v1beta", "http://h/v1"),
            ("http://h/x", "/v1beta", "http://h/x/v1beta"),
            ("http://h/v1beta/openai", "/v1", "http://h/v1beta/openai"),
            ("http://[::1]:8/x", "", "http://[::1]:8/x"),
            ("http://h", "/openai", "http://h/openai"),
            ("http://h/openai", "/openai", "http://h/openai"),
            ("http://h/manager", "/openai", "http://h/manager/openai"),
            ("http://h/openai/v1", "/openai", "http://h/openai/v1"),
            ("http://h/openai/deployments/d", "/openai", "http://h/openai/deployments/d"),
        ] {
            assert_eq!(normalised(text, usual).as_deref(), Ok(want), "{text} {usual}");
        }
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for text in
            ["", "h", "h:1", "ftp://h", "http://", "http:///v1", "http://:80", "http://h/?a=1", "http://h/#x", "http://a b", "http://u:p@h"]
        {
            assert!(checked(text).is_err(), "{text}");
        }
    }
}
