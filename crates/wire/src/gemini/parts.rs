//! Parts, which requests and answers share (Gemini API reference, `Part`).

use serde_json::{Value, json};

use super::fields::{Fields, wrong};
use crate::{
    error::Failure,
    ir::{Media, Source},
};

/// Members that say what a part holds; a part with none of them only Gemini understands.
const KNOWN: [&str; 5] = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];

/// What one part holds.
#[derive(Debug)]
pub(super) enum Data {
    Text(String),
    Thought(String),
    Media(Media),
    Call(Call),
    Result { id: Option<String>, name: String, response: Value, media: Vec<Media> },
    Opaque(Value),
}

/// A call; a streamed one may come in pieces.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) args: Option<Value>,
    pub(super) partial: Vec<Value>,
    pub(super) will_continue: bool,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) data: Data,
    pub(super) signature: Option<String>,
    /// Members that have no place in the inner language, by their paths.
    pub(super) rest: Vec<(String, Value)>,
}

impl Part {
    /// Reads a part of a request or an answer.
    ///
    /// # Errors
    /// A failure that names the member of a wrong type, or the part if it is empty.
    pub(super) fn read(value: Value, path: &str) -> Result<Self, Failure> {
        let mut fields = Fields::of(value, path)?;
        if fields.is_empty() {
            return Err(wrong(path, "a part with text, inlineData, fileData, functionCall or functionResponse"));
        }
        if !fields.has_only(&["thoughtSignature", "thought"]) && !KNOWN.iter().any(|name| fields.has(name)) {
            return Ok(Self { data: Data::Opaque(fields.into_value()), signature: None, rest: Vec::new() });
        }
        let signature = fields.text("thoughtSignature")?.filter(|s| !s.is_empty());
        let thought = fields.flag("thought")?.unwrap_or(false);
        let mut rest = Vec::new();
        let data = if let Some(inner) = fields.object("functionCall")? {
            Data::Call(read_call(inner, &mut rest)?)
        } else if let Some(inner) = fields.object("functionResponse")? {
            read_result(inner, &mut rest)?
        } else if let Some(media) = read_media(&mut fields, &mut rest)? {
            Data::Media(media)
        } else {
            let text = fields.text("text")?.unwrap_or_default();
            if thought { Data::Thought(text) } else { Data::Text(text) }
        };
        leave(fields, &mut rest);
        Ok(Self { data, signature, rest })
    }
}

/// Notes what was not read.
fn leave(fields: Fields, rest: &mut Vec<(String, Value)>) {
    let path = fields.at("");
    rest.extend(fields.rest().map(|(k, v)| (format!("{path}{k}"), v)));
}

fn read_call(mut call: Fields, rest: &mut Vec<(String, Value)>) -> Result<Call, Failure> {
    let path = call.at("args");
    let args = call.take("args");
    if args.as_ref().is_some_and(|a| !a.is_object()) {
        return Err(wrong(&path, "an object"));
    }
    let read = Call {
        id: call.text("id")?,
        name: call.text("name")?.filter(|n| !n.is_empty()),
        args,
        partial: call.list("partialArgs")?.unwrap_or_default(),
        will_continue: call.flag("willContinue")?.unwrap_or(false),
    };
    leave(call, rest);
    Ok(read)
}

fn read_result(mut result: Fields, rest: &mut Vec<(String, Value)>) -> Result<Data, Failure> {
    let path = result.at("parts");
    let mut media = Vec::new();
    for (i, part) in result.list("parts")?.unwrap_or_default().into_iter().enumerate() {
        let mut part = Fields::of(part, format!("{path}[{i}]"))?;
        media.extend(read_media(&mut part, rest)?);
        leave(part, rest);
    }
    let data = Data::Result {
        id: result.text("id")?,
        name: result.text("name")?.unwrap_or_default(),
        response: result.take("response").unwrap_or_else(|| json!({})),
        media,
    };
    leave(result, rest);
    Ok(data)
}

