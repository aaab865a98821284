//! Gemini (`POST /v1beta/models/{model}:generateContent`).
