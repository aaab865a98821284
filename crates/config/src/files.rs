//! Settings about the files of models: the hub, downloads, conversion. Router and node have the first two alike.

use std::path::PathBuf;
use std::time::Duration;

use crate::base_url;
use crate::error::ConfigError;
use crate::reader::Reader;
use crate::secret::{Secret, mask_url};
use crate::setting::{Bytes, Count};

/// The hub that models come from.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its base URL, or a mirror's, without a slash at its end.
    pub url: String,
    /// Shown to it, and to nobody else.
    pub token: Option<Secret>,
}

/// How files of models are fetched.
#[derive(Debug, Clone)]
pub struct Downloads {
    /// Failures in a row after which a download is given up.
    pub retries: u32,
    /// Pause after the first failure; doubled with each further one.
    pub backoff: Duration,
    /// Pieces of a file fetched at once.
    pub concurrency: u32,
    /// Most bytes per second; no bound where `None`.
    pub rate_bytes_max: Option<u64>,
    /// Length of a piece with a hash of its own, in bytes.
    pub chunk_bytes: u64,
    /// What must stay free on the disk, in bytes.
    pub reserve_bytes: u64,
}

/// How models of other formats become GGUF files.
#[derive(Debug, Clone)]
pub struct Convert {
    /// The Python that runs the converter, or makes the environment that does.
    pub python: String,
    /// llama.cpp's `convert_hf_to_gguf.py`; the environment's own where `None`.
    pub script: Option<PathBuf>,
    /// Whether `python` is used as it is, without an environment below the data directory.
    pub skip_venv: bool,
    /// What writes weights of fewer bits; the worker of our nodes, found beside the router, where `None`.
    pub quantizer: Option<PathBuf>,
    /// Conversions at once.
    pub concurrency: u32,
}

/// The names of the settings: with dots in the router's file, flat in the node's.
pub(crate) struct Names {
    pub(crate) url: &'static str,
    pub(crate) token: &'static str,
    pub(crate) retries: &'static str,
    pub(crate) backoff_ms: &'static str,
    pub(crate) concurrency: &'static str,
    pub(crate) rate: &'static str,
    pub(crate) chunk: &'static str,
    pub(crate) reserve: &'static str,
}

pub(crate) const OF_ROUTER: Names = Names {
    url: "hub.url",
    token: "hub.token",
    retries: "downloads.retries",
    backoff_ms: "downloads.backoff_ms",
    concurrency: "downloads.concurrency",
    rate: "downloads.max_rate",
    chunk: "downloads.chunk",
    reserve: "downloads.disk_reserve",
};

pub(crate) const OF_NODE: Names = Names {
    url: "hub_url",
    token: "hub_token",
    retries: "download_retries",
    backoff_ms: "download_backoff_ms",
    concurrency: "download_concurrency",
    rate: "download_max_rate",
    chunk: "download_chunk",
    reserve: "disk_reserve",
};

pub(crate) fn hub(reader: &mut Reader, names: &Names) -> Result<Hub, ConfigError> {
    let written: String = reader.value(names.url)?;
    let url = base_url::checked(&written).map_err(|why| ConfigError::Value {
        name: names.url.to_owned(),
        value: mask_url(&written),
        origin: reader.origin(names.url).to_string(),
        allowed: why.to_owned(),
    })?;
    Ok(Hub { url, token: reader.secret(names.token)? })
}

pub(crate) fn downloads(reader: &mut Reader, names: &Names) -> Result<Downloads, ConfigError> {
    Ok(Downloads {
        retries: reader.value::<Count>(names.retries)?.0,
        backoff: Duration::from_millis(u64::from(reader.value::<u32>(names.backoff_ms)?)),
        concurrency: reader.value::<Count>(names.concurrency)?.0,
        rate_bytes_max: reader.optional::<Bytes>(names.rate)?.map(|n| n.0),
        chunk_bytes: reader.value::<Bytes>(names.chunk)?.0,
        reserve_bytes: reader.value::<Bytes>(names.reserve)?.0,
    })
}

pub(crate) fn convert(reader: &mut Reader) -> Result<Convert, ConfigError> {
    Ok(Convert {
        python: reader.value("convert.python")?,
        script: reader.optional::<PathBuf>("convert.script")?.map(|path| reader.path(&path)),
        skip_venv: reader.value("convert.skip_venv")?,
        quantizer: reader.optional::<PathBuf>("convert.quantizer")?.map(|path| reader.path(&path)),
        concurrency: reader.value::<Count>("convert.concurrency")?.0,
    })
}
