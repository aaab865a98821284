//! Texts that are put to a model without an answer in words: ranked, tokenised, rendered.

use std::fs;

use serde_json::{Value, json};
use testkit::Gguf;

use crate::node::{Node, PLAIN, eventually};

fn order(answer: &Value) -> Vec<(u64, f64)> {
    let one = |result: &Value| (result["index"].as_u64().unwrap(), result["relevance_score"].as_f64().unwrap());
    answer["results"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(one).collect()
}

#[test]
fn documents_are_ranked_by_models_that_rank_and_by_models_that_embed() {
    let node = Node::alone(&["embeds", "ranks+rank"]);
    let ask = |model: &str, more: Value| {
        let mut body = json!({"model": model, "query": "blue whale", "documents": ["a red fox", {"text": "the blue whale"}, "a blue fox"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.post("/v1/rerank", &body)
    };
    let ranked = ask("ranks+rank", json!({})).json();
    assert_eq!(order(&ranked), [(1, 2.0), (2, 1.0), (0, 0.0)], "the scores are the model's own");
    assert_eq!(
        (&ranked["object"], &ranked["model"], &ranked["usage"]),
        (&json!("list"), &json!("ranks+rank"), &json!({"prompt_tokens": 15, "total_tokens": 15}))
    );
    assert!(ranked["results"][0].get("document").is_none());
    let best = ask("ranks+rank", json!({"top_n": 1, "return_documents": true})).json();
    assert_eq!(best["results"], json!([{"index": 1, "relevance_score": 2.0, "document": {"text": "the blue whale"}}]));
    let near = order(&ask("embeds", json!({})).json());
    assert_eq!(near.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 0], "{near:?}");
    assert!(near.iter().all(|(_, score)| (-1.001..=1.001).contains(score)) && near[0].1 > near[2].1, "{near:?}");
    for (bad, param) in [
        (json!({"query": ""}), "query"),
        (json!({"documents": []}), "documents"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"documents": [7]}), "documents[0]"),
    ] {
        let answer = ask("embeds", bad);
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
    assert_eq!(node.post("/v1/rerank", &json!({"query": "q", "documents": ["d"]})).json()["error"]["param"], "model");
}

#[test]
fn a_model_s_own_way_of_ranking_is_used() {
    let node = Node::alone(&[]);
    let file = Gguf::with_template(PLAIN).text("tokenizer.chat_template.rerank", "judge {query} against {document} now").build();
    fs::write(node.models_dir().join("own+rank.gguf"), file).unwrap();
    eventually("the model is found", || (node.get("/v1/models/own+rank").status == 200).then_some(()));
    let answer = node.post("/v1/rerank", &json!({"model": "own+rank", "query": "a b", "documents": ["c"]})).json();
    assert_eq!(answer["usage"]["prompt_tokens"], 8, "all of its words are read: {answer}");
}

#[test]
fn text_becomes_tokens_and_text_again() {
    let node = Node::alone(&["tiny"]);
    for root in ["", "/v1"] {
        let made = node.post(&format!("{root}/tokenize"), &json!({"model": "tiny", "content": "one two one two"})).json();
        assert_eq!((&made["count"], &made["max_model_len"]), (&json!(4), &json!(4096)), "{made}");
        let text = node.post(&format!("{root}/detokenize"), &json!({"model": "tiny", "tokens": made["tokens"]})).json();
        assert_eq!(text, json!({"content": "one two one two", "prompt": "one two one two"}));
        let body = json!({"messages": [{"role": "user", "content": "hello there"}]});
        assert_eq!(node.post(&format!("{root}/apply-template"), &body).json(), json!({"prompt": "hello there"}), "the only model there is");
        assert_eq!(node.post(&format!("{root}/tokenize"), &body).json()["count"], 2);
    }
    assert_eq!(node.post("/tokenize", &json!({"model": "tiny", "prompt": "x"})).json()["count"], 1);
    let both = node.post("/tokenize", &json!({"model": "tiny", "content": "x", "prompt": "x"}));
    assert_eq!((both.status, &both.json()["error"]["param"]), (400, &json!("content")));
    assert_eq!(node.post("/tokenize", &json!({"content": "x", "with_pieces": true})).json()["error"]["param"], "with_pieces");
    assert_eq!(node.post("/detokenize", &json!({"model": "tiny"})).json()["error"]["param"], "tokens");
    assert_eq!(node.post("/tokenize", &json!({"model": "nope", "content": "x"})).status, 404);
}
