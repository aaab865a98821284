//! Why a request failed, in the words of the protocol.

use wire::fleet::worker::WorkerCode;

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub code: WorkerCode,
    pub message: String,
}

impl Fault {
    pub(crate) fn new(code: WorkerCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(WorkerCode::Invalid, message)
    }
}

impl From<llama::Error> for Fault {
    fn from(error: llama::Error) -> Self {
        let code = match error {
            llama::Error::Invalid(_) => WorkerCode::Invalid,
            llama::Error::Unsupported(_) => WorkerCode::Unsupported,
            llama::Error::Unloadable(_) | llama::Error::NoCells | llama::Error::Engine(_) => WorkerCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
