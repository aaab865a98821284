//! OpenAI Responses (`POST /v1/responses`), the part without stored state.
