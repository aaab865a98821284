//! Black-box tests: the real program, with the scripted engine in its worker processes.

mod api;
mod faults;
mod fleet;
mod gguf;
mod node;
