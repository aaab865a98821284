//! What people and programs think of answers.

use std::sync::Arc;

use axum::{Json, extract::State};
use bytes::Bytes;
use serde::Deserialize;
use store::feedback::{self, Opinion};
use utoipa::ToSchema;
use wire::{Code, Failure};

use super::{Answer, Known, explain, history::Opined, read};
use crate::{app::App, settle::bodies::without_keys};

/// Longest word that labels an answer.
const LABEL_BYTES_MAX: usize = 64;
/// Longest name of a model.
const MODEL_BYTES_MAX: usize = 256;
/// Longest comment.
const COMMENT_BYTES_MAX: usize = 4096;

/// Words that are scores.
const SCORES: [(&str, f64); 8] = [
    ("good", 1.0),
    ("up", 1.0),
    ("thumbs_up", 1.0),
    ("positive", 1.0),
    ("bad", 0.0),
    ("down", 0.0),
    ("thumbs_down", 0.0),
    ("negative", 0.0),
];

/// An opinion about an answer.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The answer's `x-request-id`.
    request_id: String,
    /// 0 (bad) to 1 (good).
    #[schema(minimum = 0, maximum = 1)]
    score: Option<f64>,
    /// A word of one's own; good, up, thumbs_up and positive are a score of 1, bad, down, thumbs_down and negative of 0.
    label: Option<String>,
    /// The model that should have answered.
    preferred_model: Option<String>,
    comment: Option<String>,
}

impl Given {
    fn check(&self) -> Result<(), Failure> {
        if self.request_id.is_empty() {
            return Err(Failure::invalid("request_id", "`request_id` is missing: it is the answer's `x-request-id`"));
        }
        if self.score.is_none() && self.label.is_none() && self.preferred_model.is_none() {
            return Err(Failure::invalid("score", "give at least one of `score`, `label` and `preferred_model`"));
        }
        if self.score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            return Err(Failure::invalid("score", "`score` lies between 0 and 1"));
        }
        for (name, text, bytes_max) in [
            ("label", &self.label, LABEL_BYTES_MAX),
            ("preferred_model", &self.preferred_model, MODEL_BYTES_MAX),
            ("comment", &self.comment, COMMENT_BYTES_MAX),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > bytes_max) {
                return Err(Failure::invalid(name, format!("`{name}` is longer than {bytes_max} bytes")));
            }
        }
        Ok(())
    }

    fn opinion(self, actor: &str) -> Opinion {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let label = said(self.label);
        let of_label = label.as_ref().and_then(|label| Some(SCORES.iter().find(|(word, _)| word == label)?.1));
        Opinion {
            actor: actor.to_owned(),
            score: self.score.or(of_label),
            label,
            preferred_model: said(self.preferred_model),
            comment: said(self.comment).map(|text| without_keys(text.into()).into_owned()),
            created_at_ms: store::now_ms(),
        }
    }
}

/// `POST /api/feedback`: says what one thinks of an answer; a second time in place of the first. For readers, and for the key that made the
/// request.
#[utoipa::path(
    post,
    path = "/api/feedback",
    tag = "requests",
    summary = "Says what one thinks of an answer; a second time in place of the first",
    request_body = Given,
    responses((status = 200, description = "What is kept", body = Opined), (status = 404, description = "No such request, or another's")),
    security(("bearer" = []))
)]
pub async fn give(State(app): State<Arc<App>>, Known(caller): Known, body: Bytes) -> Answer<Json<Opined>> {
    let given: Given = read(&body)?;
    given.check()?;
    let gone = || Failure::new(Code::NotFound, "there is no record of this request");
    let stored = explain::find(&app, &caller, &given.request_id).await?.ok_or_else(gone)?;
    let opinion = given.opinion(caller.key.as_ref().map_or("", |key| &key.id));
    if !feedback::set(&app.store, stored.seq, &opinion).await? {
        return Err(gone().into());
    }
    Ok(Json(opinion.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opinions_say_something_and_not_too_much() {
        let given = |json: &str| serde_json::from_str::<Given>(json).unwrap();
        for wrong in [
            r#"{"request_id": "r"}"#,
            r#"{"request_id": "r", "comment": "nice"}"#,
            r#"{"request_id": "", "score": 1}"#,
            r#"{"request_id": "r", "score": 1.1}"#,
            r#"{"request_id": "r", "score": -0.1}"#,
        ] {
            assert_eq!(given(wrong).check().unwrap_err().status(), 400, "{wrong}");
        }
        let long = Given { request_id: "r".into(), score: Some(1.0), comment: Some("x".repeat(COMMENT_BYTES_MAX + 1)), ..Given::default() };
        assert_eq!(long.check().unwrap_err().param.as_deref(), Some("comment"));
        let said = given(r#"{"request_id": "r", "label": "thumbs_down", "comment": "with sk-0123456789abcdef0123"}"#).opinion("key_1");
        assert_eq!((said.score, said.comment.as_deref(), &*said.actor), (Some(0.0), Some("with sk-…"), "key_1"));
        assert_eq!(given(r#"{"request_id": "r", "label": "odd", "comment": ""}"#).opinion("").score, None);
    }
}
