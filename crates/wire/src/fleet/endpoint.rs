//! Servers of other makers that can stand for a node: which of their pages say how they are, and how to read them.
//!
//! They know nothing of a router, so they are asked; where they have a page of metrics, it says how busy they are.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Models that are read of one list.
const MODELS_MAX: usize = 1024;
/// Longest name that is read, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Who made the server behind an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    Vllm,
    Sglang,
    Ollama,
    LlamaServer,
    LmStudio,
    /// A gateway with its own scheduler before several engines.
    LlmD,
    /// Anything else with OpenAI's paths.
    Openai,
}

/// Where to look, below the endpoint's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Any 2xx is well, 503 is loading. Where there is none, the list of models says it.
    pub health: Option<&'static str>,
    /// All models, or those in memory.
    pub models: &'static str,
    /// Those in memory, where the list has others too.
    pub loaded: Option<&'static str>,
    /// How many requests it works on at once.
    pub slots: Option<&'static str>,
    /// In the Prometheus text format; it may be switched off there.
    pub metrics: Option<&'static str>,
}

/// What came back; `None` for pages that there are not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers<'a> {
    pub models: &'a [u8],
    pub loaded: Option<&'a [u8]>,
    pub slots: Option<&'a [u8]>,
    pub metrics: Option<&'a [u8]>,
}

/// How an endpoint is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pulled {
    /// In memory.
    pub loaded: Vec<String>,
    /// Of those in memory, the ones that only embed.
    pub embedding: Vec<String>,
    /// On its disk: it loads them when they are asked for.
    pub available: Vec<String>,
    /// Requests that it works on at once, where it says so.
    pub slots: Option<u32>,
    /// Requests that it works on.
    pub running: u32,
    /// Requests that wait there.
    pub waiting: u32,
    /// Share of its cache in use, 0 to 1.
    pub cache_share: Option<f64>,
}

