//! safe face of llama.cpp
