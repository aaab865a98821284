//! What can go wrong on the way out, by what the caller can do about it.

use std::{fmt, io, net::IpAddr, sync::Arc};

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which of the timers ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Name resolution, TCP, proxy tunnel and TLS together.
    Connect,
    /// From the request being handed to a connection until the answer's head.
    FirstByte,
    /// Between two pieces of the answer's body.
    Idle,
    /// The whole exchange.
    Total,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstByte => "waiting for the answer to begin",
            Self::Idle => "waiting for more of the answer",
            Self::Total => "the whole exchange",
        })
    }
}

/// A failed exchange.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URL is not an absolute `http` or `https` one. Nothing was sent.
    #[error("not a usable URL: {0}")]
    Url(String),
    /// No connection could be made: name, route, refusal, proxy or TLS. Nothing was sent.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        host: String,
        cause: String,
        /// What the system said, where it was the system.
        kind: Option<io::ErrorKind>,
    },
    /// The destination is where this client may not go ([`crate::Client::within`]). Nothing was sent.
    #[error("{host} is at {address}, and nothing may be sent there")]
    Barred { host: String, address: IpAddr },
    /// A timer ran out.
    #[error("timed out ({0})")]
    Timeout(Phase),
    /// The connection ended before the whole head of an answer came.
    #[error("the connection was closed before an answer: {cause}")]
    Closed {
        /// Part or all of the request may have reached the other side.
        sent: bool,
        cause: String,
    },
    /// What came back is not HTTP, or a head beyond the limits. The request was sent.
    #[error("not a valid HTTP answer: {0}")]
    Protocol(String),
    /// The request's own body stream failed.
    #[error("the request's body failed: {0}")]
    RequestBody(String),
    /// The answer's body broke off before its end.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// The answer's body is larger than the caller takes.
    #[error("the answer is larger than {max} bytes")]
    TooLarge { max: usize },
}

impl Error {
    /// Whether the other side may have seen the request. Where it is false, sending it again (to anybody) repeats nothing.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Url(_) | Self::Connect { .. } | Self::Barred { .. } | Self::Timeout(Phase::Connect) => false,
            Self::Closed { sent, .. } => *sent,
            Self::Timeout(_) | Self::Protocol(_) | Self::RequestBody(_) | Self::Body(_) | Self::TooLarge { .. } => true,
        }
    }

    /// The timer that ran out, if one did.
    pub fn timeout(&self) -> Option<Phase> {
        match self {
            Self::Timeout(phase) => Some(*phase),
            _ => None,
        }
    }

    /// Whether the other side, or the network before it, said that nobody listens there; silence and troubles of this machine are not that.
    pub fn is_refusal(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
        matches!(self, Self::Connect { kind: Some(ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable), .. })
    }

    pub(crate) fn connect(host: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        Self::Connect { host: host.to_owned(), cause: chain(cause), kind: kind(cause) }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = if error.timeout().is_some() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        Self::new(kind, Arc::new(error))
    }
}

/// The kind of the first error of the system among an error and its causes.
fn kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// An error with its causes, each said once: "tcp connect error: Connection refused (os error 111)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