/// `inlineData` or `fileData`, if one of them is there.
fn read_media(fields: &mut Fields, rest: &mut Vec<(String, Value)>) -> Result<Option<Media>, Failure> {
    let plain = |mime, source| Media { mime, source, file_name: None, detail: None };
    if let Some(mut inline) = fields.object("inlineData")? {
        let path = inline.at("data");
        let data = inline.text("data")?.ok_or_else(|| wrong(&path, "base64 text"))?;
        let mime = inline.text("mimeType")?.unwrap_or_else(|| "application/octet-stream".to_owned());
        let file_name = inline.text("displayName")?;
        leave(inline, rest);
        return Ok(Some(Media { file_name, ..plain(mime, Source::Base64(plain_base64(data))) }));
    }
    let Some(mut file) = fields.object("fileData")? else { return Ok(None) };
    let path = file.at("fileUri");
    let uri = file.text("fileUri")?.ok_or_else(|| wrong(&path, "a URI"))?;
    let mime = file.text("mimeType")?.or_else(|| mime_of(&uri).map(str::to_owned));
    let file_name = file.text("displayName")?;
    leave(file, rest);
    let source = if is_own_file(&uri) || !uri.starts_with("http") { Source::File(uri) } else { Source::Url(uri) };
    Ok(Some(Media { file_name, ..plain(mime.unwrap_or_else(|| "application/octet-stream".to_owned()), source) }))
}

/// Whether a URI is one that only Google can open.
pub(super) fn is_own_file(uri: &str) -> bool {
    uri.starts_with("gs://") || uri.starts_with("https://generativelanguage.googleapis.com/")
}

/// The type that a URI's ending tells.
pub(super) fn mime_of(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    let ending = path.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "txt" => "text/plain",
        "html" => "text/html",
        "csv" => "text/csv",
        "md" => "text/markdown",
        _ => return None,
    })
}

/// The plain alphabet with padding: Google takes the URL-safe one too, and its SDK writes it; others do not.
fn plain_base64(data: String) -> String {
    let odd = data.len() % 4;
    if odd == 0 && !data.contains(['-', '_']) {
        return data;
    }
    let mut plain = data.replace('-', "+").replace('_', "/");
    if odd > 1 && !plain.ends_with('=') {
        plain.extend(std::iter::repeat_n('=', 4 - odd));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_safe_base64_becomes_plain() {
        for (given, plain) in [("ab-_", "ab+/"), ("YQ", "YQ=="), ("YWI", "YWI="), ("YQ==", "YQ=="), ("YWJj", "YWJj")] {
            assert_eq!(plain_base64(given.to_owned()), plain);
        }
    }

    #[test]
    fn knows_what_a_part_holds() {
        let read = |value| Part::read(value, "p").unwrap();
        assert!(matches!(read(json!({"thought_signature": "s"})), Part { data: Data::Text(t), signature: Some(_), .. } if t.is_empty()));
        assert!(matches!(read(json!({"text": "x", "thought": true})).data, Data::Thought(t) if t == "x"));
        assert!(
            matches!(read(json!({"executableCode": {"code": "1"}, "thoughtSignature": "s"})).data, Data::Opaque(v) if v["thoughtSignature"] == "s")
        );
        let video = read(json!({"file_data": {"file_uri": "gs://b/a.mp4"}, "videoMetadata": {"fps": 1}}));
        assert!(matches!(&video.data, Data::Media(m) if m.mime == "video/mp4" && m.source == Source::File("gs://b/a.mp4".to_owned())));
        assert_eq!(video.rest, [("p.videoMetadata".to_owned(), json!({"fps": 1}))]);
    }

    #[test]
    fn names_what_is_wrong() {
        let param = |value| Part::read(value, "p").unwrap_err().param.unwrap();
        assert_eq!(param(json!({})), "p");
        assert_eq!(param(json!({"text": 5})), "p.text");
        assert_eq!(param(json!({"functionCall": {"name": "f", "args": "x"}})), "p.functionCall.args");
        assert_eq!(param(json!({"inlineData": {"mimeType": "image/png"}})), "p.inlineData.data");
    }
}
