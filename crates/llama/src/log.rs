//! llama.cpp's log lines: to `tracing`, and the latest errors kept so that a failed load can say why.

// The one place that hands a Rust function to C.
#![expect(unsafe_code, reason = "llama.cpp takes a C callback for its log")]

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

/// Error lines kept for the words of a failed load.
const ERRORS_KEPT: usize = 8;
/// Bytes kept of one line that arrives in pieces.
const LINE_BYTES_MAX: usize = 4096;

static STATE: Mutex<State> = Mutex::new(State { errors: VecDeque::new(), partial: String::new(), level: sys::GGML_LOG_LEVEL_NONE });

struct State {
    errors: VecDeque<String>,
    /// A line without its end yet, and the level it began with.
    partial: String,
    level: sys::ggml_log_level,
}

/// Sends llama.cpp's lines to `tracing` under the target `llama.cpp` (errors as errors, the engine's information as
/// debug). Takes effect once; later calls do nothing.
pub fn send_logs_to_tracing() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `receive` is a plain function that never unwinds and needs no user data; it lives as long as the process.
        unsafe {
            sys::llama_log_set(Some(receive), std::ptr::null_mut());
            sys::ggml_log_set(Some(receive), std::ptr::null_mut());
        }
    });
}

/// The error lines since the last call, joined; empty if there were none.
pub(crate) fn take_errors() -> String {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> = state.errors.drain(..).collect();
    lines.join("; ")
}

extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _user: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives for the length of this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if level != sys::GGML_LOG_LEVEL_CONT {
        state.partial.clear();
        state.level = level;
    }
    if state.partial.len() < LINE_BYTES_MAX {
        state.partial.push_str(&text);
    }
    if text.ends_with('\n') {
        let line = std::mem::take(&mut state.partial);
        emit(&mut state, line.trim_end());
    }
}

fn emit(state: &mut State, line: &str) {
    // Lines of dots are a progress bar.
    if line.is_empty() || line.bytes().all(|b| b == b'.') {
        return;
    }
    match state.level {
        sys::GGML_LOG_LEVEL_ERROR => {
            if state.errors.len() == ERRORS_KEPT {
                state.errors.pop_front();
            }
            state.errors.push_back(line.to_owned());
            tracing::error!(target: "llama.cpp", "{line}");
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::warn!(target: "llama.cpp", "{line}"),
        sys::GGML_LOG_LEVEL_INFO => tracing::debug!(target: "llama.cpp", "{line}"),
        _ => tracing::trace!(target: "llama.cpp", "{line}"),
    }
}
