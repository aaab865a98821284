//! Which answer a request gets.

use std::collections::VecDeque;

use crate::reply::Reply;

/// Answers in the order in which requests come; the last one stays.
#[derive(Debug, Clone)]
pub struct Script {
    pub(crate) replies: VecDeque<Reply>,
    pub(crate) paths: Vec<(String, Reply)>,
    pub(crate) models: Vec<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self::always(Reply::ok())
    }
}

impl Script {
    /// The same answer to every request.
    pub fn always(reply: Reply) -> Self {
        Self::sequence([reply])
    }

    /// One answer after the other, then the last again and again. `GET` requests take none of them.
    ///
    /// # Panics
    /// If there is no reply.
    pub fn sequence(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: VecDeque<_> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "a script needs an answer");
        Self { replies, paths: Vec::new(), models: vec!["gpt-mock".into()] }
    }

    /// The answer to a path (without its query), whatever the method and however often.
    #[must_use]
    pub fn on(mut self, path: &str, reply: Reply) -> Self {
        self.paths.push((path.to_owned(), reply));
        self
    }

    /// The ids that `/v1/models` lists.
    #[must_use]
    pub fn models<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        self.models = ids.into_iter().map(Into::into).collect();
        self
    }

    /// The answer to the next request.
    pub(crate) fn next(&mut self, method: &str, path: &str) -> Reply {
        if let Some((_, reply)) = self.paths.iter().find(|(known, _)| known == path) {
            return reply.clone();
        }
        if method == "GET" {
            return Reply::ok();
        }
        if self.replies.len() > 1 { self.replies.pop_front() } else { self.replies.front().cloned() }.unwrap_or_default()
    }
}
