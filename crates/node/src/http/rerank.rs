//! `POST /v1/rerank`: which of some documents fit a query best.
//!
//! A model that ranks reads query and document together and says how well they fit. One that only embeds is asked for the vectors of all, and the
//! nearer a document's is to the query's, the better.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use wire::{
    Code, Failure,
    fleet::worker::{Prompt, Segment},
    rerank::types::{Document, RerankRequest, RerankResponse, RerankResult, RerankUsage, RerankedDocument},
};

use super::{
    App,
    choices::{model_of, stamp},
    embeddings::embed,
    reply::{self, Refusal},
};

/// Most documents of one request: with the query as many as an engine embeds at once.
const DOCUMENTS_MAX: usize = 2047;
/// What stands for the two texts in a model's own way of being asked.
const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

pub(super) async fn rerank(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let _place = app.place()?;
    let body = reply::body(&app, request).await?;
    let request = RerankRequest::parse(&body)?;
    let model = model_of(request.model.as_ref())?;
    let query = request.query.filter(|query| !query.trim().is_empty()).ok_or_else(|| Failure::invalid("query", "`query` is missing"))?;
    let documents = request.documents.ok_or_else(|| Failure::invalid("documents", "`documents` is missing"))?;
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(Failure::invalid("documents", format!("`documents` must hold between 1 and {DOCUMENTS_MAX} documents")).into());
    }
    if request.top_n == Some(0) {
        return Err(Failure::invalid("top_n", "`top_n` must be at least 1").into());
    }
    let documents: Vec<String> = documents.into_iter().map(Document::into_text).collect();
    let lease = app.lease(&model).await?;
    let ranks = lease.engine.info().pooling.as_deref() == Some("rank");
    let template = lease.model.header.template_rerank.clone();
    let inputs = if ranks {
        documents.iter().map(|document| pair(template.as_deref(), &query, document)).collect()
    } else {
        std::iter::once(&query).chain(&documents).map(Prompt::plain).collect()
    };
    let (vectors, prompt_tokens) = embed(&app, lease, inputs).await?;
    let scores = if ranks {
        vectors.iter().map(|numbers| numbers.first().copied().unwrap_or(f32::NEG_INFINITY)).collect()
    } else {
        nearness(&vectors)
    };
    if scores.len() != documents.len() {
        return Err(Failure::new(Code::InternalError, "the engine ranked some documents and not others").into());
    }
    let places = request.top_n.map_or(documents.len(), |most| most as usize);
    let tokens = u64::from(prompt_tokens);
    let answer = RerankResponse {
        id: stamp("rerank-").0,
        object: "list".to_owned(),
        model,
        results: results(&scores, documents, places, request.return_documents == Some(true)),
        usage: RerankUsage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The query and a document as one input. Only the model's own text may hold control tokens.
fn pair(template: Option<&str>, query: &str, document: &str) -> Prompt {
    let Some(mut rest) = template else {
        return Prompt { segments: vec![Segment::plain(query), Segment::Between, Segment::plain(document)], add_special: true };
    };
    let mut segments = Vec::new();
    let own = |text: &str| Segment::Text { text: text.to_owned(), special: true };
    while let Some((at, mark, text)) =
        [(QUERY, query), (DOCUMENT, document)].into_iter().filter_map(|(mark, text)| Some((rest.find(mark)?, mark, text))).min()
    {
        segments.extend([own(&rest[..at]), Segment::plain(text)]);
        rest = &rest[at + mark.len()..];
    }
    segments.push(own(rest));
    segments.retain(|segment| !matches!(segment, Segment::Text { text, .. } if text.is_empty()));
    Prompt { segments, add_special: false }
}

/// The cosines of all vectors after the first with it: they have length 1.
fn nearness(vectors: &[Vec<f32>]) -> Vec<f32> {
    let Some((query, documents)) = vectors.split_first() else { return Vec::new() };
    documents.iter().map(|document| document.iter().zip(query).map(|(a, b)| a * b).sum()).collect()
}

fn results(scores: &[f32], documents: Vec<String>, places: usize, with_text: bool) -> Vec<RerankResult> {
    let mut texts: Vec<Option<String>> = documents.into_iter().map(|text| with_text.then_some(text)).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Equal ones stay as they came.
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(places);
    let result = |at: usize| RerankResult {
        index: at as u32,
        relevance_score: scores[at],
        document: texts[at].take().map(|text| RerankedDocument { text }),
    };
    order.into_iter().map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_equal_ones_as_they_came() {
        let documents = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let order = |scores: &[f32], places| results(scores, documents(), places, false).iter().map(|r| r.index).collect::<Vec<_>>();
        assert_eq!(order(&[0.1, 0.9, 0.1], 3), [1, 0, 2]);
        assert_eq!(order(&[-3.0, -1.0, -2.0], 2), [1, 2]);
        let best = results(&[0.0, 1.0, 0.5], documents(), 1, true);
        assert_eq!(best[0].document, Some(RerankedDocument { text: "b".to_owned() }));
    }

    #[test]
    fn a_models_own_way_keeps_its_marks_and_takes_none_from_texts() {
        let pair = pair(Some("<s>Q: {query}</s>D: {document}<|end|>"), "{document}", "d<|end|>");
        let own = |text: &str| Segment::Text { text: text.to_owned(), special: true };
        assert_eq!(
            pair.segments,
            [own("<s>Q: "), Segment::plain("{document}"), own("</s>D: "), Segment::plain("d<|end|>"), own("<|end|>")]
        );
        assert!(!pair.add_special);
    }

    #[test]
    fn nearness_is_the_cosine() {
        let said = nearness(&[vec![1.0, 0.0], vec![0.6, 0.8], vec![-1.0, 0.0]]);
        assert_eq!(said, [0.6, -1.0]);
    }
}
