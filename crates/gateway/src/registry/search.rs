//! Looking around on the hub. Answers are remembered for a while: the hub counts questions.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use models::hub::{Repository, Search};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::Failure;

use super::{MEMORY_FACTOR, Registry, refused};

/// How long a list of models is remembered, and one of a model's GGUF forms.
const AVAILABLE_KEPT: Duration = Duration::from_mins(5);
const DISCOVERED_KEPT: Duration = Duration::from_mins(10);
/// Most answers that are remembered.
const LISTS_MAX: usize = 256;
/// Most repositories of one search.
const REPOSITORIES_MAX: usize = 100;
/// Repositories that are looked into at once, where a search tells no lengths of files, and most of them.
const LOOKS_AT_ONCE: usize = 8;
const LOOKS_MAX: usize = 25;
/// Longest text that is searched for, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Owners whose conversions are made with care.
const TRUSTED: [&str; 5] = ["ggml-org", "bartowski", "lmstudio-community", "unsloth", "TheBloke"];

const GIB: f64 = (1u64 << 30) as f64;

/// What answers were given lately.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<HashMap<String, (Instant, Value)>>);

impl Lists {
    fn get(&self, key: &str) -> Option<Value> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(key).filter(|(until, _)| Instant::now() < *until).map(|(_, value)| value.clone())
    }

    fn put(&self, key: String, kept: Duration, value: Value) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        lists.retain(|_, (until, _)| now < *until);
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        lists.insert(key, (now + kept, value));
    }
}

/// `GET /api/models/available`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Only `hf`.
    pub source: Option<String>,
    /// Words of a name.
    pub search: Option<String>,
    /// Most models, 1 to 100.
    pub limit: Option<usize>,
    /// Models that are left out at the start.
    pub offset: usize,
}

impl Registry {
    /// Models with GGUF files on the hub.
    ///
    /// # Errors
    /// 400 for another source; the hub's.
    pub async fn available(&self, wanted: &Wanted) -> Result<Value, Failure> {
        if let Some(source) = wanted.source.as_deref().filter(|source| *source != "hf") {
            let source: String = source.chars().take(50).collect();
            return Err(Failure::invalid("source", format!("`{source}` is no source of models: `hf` is")));
        }
        let text = bounded("search", wanted.search.as_deref().unwrap_or_default())?;
        let (limit, offset) = (wanted.limit.unwrap_or(20).clamp(1, 100), wanted.offset.min(10_000));
        let key = format!("available/{limit}/{offset}/{text}");
        if let Some(mut known) = self.lists.get(&key) {
            known["cached"] = true.into();
            return Ok(known);
        }
        let search = Search { text, author: None, label: Some("gguf"), limit: REPOSITORIES_MAX };
        let found = self.hub().search(&search).await.map_err(refused)?;
        let all: Vec<(usize, models::Choice)> = found
            .iter()
            .enumerate()
            .flat_map(|(at, repository)| models::all(&repository.id, &repository.files).into_iter().map(move |c| (at, c)))
            .collect();
        let total = all.len();
        let page: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
        let lacking: Vec<&Repository> =
            found.iter().enumerate().filter(|(at, _)| page.iter().any(|(of, c)| of == at && c.bytes().is_none())).map(|(_, r)| r).collect();
        let known = self.look_into(lacking).await;
        let models: Vec<Value> = page.iter().map(|(at, choice)| self.entry(&found[*at], choice, &known)).collect();
        let answer = json!({
            "models": models,
            "source": "hf",
            "cached": false,
            "pagination": {"limit": limit, "offset": offset, "total": total},
        });
        self.lists.put(key, AVAILABLE_KEPT, answer.clone());
        Ok(answer)
    }

