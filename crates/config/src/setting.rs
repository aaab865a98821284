//! How one value is read from text: the same way from a flag, a variable, the file and the table of defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::durations::{parse_bytes, parse_duration, parse_duration_range, parse_share};
use crate::tree::{Node, Value};

/// A type that a setting can have.
pub(crate) trait Setting: Sized {
    /// What is allowed, as the end of the sentence "it must be …".
    fn allowed() -> String;

    /// The value that a text says.
    fn from_text(text: &str) -> Option<Self>;

    /// The value that a node says; lists are for types that are lists.
    fn from_node(node: &Node) -> Option<Self> {
        Self::from_text(node.scalar()?.trim())
    }
}

impl Setting for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Setting for $number {
            fn allowed() -> String {
                format!("a whole number from {} to {}", <$number>::MIN, <$number>::MAX)
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}

whole_numbers!(u16, u32, u64, i32, i64);

/// A number that is finite and not negative.
impl Setting for f64 {
    fn allowed() -> String {
        "a number that is not negative".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)
    }
}

impl Setting for String {
    fn allowed() -> String {
        "a text".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Setting for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        (!text.contains('\0')).then(|| Self::from(text))
    }
}

impl Setting for Duration {
    fn allowed() -> String {
        "a time such as 500ms, 5s or 2m, or a number of seconds".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text)
    }
}

/// A time that is not nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval(pub(crate) Duration);

impl Setting for Interval {
    fn allowed() -> String {
        "a time above 0 such as 500ms, 5s or 2m, or a number of seconds".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text).filter(|d| !d.is_zero()).map(Self)
    }
}

/// A shortest and a longest time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration, pub(crate) Duration);

impl Setting for Span {
    fn allowed() -> String {
        "two times with .. between, such as 100ms..2s".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_duration_range(text).map(|(from, to)| Self(from, to))
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(pub(crate) u64);

impl Setting for Bytes {
    fn allowed() -> String {
        "a size such as 65536, 64KiB, 64MiB or 1GB".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_bytes(text).filter(|n| *n > 0).map(Self)
    }
}

/// A part of the whole, 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share(pub(crate) f64);

impl Setting for Share {
    fn allowed() -> String {
        "a share such as 20% or 0.2".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        parse_share(text).map(Self)
    }
}

/// A whole number that is at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count(pub(crate) u32);

impl Setting for Count {
    fn allowed() -> String {
        format!("a whole number from 1 to {}", u32::MAX)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| *n > 0).map(Self)
    }
}

impl Setting for IpAddr {
    fn allowed() -> String {
        "an address such as 127.0.0.1, 0.0.0.0 or ::1".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if bare.eq_ignore_ascii_case("localhost") { Some(Self::V4(Ipv4Addr::LOCALHOST)) } else { bare.parse().ok() }
    }
}

impl Setting for SocketAddr {
    fn allowed() -> String {
        "an address with a port such as 127.0.0.1:8080 or [::1]:8080".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        // An IPv6 address without brackets can't be told from its port.
        if host.contains(':') && !host.starts_with('[') {
            return None;
        }
        Some(Self::new(IpAddr::from_text(host)?, port.parse().ok()?))
    }
}

/// An HTTP status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status(pub(crate) u16);

impl Setting for Status {
    fn allowed() -> String {
        "a status from 400 to 599".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (400..600).contains(n)).map(Self)
    }
}

/// Several: a list in a file, separated by commas in a text.
impl<T: Setting> Setting for Vec<T> {
    fn allowed() -> String {
        format!("a list, each item {}", T::allowed())
    }

    fn from_text(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::from_text).collect()
    }

    fn from_node(node: &Node) -> Option<Self> {
        match &node.value {
            Value::List(items) => items.iter().map(T::from_node).collect(),
            Value::Null => Some(Self::new()),
            _ => Self::from_text(node.scalar()?.trim()),
        }
    }
}

/// An enum whose values are words; the first word of each is what it prints as.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $also:literal)*),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word that means it in settings.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::setting::Setting for $name {
            fn allowed() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }

            fn from_text(text: &str) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($word $(| $also)* => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners() {
        for (text, want) in
            [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80"), ("localhost:80", "127.0.0.1:80"), ("0.0.0.0:0", "0.0.0.0:0")]
        {
            assert_eq!(SocketAddr::from_text(text).map(|a| a.to_string()).as_deref(), Some(want), "{text}");
        }
        for text in ["80", ":80", "::1:80", "127.0.0.1", "127.0.0.1:99999", "example.org:80", ""] {
            assert!(SocketAddr::from_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn truths() {
        for text in ["true", "TRUE", "1", "yes", "Yes", "on"] {
            assert_eq!(bool::from_text(text), Some(true), "{text}");
        }
        for text in ["false", "FALSE", "0", "no", "off"] {
            assert_eq!(bool::from_text(text), Some(false), "{text}");
        }
        assert_eq!([bool::from_text("maybe"), bool::from_text("2")], [None, None]);
    }

    #[test]
    fn lists_come_from_commas_and_from_lists() {
        assert_eq!(Vec::<u16>::from_text("1, 2,,3"), Some(vec![1, 2, 3]));
        assert_eq!(Vec::<u16>::from_text("1,x"), None);
        let list = Node::from_json(&serde_json::json!([1, "2"]));
        assert_eq!(Vec::<u16>::from_node(&list), Some(vec![1, 2]));
    }
}
