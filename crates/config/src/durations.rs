//! How amounts are written: times (`5s`, `100ms`, a bare number in seconds), sizes (`64MiB`), shares (`20%`) and ranges.

use std::time::Duration;

/// The longest time a setting can name: ten years. Longer ones are mistakes, and sums of this many still fit everywhere.
pub const DURATION_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// A time: a number with `ms`, `s`, `m`, `h` or `d`, several of them in a row (`1h30m`), or a bare number of seconds.
/// `None` for anything else, a negative one, or one above [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Some(seconds) = number(rest) {
        return bounded(seconds);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (amount, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let seconds = match &after[..unit_end] {
            "ms" => amount / 1e3,
            "s" | "sec" | "secs" => amount,
            "m" | "min" => amount * 60.0,
            "h" => amount * 3600.0,
            "d" => amount * 86_400.0,
            _ => return None,
        };
        sum = sum.checked_add(bounded(seconds)?)?;
        rest = after[unit_end..].trim_start();
    }
    (!text.trim().is_empty() && sum <= DURATION_MAX).then_some(sum)
}

/// Two times with `..` between, or one that is both ends. `None` if either is no time or the first is the longer.
pub fn parse_duration_range(text: &str) -> Option<(Duration, Duration)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (parse_duration(from)?, parse_duration(to)?);
    (from <= to).then_some((from, to))
}

/// A size in bytes: a number, bare or with `B`, `KB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` or `K`, `M`, `G` (powers of 1024).
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (amount, unit) = split_number(text.trim())?;
    let factor: f64 = match unit.trim() {
        "" | "B" => 1.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "K" | "k" | "KiB" => 1024.0,
        "M" | "MiB" => 1024.0 * 1024.0,
        "G" | "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = amount * factor;
    // 2^53: whole numbers above it would be rounded.
    (bytes <= 9_007_199_254_740_992.0).then_some(bytes as u64)
}

/// A share: `20%` or `0.2`, from nothing to all.
pub fn parse_share(text: &str) -> Option<f64> {
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim_end())? / 100.0,
        None => number(text)?,
    };
    (share <= 1.0).then_some(share)
}

fn bounded(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|d| *d <= DURATION_MAX)
}

/// A plain decimal number, not negative. (`f64::from_str` alone would also take `inf`, `nan` and `1e9`.)
fn number(text: &str) -> Option<f64> {
    (text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.'))
        .then(|| text.parse().ok())
        .flatten()
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((number(&text[..end])?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("5s", 5000),
            ("100ms", 100),
            ("60", 60_000),
            ("0", 0),
            ("1.5", 1500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            (" 5 s ", 5000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1", "5x", "s", "5 5", "1e3", "inf", "nan", "99999d", "1..2", "5s x"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_sizes_and_shares() {
        let ms = Duration::from_millis;
        assert_eq!(parse_duration_range("100ms..2s"), Some((ms(100), ms(2000))));
        assert_eq!(parse_duration_range("1s"), Some((ms(1000), ms(1000))));
        assert_eq!(parse_duration_range("2s..1s"), None);
        for (text, bytes) in [("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("1000", 1000), ("2K", 2048), ("2KB", 2000), ("1.5GiB", 3 << 29)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1TB!", "99999999999999999999"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        assert_eq!(
            [parse_share("20%"), parse_share("0.2"), parse_share("100%"), parse_share("101%"), parse_share("x")],
            [Some(0.2), Some(0.2), Some(1.0), None, None]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}") {
            let _ = (parse_duration(&text), parse_duration_range(&text), parse_bytes(&text), parse_share(&text));
        }

        #[test]
        fn whole_milliseconds_come_back(millis in 0u64..10_000_000_000) {
            prop_assert_eq!(parse_duration(&format!("{millis}ms")).map(|d| (d.as_secs_f64() * 1e3).round() as u64), Some(millis));
        }
    }
}