impl Maker {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Vllm, Self::Sglang, Self::Ollama, Self::LlamaServer, Self::LmStudio, Self::LlmD, Self::Openai];

    /// Its name in the API and the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Ollama => "ollama",
            Self::LlamaServer => "llama-server",
            Self::LmStudio => "lm-studio",
            Self::LlmD => "llm-d",
            Self::Openai => "openai",
        }
    }

    /// Its pages.
    pub const fn pages(self) -> Pages {
        let plain = Pages { health: None, models: "/v1/models", loaded: None, slots: None, metrics: None };
        match self {
            Self::Vllm | Self::Sglang => Pages { health: Some("/health"), metrics: Some("/metrics"), ..plain },
            Self::LlamaServer => Pages { health: Some("/health"), slots: Some("/props"), metrics: Some("/metrics"), ..plain },
            Self::Ollama => Pages { models: "/api/tags", loaded: Some("/api/ps"), ..plain },
            Self::LmStudio => Pages { models: "/api/v0/models", ..plain },
            Self::LlmD => Pages { metrics: Some("/metrics"), ..plain },
            Self::Openai => plain,
        }
    }

    /// Whether a connection over which nothing is said costs it nothing. One that gives each connection a thread, or is not known, is spared.
    pub const fn bears_silence(self) -> bool {
        match self {
            Self::Vllm | Self::Sglang | Self::Ollama | Self::LmStudio | Self::LlmD => true,
            Self::LlamaServer | Self::Openai => false,
        }
    }

    /// Whether it goes on with an answer that another began, and counts tokens in every chunk where that is asked for.
    pub const fn continues(self) -> bool {
        match self {
            Self::Vllm | Self::Sglang => true,
            Self::Ollama | Self::LlamaServer | Self::LmStudio | Self::LlmD | Self::Openai => false,
        }
    }

    /// Who made a server, by what its list of models (`/v1/models`) says. One that stands before others passes for what is behind it.
    pub fn of_list(list: &[u8]) -> Self {
        let owner = serde_json::from_slice::<List>(list).ok().and_then(|list| list.data.into_iter().next()?.owned_by);
        match owner.as_deref() {
            Some("vllm") => Self::Vllm,
            Some("sglang") => Self::Sglang,
            Some("llamacpp") => Self::LlamaServer,
            Some("library") => Self::Ollama,
            Some("organization_owner") => Self::LmStudio,
            _ => Self::Openai,
        }
    }

    /// Reads what the pages said.
    ///
    /// # Errors
    /// The list of models is none, in words.
    pub fn read(self, answers: &Answers<'_>) -> Result<Pulled, String> {
        let mut pulled = Pulled::default();
        match self {
            Self::Ollama => {
                pulled.available = tags(answers.models)?;
                pulled.loaded = answers.loaded.map(tags).transpose()?.unwrap_or_default();
            }
            Self::LmStudio => {
                for model in list(answers.models)? {
                    let is_loaded = model.state.as_deref() == Some("loaded");
                    let only_embeds = model.kind.as_deref() == Some("embeddings");
                    match (is_loaded, only_embeds) {
                        (true, true) => pulled.embedding.push(model.id),
                        (true, false) => pulled.loaded.push(model.id),
                        (false, _) => pulled.available.push(model.id),
                    }
                }
            }
            _ => pulled.loaded = list(answers.models)?.into_iter().map(|model| model.id).collect(),
        }
        pulled.slots = answers.slots.and_then(|props| serde_json::from_slice::<Props>(props).ok()?.total_slots);
        if let Some(metrics) = answers.metrics {
            self.read_metrics(&String::from_utf8_lossy(metrics), &mut pulled);
        }
        Ok(pulled)
    }

    /// Names of metrics: requests at work, requests that wait, share of the cache. Of several the first that is there counts.
    const fn metric_names(self) -> [&'static [&'static str]; 3] {
        match self {
            Self::Vllm => {
                [&["vllm:num_requests_running"], &["vllm:num_requests_waiting"], &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]]
            }
            Self::Sglang => [&["sglang:num_running_reqs"], &["sglang:num_queue_reqs"], &["sglang:token_usage"]],
            Self::LlamaServer => [&["llamacpp:requests_processing"], &["llamacpp:requests_deferred"], &["llamacpp:kv_cache_usage_ratio"]],
            Self::LlmD => [
                &["vllm:num_requests_running", "inference_pool_average_running_requests"],
                &["vllm:num_requests_waiting", "inference_pool_average_queue_size"],
                &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "inference_pool_average_kv_cache_utilization"],
            ],
            Self::Ollama | Self::LmStudio | Self::Openai => [&[], &[], &[]],
        }
    }

    fn read_metrics(self, text: &str, pulled: &mut Pulled) {
        let [running, waiting, cache] = self.metric_names();
        let first = |names: &[&str]| names.iter().find_map(|name| samples(text, name));
        let requests = |names: &[&str]| first(names).map_or(0, |(sum, _)| sum.round().clamp(0.0, f64::from(u32::MAX)) as u32);
        (pulled.running, pulled.waiting) = (requests(running), requests(waiting));
        pulled.cache_share = first(cache).map(|(_, highest)| highest.clamp(0.0, 1.0));
    }
}

impl FromStr for Maker {
    type Err = String;

    /// # Errors
    /// Names what is allowed.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|maker| maker.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|maker| maker.name()).collect();
            format!("`{name}` is no kind of server that is known: use one of {}", known.join(", "))
        })
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tagged>,
}

#[derive(Deserialize)]
struct Tagged {
    name: String,
}

#[derive(Deserialize)]
struct Props {
    #[serde(default)]
    total_slots: Option<u32>,
}

fn list(body: &[u8]) -> Result<Vec<Listed>, String> {
    let list: List = serde_json::from_slice(body).map_err(|e| format!("it did not answer with a list of models: {e}"))?;
    Ok(list.data.into_iter().filter(|model| is_name(&model.id)).take(MODELS_MAX).collect())
}

