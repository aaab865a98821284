//! Content parts, both ways.

use serde_json::{Value, json};

use crate::ir::{Block, Family, Media, Source};

/// Reads a part; one that no one here knows travels whole.
pub(super) fn part(part: Value) -> Block {
    let text = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
    let media = |mime: &str, source: Source, detail: Option<&str>, name: Option<&str>| {
        Block::Media(Media { mime: mime.to_owned(), source, file_name: name.map(str::to_owned), detail: detail.map(str::to_owned) })
    };
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Block::Text { text: text("text") },
        Some("refusal") if part["refusal"].is_string() => Block::Refusal { text: text("refusal") },
        Some("image_url") => {
            let image = &part["image_url"];
            let url = image["url"].as_str().or(image.as_str()).unwrap_or_default();
            let (mime, source) = data_url(url).unwrap_or_else(|| ("image/*".to_owned(), Source::Url(url.to_owned())));
            media(&mime, source, image["detail"].as_str(), None)
        }
        Some("input_audio") if part["input_audio"]["data"].is_string() => {
            let audio = &part["input_audio"];
            let source = Source::Base64(audio["data"].as_str().unwrap_or_default().to_owned());
            media(&sound(audio["format"].as_str().unwrap_or("wav")), source, None, None)
        }
        Some("file") if part["file"].is_object() => {
            let file = &part["file"];
            let name = file["filename"].as_str();
            match (file["file_data"].as_str(), file["file_id"].as_str()) {
                (Some(data), _) => {
                    let (mime, source) =
                        data_url(data).unwrap_or_else(|| ("application/octet-stream".to_owned(), Source::Base64(data.to_owned())));
                    media(&mime, source, None, name)
                }
                (None, Some(id)) => media("application/octet-stream", Source::File(id.to_owned()), None, name),
                (None, None) => Block::Opaque { family: Family::Chat, value: part },
            }
        }
        _ => Block::Opaque { family: Family::Chat, value: part },
    }
}

/// `data:image/png;base64,…` → (`image/png`, bytes as base64).
fn data_url(url: &str) -> Option<(String, Source)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    Some((mime.to_owned(), Source::Base64(data.to_owned())))
}

/// The type of a sound in OpenAI's word for its form.
pub(crate) fn sound(format: &str) -> String {
    if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") }
}

/// OpenAI's word for the form of a sound.
pub(crate) fn sound_format(mime: &str) -> Option<&str> {
    Some(match mime.strip_prefix("audio/")? {
        "mpeg" | "mp3" => "mp3",
        "wav" | "wave" | "x-wav" | "vnd.wave" => "wav",
        other => other,
    })
}

/// Writes a part; `None` where chat has no form for it: a file of another provider, a file or sound by its address.
pub(super) fn written(media: &Media, is_own: bool) -> Option<Value> {
    let is_image = media.mime.starts_with("image/");
    let data = match &media.source {
        Source::Base64(data) => format!("data:{};base64,{data}", media.mime),
        Source::Url(url) if is_image => url.clone(),
        Source::File(id) if is_own => {
            let mut file = json!({"file_id": id});
            if let Some(name) = &media.file_name {
                file["filename"] = name.as_str().into();
            }
            return Some(json!({"type": "file", "file": file}));
        }
        Source::Url(_) | Source::File(_) => return None,
    };
    if is_image {
        let mut image = json!({"url": data});
        if let Some(detail) = &media.detail {
            image["detail"] = detail.as_str().into();
        }
        return Some(json!({"type": "image_url", "image_url": image}));
    }
    if let (Some(format), Source::Base64(data)) = (sound_format(&media.mime), &media.source) {
        return Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}));
    }
    // Data without a name is refused.
    let name = media.file_name.clone().unwrap_or_else(|| crate::responses::default_name(&media.mime));
    Some(json!({"type": "file", "file": {"file_data": data, "filename": name}}))
}
