//! Whole answers.

use super::events::Api;

/// The answer of an API with this much text.
pub(super) fn whole(api: Api, model: &str, text: &str) -> String {
    match api {
        Api::Chat => format!(
            r#"{{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}}}}"#
        ),
        Api::Messages => format!(
            r#"{{"id":"msg_mock","type":"message","role":"assistant","model":"{model}","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":100,"output_tokens":50}}}}"#
        ),
        Api::Responses => format!(
            r#"{{"id":"resp_mock","object":"response","created_at":1700000000,"status":"completed","model":"{model}","output":[{{"id":"msg_mock","type":"message","status":"completed","role":"assistant","content":[{{"type":"output_text","text":"{text}","annotations":[]}}]}}],"usage":{{"input_tokens":100,"output_tokens":50,"total_tokens":150}}}}"#
        ),
        Api::Gemini => format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":100,"candidatesTokenCount":50,"totalTokenCount":150}},"modelVersion":"{model}"}}"#
        ),
    }
}

/// An embedding of 256 numbers.
pub(super) fn embedding(model: &str) -> String {
    let numbers: Vec<String> = (0..256).map(|n| format!("0.{:04}", n * 37 % 9999)).collect();
    let numbers = numbers.join(",");
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{numbers}]}}],"model":"{model}","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#
    )
}

/// What a probe gets; None for a path that no engine has.
pub(super) fn probe(path: &str, model: &str) -> Option<String> {
    Some(match path {
        "/v1/models" | "/models" => format!(
            r#"{{"object":"list","data":[{{"id":"{model}","object":"model","created":1700000000,"owned_by":"mock","max_model_len":131072}}]}}"#
        ),
        "/get_model_info" | "/model_info" => format!(
            r#"{{"model_path":"{model}","tokenizer_path":"{model}","is_generation":true,"served_model_name":"{model}","model_type":"llama","preferred_sampling_params":"","weight_version":"default"}}"#
        ),
        "/get_server_info" | "/server_info" => format!(
            r#"{{"model_path":"{model}","served_model_name":"{model}","tp_size":1,"dp_size":1,"max_running_requests":4096,"version":"0.5.6","internal_states":[{{}}]}}"#
        ),
        "/version" => r#"{"version":"0.11.0"}"#.into(),
        "/get_load" | "/v1/loads" => r#"[{"dp_rank":0,"num_reqs":0,"num_waiting_reqs":0,"num_tokens":0}]"#.into(),
        "/health" | "/health_generate" | "/ping" | "/liveness" | "/readiness" => r#"{"status":"ok"}"#.into(),
        "/metrics" => String::new(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Api, embedding, probe, whole};

    #[test]
    fn every_answer_is_json() {
        let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        for api in [Api::Chat, Api::Messages, Api::Responses, Api::Gemini] {
            assert!(is_json(&whole(api, "m", "text")));
        }
        assert!(is_json(&embedding("m")));
        for path in ["/v1/models", "/model_info", "/server_info", "/version", "/get_load", "/health"] {
            assert!(probe(path, "m").is_some_and(|text| is_json(&text)), "{path}");
        }
        assert!(probe("/nothing", "m").is_none());
    }
}