fn tags(body: &[u8]) -> Result<Vec<String>, String> {
    let tags: Tags = serde_json::from_slice(body).map_err(|e| format!("it did not answer with a list of models: {e}"))?;
    Ok(tags.models.into_iter().map(|model| model.name).filter(|name| is_name(name)).take(MODELS_MAX).collect())
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Sum and highest of a metric's samples, whatever their labels; `None` where there is no sample that is a number.
fn samples(text: &str, name: &str) -> Option<(f64, f64)> {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ').map(|_| rest)?,
        };
        rest.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite())
    };
    let mut values = text.lines().filter_map(value).peekable();
    values.peek()?;
    Some(values.fold((0.0, f64::MIN), |(sum, highest), value| (sum + value, highest.max(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_tells_who_made_it() {
        let list = |owner: &str| format!(r#"{{"object":"list","data":[{{"id":"m","object":"model","owned_by":"{owner}"}}]}}"#);
        for (owner, maker) in [
            ("vllm", Maker::Vllm),
            ("sglang", Maker::Sglang),
            ("llamacpp", Maker::LlamaServer),
            ("library", Maker::Ollama),
            ("organization_owner", Maker::LmStudio),
            ("somebody", Maker::Openai),
        ] {
            assert_eq!(Maker::of_list(list(owner).as_bytes()), maker);
        }
        assert_eq!(Maker::of_list(b"no list"), Maker::Openai);
        for maker in Maker::ALL {
            assert_eq!(maker.name().parse(), Ok(maker));
            assert_eq!(serde_json::to_value(maker).unwrap(), maker.name());
        }
        assert!("tgi".parse::<Maker>().unwrap_err().contains("lm-studio"));
    }

    #[test]
    fn metrics_are_read_whatever_their_labels() {
        let text =
            b"# HELP vllm:num_requests_running Number of requests in model execution batches.\n# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a{b}\"} 3.0\nvllm:num_requests_running{engine=\"1\",model_name=\"a\"} 2.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a\"} 1.0\nvllm:num_requests_waiting_by_reason{engine=\"0\"} 40.0\n\
            vllm:gpu_cache_usage_perc{engine=\"0\",model_name=\"a\"} 0.25\nvllm:gpu_cache_usage_perc{engine=\"1\",model_name=\"a\"} NaN\n";
        let models = br#"{"data":[{"id":"a","owned_by":"vllm","max_model_len":4096}]}"#;
        let pulled = Maker::Vllm.read(&Answers { models, metrics: Some(text), ..Answers::default() }).unwrap();
        assert_eq!((pulled.loaded, pulled.running, pulled.waiting, pulled.cache_share), (names(&["a"]), 5, 1, Some(0.25)));
        let text = b"sglang:num_running_reqs{model_name=\"a\",tp_rank=\"0\"} 4.0\nsglang:num_queue_reqs{model_name=\"a\"} 2.0\nsglang:token_usage{model_name=\"a\"} 0.5\n";
        let pulled = Maker::Sglang.read(&Answers { models, metrics: Some(text), ..Answers::default() }).unwrap();
        assert_eq!((pulled.running, pulled.waiting, pulled.cache_share), (4, 2, Some(0.5)));
        let text = b"llamacpp:requests_processing 3\nllamacpp:requests_deferred 7\n";
        let pulled = Maker::LlamaServer
            .read(&Answers { models, slots: Some(br#"{"total_slots":4}"#), metrics: Some(text), ..Answers::default() })
            .unwrap();
        assert_eq!((pulled.slots, pulled.running, pulled.waiting, pulled.cache_share), (Some(4), 3, 7, None));
        let text =
            b"inference_pool_average_queue_size{name=\"pool\"} 1.6\ninference_pool_average_kv_cache_utilization{name=\"pool\"} 1.5\n";
        let pulled = Maker::LlmD.read(&Answers { models, metrics: Some(text), ..Answers::default() }).unwrap();
        assert_eq!((pulled.running, pulled.waiting, pulled.cache_share), (0, 2, Some(1.0)));
    }

    #[test]
    fn lists_of_files_and_of_what_is_in_memory() {
        let (models, loaded) =
            (br#"{"models":[{"name":"a:1b","size":1},{"name":"b:latest"}]}"#, br#"{"models":[{"name":"b:latest","size_vram":5}]}"#);
        let pulled = Maker::Ollama.read(&Answers { models, loaded: Some(loaded), ..Answers::default() }).unwrap();
        assert_eq!((pulled.available, pulled.loaded), (names(&["a:1b", "b:latest"]), names(&["b:latest"])));
        let models = br#"{"data":[{"id":"a","type":"llm","state":"loaded"},{"id":"b","type":"vlm","state":"not-loaded"},{"id":"e","type":"embeddings","state":"loaded"}]}"#;
        let pulled = Maker::LmStudio.read(&Answers { models, ..Answers::default() }).unwrap();
        assert_eq!((pulled.loaded, pulled.available, pulled.embedding), (names(&["a"]), names(&["b"]), names(&["e"])));
        assert!(Maker::Ollama.read(&Answers { models: b"<html>", ..Answers::default() }).is_err());
        assert!(
            Maker::Openai
                .read(&Answers { models: br#"{"data":[{"id":"a\nb"},{"id":" "},{"id":"c"}]}"#, ..Answers::default() })
                .unwrap()
                .loaded
                == ["c"]
        );
    }
}
