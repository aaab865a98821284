//! The worker: one process, one model.
//!
//! [`engine`] owns the context and turns frames into tokens; [`scheduler`] decides what to compute, [`text`] what to say;
//! [`link`] carries frames. Frames are `wire::fleet::worker`'s. The supervisor starts the process with
//! `OMP_WAIT_POLICY=passive` in its environment, because spinning threads cost several times the speed on a busy machine and
//! the variable is read before this program's first line runs.

pub mod engine;
pub mod fault;
pub mod link;
pub mod logprobs;
pub mod scheduler;
pub mod text;
