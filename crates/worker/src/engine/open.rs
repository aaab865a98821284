//! Opening a model: sizes, context, and a first measurement of its speed.

use std::path::Path;
use std::time::{Duration, Instant};

use llama::{Context, ContextOptions, Model, Row};
use wire::fleet::worker::{Load, ModelInfo};

use crate::scheduler::{Limits, Pace};

/// Rows of one step, at most.
const BATCH_MAX: u32 = 2048;
/// Rows computed at once; more needs more memory and brings nothing on a CPU.
const UBATCH_MAX: u32 = 512;
/// Rows of a step that several sequences share, on a CPU. From 64 rows on, its attention kernel sums over blocks of cells, and
/// what a request gets would depend, in the last digits, on where its neighbours' cells are. Below, a greedy answer to a
/// prompt of fewer than 64 tokens is the same alone and in a crowd, as long as nobody in the crowd ends: llama.cpp then fills
/// the gap with cells that are out of order. It costs some 2 % of prefill.
const MIXED_ROWS_ON_CPU: u32 = 63;
/// Requests computed at once, at most.
const SLOTS_MAX: u32 = 64;
/// Sequences kept for later prompts.
const CACHED_MAX: u32 = 16;
/// The same for models whose every sequence costs memory of its own.
const CACHED_MAX_RECURRENT: u32 = 4;
/// Rows of the first measurement: the fewest that the pace takes notice of.
const WARM_UP_ROWS: u32 = 16;
/// KV cells, at least: llama.cpp rounds up to this anyway.
const CELLS_MIN: u32 = 256;
/// KV cells, at most.
const CELLS_MAX: u32 = 1 << 22;

/// A model that is ready to compute.
pub(super) struct Opened<'model> {
    /// `None` for models that only embed.
    pub(super) context: Option<Context<'model>>,
    pub(super) limits: Limits,
    pub(super) pace: Pace,
}

pub(super) fn model(load: &Load) -> Result<Model, llama::Error> {
    let missing = llama::missing_cpu_features();
    if !missing.is_empty() {
        return Err(llama::Error::Unloadable(format!(
            "this build needs a processor with {}, which this machine lacks",
            missing.join(", ")
        )));
    }
    Model::load(Path::new(&load.path), load.gpu_layers)
}

pub(super) fn context<'model>(model: &'model Model, load: &Load) -> Result<Opened<'model>, llama::Error> {
    let facts = model.facts();
    let slots = load.slots.clamp(1, SLOTS_MAX);
    let cells = load.kv_cells.clamp(CELLS_MIN, CELLS_MAX);
    let trained = if facts.context_train > 0 { facts.context_train } else { u32::MAX };
    let batch = BATCH_MAX.min(cells);
    let mut limits = Limits {
        slots,
        cells,
        context: load.context.min(trained).min(cells).max(2),
        queue_max: load.queue_max,
        cached_max: if facts.cuts_sequences { CACHED_MAX } else { CACHED_MAX_RECURRENT },
        step: Duration::from_millis(u64::from(load.step_ms.max(1))),
        ubatch: UBATCH_MAX.min(batch),
        batch,
        mixed_rows: if facts.devices.is_empty() { MIXED_ROWS_ON_CPU.min(batch) } else { batch },
        cuts_sequences: facts.cuts_sequences,
    };
    if !facts.generates {
        return Ok(Opened { context: None, limits, pace: Pace::default() });
    }
    let options = ContextOptions {
        cells,
        sequences: slots + limits.cached_max,
        batch,
        ubatch: limits.ubatch,
        threads: load.threads,
        threads_batch: load.threads_batch,
    };
    let mut context = Context::open(model, &options)?;
    limits.cells = context.cells();
    let pace = warm_up(&mut context, facts.bos.unwrap_or(0))?;
    Ok(Opened { context: Some(context), limits, pace })
}

/// Computes a few rows and forgets them: brings the weights into memory and says how fast this machine is.
fn warm_up(context: &mut Context<'_>, token: i32) -> Result<Pace, llama::Error> {
    let mut pace = Pace::default();
    let rows = |count: u32| -> Vec<Row> {
        (0..count).map(|position| Row { token, position, sequence: 0, logits: position + 1 == count }).collect()
    };
    // The first reads the file, the second is the measurement.
    for count in [1, WARM_UP_ROWS] {
        let began = Instant::now();
        context.decode(&rows(count))?;
        pace.measure(if count > 1 { count } else { 0 }, 0, began.elapsed());
        context.clear(0);
    }
    Ok(pace)
}

pub(super) fn info(model: &Model, opened: &Opened<'_>) -> ModelInfo {
    let facts = model.facts();
    ModelInfo {
        architecture: facts.architecture.clone(),
        name: facts.name.clone(),
        context: opened.limits.context,
        context_train: facts.context_train,
        kv_cells: opened.limits.cells,
        slots: opened.limits.slots,
        vocabulary: facts.vocabulary,
        embedding_length: facts.embedding_length,
        parameters: facts.parameters,
        size_bytes: facts.size_bytes,
        bos_token: facts.bos_token.clone(),
        eos_token: facts.eos_token.clone(),
        add_bos: facts.add_bos,
        chat_template: facts.chat_template.clone(),
        pooling: facts.pooling.map(|pooling| pooling.name().to_owned()),
        fingerprint: facts.fingerprint.clone(),
        devices: facts.devices.clone(),
    }
}