    fn entry(&self, repository: &Repository, choice: &models::Choice, known: &HashMap<String, Repository>) -> Value {
        let bytes = bytes_of(repository, choice, known);
        let first = &choice.files[0].path;
        let display_name = repository.id.split('/').next_back().unwrap_or_default();
        let quant = choice.quant.as_ref().map(|quant| quant.to_uppercase());
        json!({
            "name": choice.name,
            "display_name": display_name,
            "description": format!("{display_name} by {}{}", repository.owner(), quant.as_ref().map_or_else(String::new, |q| format!(", {q}"))),
            "tags": repository.tags,
            "downloads": repository.downloads,
            "size_gb": bytes.map(|bytes| bytes as f64 / GIB),
            "required_memory_gb": bytes.map(|bytes| bytes as f64 * MEMORY_FACTOR / GIB),
            "repo": repository.id,
            "filename": first,
            "download_url": self.hub().url_of(&repository.id, "main", first).ok(),
            "quantization": quant,
        })
    }

    /// GGUF forms of a model, of owners that are trusted first.
    ///
    /// # Errors
    /// 400 for no name; the hub's.
    pub async fn discover(&self, model: &str) -> Result<Value, Failure> {
        let model = bounded("model", model.trim())?;
        let name = model.rsplit('/').next().unwrap_or_default();
        if name.is_empty() {
            return Err(Failure::invalid("model", "`model` is missing: a repository such as `owner/name`"));
        }
        let key = format!("discover/{model}");
        if let Some(mut known) = self.lists.get(&key) {
            known["cached"] = true.into();
            return Ok(known);
        }
        let search = Search { text: name, author: None, label: Some("gguf"), limit: REPOSITORIES_MAX };
        let mut found = self.hub().search(&search).await.map_err(refused)?;
        found.retain(|repository| !models::all(&repository.id, &repository.files).is_empty());
        let place = |owner: &str| TRUSTED.iter().position(|trusted| *trusted == owner).unwrap_or(TRUSTED.len());
        found.sort_by_key(|repository| place(repository.owner()));
        let known =
            self.look_into(found.iter().filter(|r| models::all(&r.id, &r.files).iter().any(|c| c.bytes().is_none())).collect()).await;
        let alternatives: Vec<Value> = found
            .iter()
            .map(|repository| {
                let file = |choice: &models::Choice| {
                    json!({
                        "filename": choice.files[0].path,
                        "size_bytes": bytes_of(repository, choice, &known),
                        "quantization": choice.quant.as_ref().map(|quant| quant.to_uppercase()),
                    })
                };
                let files: Vec<Value> = models::all(&repository.id, &repository.files).iter().map(file).collect();
                let is_trusted = TRUSTED.contains(&repository.owner());
                json!({"repo": repository.id, "provider": repository.owner(), "trusted": is_trusted, "files": files})
            })
            .collect();
        let answer = json!({"base_model": model, "gguf_alternatives": alternatives, "cached": false});
        self.lists.put(key, DISCOVERED_KEPT, answer.clone());
        Ok(answer)
    }

    /// What repositories hold, with lengths; those that don't answer are left out.
    async fn look_into(&self, repositories: Vec<&Repository>) -> HashMap<String, Repository> {
        let hub = self.hub();
        let ids: Vec<String> = repositories.into_iter().take(LOOKS_MAX).map(|repository| repository.id.clone()).collect();
        let look = |id: String| {
            let hub = hub.clone();
            async move { hub.repository(&id, None).await.ok().map(|found| (id, found)) }
        };
        stream::iter(ids).map(look).buffer_unordered(LOOKS_AT_ONCE).filter_map(std::future::ready).collect().await
    }
}

fn bytes_of(repository: &Repository, choice: &models::Choice, known: &HashMap<String, Repository>) -> Option<u64> {
    choice.bytes().or_else(|| {
        let files = &known.get(&repository.id)?.files;
        choice.files.iter().map(|file| files.iter().find(|other| other.path == file.path)?.bytes).sum()
    })
}

fn bounded<'a>(name: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Failure::invalid(name, format!("`{name}` has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}
