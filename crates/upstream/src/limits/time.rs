//! Times as providers write them, made into how long from now.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The longest wait that is believed.
pub(super) const WAIT_MAX: Duration = Duration::from_hours(31 * 24);

/// From this number on a number is a moment in Unix seconds, not a span.
const EPOCH_S_MIN: f64 = 1e9;
/// From this number on it is one in Unix milliseconds.
const EPOCH_MS_MIN: f64 = 1e12;

/// How long `text` is from now: seconds (`1.5`), a span with units (`6m0s`, `12ms`), a Unix time in seconds or milliseconds, RFC 3339,
/// or HTTP's date. A moment that is past is no time at all; what is none of these or beyond [`WAIT_MAX`] is `None`.
pub(super) fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        return match number {
            n if n >= EPOCH_MS_MIN => duration((n / 1e3 - since_epoch).max(0.0)),
            n if n >= EPOCH_S_MIN => duration((n - since_epoch).max(0.0)),
            n => duration(n),
        };
    }
    span(text).or_else(|| {
        let moment = text.parse::<Timestamp>().ok().or_else(|| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp()))?;
        let moment = moment.as_second().try_into().ok().map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s))?;
        Some(moment.duration_since(now).unwrap_or_default()).filter(|d| *d <= WAIT_MAX)
    })
}

/// Seconds as a duration, if they are not below nothing and not beyond [`WAIT_MAX`].
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|d| *d <= WAIT_MAX)
}

/// `1d2h3m4.5s`, `250ms`, `7µs`: at least one number, each with its unit.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let one = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * one;
        rest = after;
    }
    (!text.is_empty()).then(|| duration(seconds))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        for (text, want_s) in [
            ("0", Some(0.0)),
            (" 1.5 ", Some(1.5)),
            ("6m0s", Some(360.0)),
            ("2m59.56s", Some(179.56)),
            ("1h2m3s", Some(3_723.0)),
            ("1d", Some(86_400.0)),
            ("12ms", Some(0.012)),
            ("36s", Some(36.0)),
            ("1800000060", Some(60.0)),
            ("1800000060000", Some(60.0)),
            ("1799999999", Some(0.0)),
            ("2027-01-15T08:01:00Z", Some(60.0)),
            ("2027-01-15T10:01:00+02:00", Some(60.0)),
            ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60.0)),
            ("2020-01-01T00:00:00Z", Some(0.0)),
            ("", None),
            ("-5", None),
            ("NaN", None),
            ("inf", None),
            ("s", None),
            ("5 s", None),
            ("5parsecs", None),
            ("1.2.3s", None),
            ("99999999", None),
            ("9999d", None),
            ("soon", None),
        ] {
            let got = wait(text, now).map(|d| d.as_secs_f64());
            assert!(
                match (got, want_s) {
                    (Some(got), Some(want)) => (got - want).abs() < 1e-3,
                    (got, want) => got.is_none() && want.is_none(),
                },
                "{text}: {got:?}"
            );
        }
    }
}
