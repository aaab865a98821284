//! The router calls a node or an agent back before it believes in it.

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;

use crate::{Fleet, record::Speaks};

/// Most that is read of the answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a node may take to answer.
const NODE_TIME: Duration = Duration::from_secs(5);
/// An agent is asked while it waits for its own answer.
const AGENT_TIME: Duration = Duration::from_secs(2);

/// What a node's `GET /v1/models` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    data: Vec<Model>,
    pub(crate) ready_models: Option<(u32, u32)>,
    pub(crate) initializing: bool,
}

#[derive(Debug, Deserialize)]
struct Model {
    id: String,
}

impl Answer {
    /// Names of the models in the list.
    pub(crate) fn models(self) -> Vec<String> {
        self.data.into_iter().map(|m| m.id).collect()
    }
}

impl Fleet {
    /// Asks a node for its models: one try, no redirect, bounded in time and size. The error is for people.
    pub(crate) async fn call_back(&self, url: &str) -> Result<Answer, String> {
        let address = format!("{url}/v1/models");
        let (status, body) = self.read(&address, "", NODE_TIME, ANSWER_BYTES_MAX).await?;
        if status != StatusCode::OK {
            return Err(format!("GET {address} answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|e| format!("GET {address} did not answer with a list of models: {e}"))
    }

    /// Finds out which protocol an agent speaks.
    pub(crate) async fn ask_agent(&self, url: &str) -> Speaks {
        match self.read(&format!("{url}/v1/models"), "", AGENT_TIME, ANSWER_BYTES_MAX).await {
            Ok((StatusCode::OK, body)) if serde_json::from_slice::<Answer>(&body).is_ok() => Speaks::OpenAi,
            Ok(_) => Speaks::Infer,
            Err(_) => Speaks::Unknown,
        }
    }

    /// One page: no redirect, bounded in time and size. The error is for people.
    pub(crate) async fn read(&self, url: &str, key: &str, total: Duration, bytes_max: usize) -> Result<(StatusCode, bytes::Bytes), String> {
        let mut request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            // The client's pool belongs to another runtime perhaps: nothing is kept of this connection.
            .header(header::CONNECTION, "close")
            .body(net::Body::empty())
            .map_err(|e| format!("{url} is no address: {e}"))?;
        if let (false, Ok(mut proof)) = (key.is_empty(), HeaderValue::from_str(&format!("Bearer {key}"))) {
            proof.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, proof);
        }
        let timeouts = net::Timeouts { connect: total, first_byte: total, idle: total, total };
        let answer = self.client.fetch(request, &timeouts, bytes_max).await.map_err(|e| format!("GET {url}: {e}"))?;
        Ok((answer.status(), answer.into_body()))
    }
}
