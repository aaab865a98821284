//! `llm-router config login-chatgpt`: somebody says yes in a browser, and the account's tokens come into the file (OAuth 2 with PKCE, RFC 7636).

use std::{
    io::{BufRead as _, Write as _},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use config::{
    Environment,
    edit::{self, AccountChange, AccountSecret},
    providers,
};
use http::Uri;
use subtle::ConstantTimeEq as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use upstream::grant::{Tokens, escaped, token_answer, token_request};

use super::{
    Failed,
    edit::{How, change},
    out, proxy,
};
use crate::first_run::random;

/// Most bytes of what a browser brings back, and of a token server's answer.
const BYTES_MAX: usize = 16 << 10;
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a browser may take to say one line.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Login {
    /// The account to write; one of that name is changed.
    #[arg(long)]
    account: String,
    /// Whose account it is.
    #[arg(long, default_value = providers::SUBSCRIPTION)]
    provider: String,
    /// Where it is called, if not at the provider's own address.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Names and wildcards that it serves, with commas between.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Make its first model the default model.
    #[arg(long)]
    set_default: bool,
    /// Whom the tokens are given to.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where to say yes.
    #[arg(long, value_name = "URL")]
    authorize_url: Option<String>,
    /// Where tokens are given and renewed.
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// Where the browser comes back to, on this machine.
    #[arg(long, value_name = "URL")]
    redirect_uri: Option<String>,
    /// What is asked for, with blanks between.
    #[arg(long)]
    scope: Option<String>,
    /// Which program asks.
    #[arg(long, default_value = "llm-router")]
    originator: String,
    /// Ask for the code that the browser shows at the end, instead of waiting for the browser.
    #[arg(long)]
    manual_code: bool,
    /// Ask for the address that the browser ends at, instead of waiting for the browser.
    #[arg(long, conflicts_with = "manual_code")]
    paste_url: bool,
    /// How long to wait for the browser.
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_seconds: u64,
    /// Do not open a browser; the address is printed in any case.
    #[arg(long)]
    no_browser: bool,
    /// Do not listen for the browser: the same as --paste-url, unless --manual-code is said.
    #[arg(long)]
    no_local_callback: bool,
}

/// One log-in under way.
struct Errand {
    authorize_url: String,
    token_url: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    verifier: String,
}

pub(super) fn run(login: Login, how: &How, environment: &Environment) -> Result<(), Failed> {
    let errand = Errand::new(&login)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let client = net::Client::new(net::Settings { proxy: proxy(environment), ..net::Settings::default() });
    let tokens = runtime.block_on(async {
        let code = errand.code(&login).await?;
        errand.tokens(&client, &code).await
    })?;
    let account = account(login, &errand, tokens);
    change(how, environment, |document| edit::add_account(document, &account).map(|()| Vec::new()))
}

impl Errand {
    fn new(login: &Login) -> anyhow::Result<Self> {
        let home = providers::oauth_home(&login.provider);
        let part = |given: &Option<String>, known: Option<&str>, flag: &str| {
            given
                .clone()
                .or_else(|| known.map(str::to_owned))
                .ok_or_else(|| anyhow!("{flag} is missing: `{}` has none that is known", login.provider))
        };
        Ok(Self {
            authorize_url: part(&login.authorize_url, home.map(|h| h.authorize_url), "--authorize-url")?,
            token_url: part(&login.token_url, home.map(|h| h.token_url), "--token-url")?,
            client_id: part(&login.client_id, home.map(|h| h.client_id), "--client-id")?,
            redirect_uri: part(&login.redirect_uri, home.map(|h| h.redirect_uri), "--redirect-uri")?,
            scope: part(&login.scope, home.map(|h| h.scope), "--scope")?,
            state: random(32),
            verifier: random(64),
        })
    }

    /// Where the browser goes.
    fn address(&self, originator: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(policy::hash(&self.verifier));
        let query = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", &self.state),
            ("id_token_add_organizations", "true"),
            ("codex_cli_simplified_flow", "true"),
            ("originator", originator),
        ];
        let query = query.map(|(name, value)| format!("{name}={}", escaped(value))).join("&");
        let separator = if self.authorize_url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{query}", self.authorize_url)
    }

    /// The code that the browser brings.
    async fn code(&self, login: &Login) -> anyhow::Result<String> {
        let address = self.address(&login.originator);
        let is_pasted = login.paste_url || login.no_local_callback;
        // Before the browser is sent, so that it finds somebody when it comes back.
        let listener = if login.manual_code || is_pasted { None } else { Some(self.listen().await?) };
        out::remark(&format!("Log in at:\n\n{address}\n"));
        if !login.no_browser {
            crate::tray::open_browser(&address);
        }
        match listener {
            Some(listener) => {
                let patience = Duration::from_secs(login.timeout_seconds);
                let waited = tokio::time::timeout(patience, self.called_back(&listener)).await;
                waited.map_err(|_| anyhow!("nobody came back from the browser within {} s", login.timeout_seconds))?
            }
            None if login.manual_code => {
                let code = ask("The code: ")?;
                if code.is_empty() {
                    bail!("there was no code")
                }
                Ok(code)
            }
            None => {
                let address = ask("The address that the browser ended at: ")?;
                self.code_of(&address)?.ok_or_else(|| anyhow!("this address has no code in it"))
            }
        }
    }

    async fn listen(&self) -> anyhow::Result<TcpListener> {
        let uri: Uri = self.redirect_uri.parse().context("--redirect-uri is no address")?;
        let port = uri.port_u16().unwrap_or(80);
        if !matches!(uri.host(), Some("localhost" | "127.0.0.1")) {
            bail!("--redirect-uri is not on this machine: use --paste-url");
        }
        TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("port {port} cannot be listened on; use --paste-url"))
    }

    /// Waits for the browser; whoever else calls is sent away.
    async fn called_back(&self, listener: &TcpListener) -> anyhow::Result<String> {
        loop {
            let (mut stream, _) = listener.accept().await.context("the browser cannot be listened for")?;
            let Ok(Some(target)) = tokio::time::timeout(LINE_TIME_MAX, request_target(&mut stream)).await else { continue };
            let found = self.code_of(&target);
            let (status, text) = match &found {
                Ok(Some(_)) => ("200 OK", "You are logged in. This window can be closed."),
                Ok(None) => ("404 Not Found", "This is not what was waited for."),
                Err(_) => ("400 Bad Request", "The log-in failed. The command line says why."),
            };
            let length = text.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            if let Some(code) = found? {
                return Ok(code);
            }
        }
    }

    /// The code of an address that the browser was sent to; `None` where it is about something else.
    fn code_of(&self, address: &str) -> anyhow::Result<Option<String>> {
        let Some((_, query)) = address.trim().split_once('?') else { return Ok(None) };
        let query = query.split('#').next().unwrap_or_default();
        let value = |name: &str| {
            let text = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
            Some(percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
        };
        let Some(state) = value("state") else { return Ok(None) };
        // A browser that was sent here by somebody else's log-in must not end this one.
        if !bool::from(state.as_bytes().ct_eq(self.state.as_bytes())) {
            return Ok(None);
        }
        if let Some(error) = value("error") {
            bail!("the provider said no: {}", error.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
        }
        Ok(value("code").filter(|code| !code.is_empty()))
    }

    async fn tokens(&self, client: &net::Client, code: &str) -> anyhow::Result<Tokens> {
        let form = [
            ("grant_type", Some("authorization_code")),
            ("code", Some(code)),
            ("redirect_uri", Some(&*self.redirect_uri)),
            ("client_id", Some(&*self.client_id)),
            ("code_verifier", Some(&*self.verifier)),
        ];
        let request = token_request(&self.token_url, &form).context("--token-url is no address")?;
        let answer =
            client.fetch(request, &net::Timeouts::default(), ANSWER_BYTES_MAX).await.context("the token server cannot be asked")?;
        token_answer(&answer, SystemTime::now()).map_err(|why| anyhow!("{why}"))
    }
}

fn account(login: Login, errand: &Errand, tokens: Tokens) -> AccountChange {
    let literal = |value: String| AccountSecret::Literal(value);
    let secrets = [
        ("oauth_access_token", tokens.access),
        ("oauth_refresh_token", tokens.refresh),
        ("oauth_expires_at", tokens.ends_at.map(|at| at.to_string())),
        ("oauth_client_id", Some(errand.client_id.clone())),
    ];
    AccountChange {
        name: login.account,
        provider: Some(login.provider),
        base_url: login.base_url,
        auth_mode: Some("oauth".to_owned()),
        secrets: secrets.into_iter().filter_map(|(key, value)| Some((key, literal(value?)))).collect(),
        oauth_token_url: Some(errand.token_url.clone()),
        models: login.models,
        set_default: login.set_default,
        ..AccountChange::default()
    }
}

/// The target of a request's first line. All of the head is read: a browser that still sends while the connection closes shows no answer.
async fn request_target(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        if seen.len() >= BYTES_MAX || stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
    let line = seen.split(|b| *b == b'\n').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?.split(' ').next()?;
    Some(target.to_owned())
}

fn ask(question: &str) -> anyhow::Result<String> {
    let mut error = std::io::stderr().lock();
    let _ = error.write_all(question.as_bytes()).and_then(|()| error.flush());
    let mut line = String::new();
    std::io::Read::take(std::io::stdin().lock(), BYTES_MAX as u64).read_line(&mut line).context("nothing can be read")?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand() -> Errand {
        let text = |text: &str| text.to_owned();
        Errand {
            authorize_url: text("https://login.test/authorize"),
            token_url: text("https://login.test/token"),
            client_id: text("client 1"),
            redirect_uri: text("http://localhost:1455/auth/callback"),
            scope: text("a b"),
            state: text("the-state"),
            verifier: text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        }
    }

    #[tokio::test]
    async fn nothing_of_a_head_is_left_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut theirs, ours) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (head, mut ours) = (format!("GET /back?code=c HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(4000)), ours.unwrap().0);
        theirs.as_mut().unwrap().write_all(head.as_bytes()).await.unwrap();
        assert_eq!(request_target(&mut ours).await.as_deref(), Some("/back?code=c"));
        let left = ours.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(left.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_address_carries_the_challenge_of_rfc_7636() {
        let address = errand().address("x");
        assert!(address.starts_with("https://login.test/authorize?response_type=code&client_id=client%201&"), "{address}");
        assert!(address.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"), "{address}");
        assert!(!address.contains(&errand().verifier));
    }

    #[test]
    fn only_the_answer_to_this_log_in_counts() {
        let code = |address: &str| errand().code_of(address).map_err(|error| error.to_string());
        assert_eq!(code("/auth/callback?code=c%2F1&state=the-state"), Ok(Some("c/1".to_owned())));
        assert_eq!(code("http://localhost:1455/auth/callback?state=the-state&code=c#x"), Ok(Some("c".to_owned())));
        assert_eq!(code("/auth/callback?code=c&state=another"), Ok(None));
        assert_eq!(code("/auth/callback?code=c"), Ok(None));
        assert_eq!(code("/favicon.ico"), Ok(None));
        assert!(code("/auth/callback?error=access_denied&state=the-state").unwrap_err().contains("access_denied"));
    }
}
