//! How a model's file is given out over HTTP: whole or one range of it, under a tag that is its SHA-256.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE},
    response::Builder,
};

use crate::manifest::Piece;

/// The answer to a request for `piece`: its head, and which bytes follow (none for a version that is known, and for a range behind the end).
pub fn answer(piece: &Piece, asked: &HeaderMap) -> (Builder, Option<(u64, u64)>) {
    let bytes = piece.hashes.bytes;
    let tag = format!("\"{}\"", piece.hashes.sha256);
    let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let head = http::Response::builder().header(ETAG, &tag).header(ACCEPT_RANGES, "bytes");
    let is_tag = |known: &str| matches!(known.trim(), "*") || known.trim() == tag;
    if text(IF_NONE_MATCH).is_some_and(|known| known.split(',').any(is_tag)) {
        return (head.status(StatusCode::NOT_MODIFIED), None);
    }
    let is_same = text(IF_RANGE).is_none_or(|known| known.trim() == tag);
    let (head, from, to) = match text(RANGE).filter(|_| is_same).map_or(Ok(None), |range| span(range, bytes)) {
        Err(Behind) => return (head.status(StatusCode::RANGE_NOT_SATISFIABLE).header(CONTENT_RANGE, format!("bytes */{bytes}")), None),
        Ok(Some((from, to))) => {
            let range = format!("bytes {from}-{}/{bytes}", to - 1);
            (head.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range), from, to)
        }
        Ok(None) => (head, 0, bytes),
    };
    let head = head.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, to - from).header(
        CONTENT_DISPOSITION,
        format!("attachment; filename=\"{}\"", piece.file.replace(|c: char| !c.is_ascii_graphic() || c == '"', "_")),
    );
    (head, Some((from, to)))
}

/// A range begins behind the file's end.
#[derive(Debug, PartialEq, Eq)]
struct Behind;

/// The one range of a header, as positions without the last. `None`: no range, or several, which are not given.
fn span(range: &str, bytes: u64) -> Result<Option<(u64, u64)>, Behind> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|rest| rest.split_once('-')) else { return Ok(None) };
    let (first, last) = (first.trim(), last.trim());
    let (from, to) = match (number(first), number(last)) {
        (None, Some(length)) if first.is_empty() => (if length == 0 { bytes } else { bytes.saturating_sub(length) }, bytes),
        (Some(from), None) if last.is_empty() => (from, bytes),
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(bytes)),
        _ => return Ok(None),
    };
    if from < bytes { Ok(Some((from, to))) } else { Err(Behind) }
}

#[cfg(test)]
mod tests {
    use net::download::Hashes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_inside_the_file() {
        for (range, wanted) in [
            ("bytes=0-99", Ok(Some((0, 100)))),
            ("bytes=990-", Ok(Some((990, 1000)))),
            ("bytes=-16", Ok(Some((984, 1000)))),
            ("bytes=-5000", Ok(Some((0, 1000)))),
            ("bytes=100-9999999", Ok(Some((100, 1000)))),
            ("bytes=1000-", Err(Behind)),
            ("bytes=-0", Err(Behind)),
            ("bytes=5-2", Ok(None)),
            ("bytes=0-1,4-5", Ok(None)),
            ("bytes=x-", Ok(None)),
            ("items=0-1", Ok(None)),
            ("bytes=18446744073709551616-", Ok(None)),
        ] {
            assert_eq!(span(range, 1000), wanted, "{range}");
        }
        assert_eq!(span("bytes=0-", 0), Err(Behind));
    }

    #[test]
    fn a_tag_says_which_version_is_meant() {
        let hashes = Hashes { bytes: 10, sha256: "ab".repeat(32), ..Hashes::default() };
        let piece = Piece { file: "mo\"del.gguf".to_owned(), hashes };
        let tag = format!("\"{}\"", "ab".repeat(32));
        let told = |headers: &[(http::HeaderName, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
            let (head, span) = answer(&piece, &headers);
            (head.body(()).unwrap().status().as_u16(), span)
        };
        assert_eq!(told(&[]), (200, Some((0, 10))));
        assert_eq!(told(&[(IF_NONE_MATCH, &tag)]), (304, None));
        assert_eq!(told(&[(RANGE, "bytes=2-3")]), (206, Some((2, 4))));
        assert_eq!(told(&[(RANGE, "bytes=2-3"), (IF_RANGE, &tag)]), (206, Some((2, 4))));
        assert_eq!(told(&[(RANGE, "bytes=2-3"), (IF_RANGE, "\"other\"")]), (200, Some((0, 10))));
        assert_eq!(told(&[(RANGE, "bytes=10-")]), (416, None));
    }

    proptest! {
        #[test]
        fn no_range_leaves_the_file(text in "bytes=[0-9]{0,20}-[0-9]{0,20}", bytes in 0u64..10_000) {
            if let Ok(Some((from, to))) = span(&text, bytes) {
                prop_assert!(from < to && to <= bytes);
            }
        }
    }
}
