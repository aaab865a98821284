//! Text to tokens and back, as servers of models offer it (`POST /tokenize`, `POST /detokenize`).

pub mod types;
