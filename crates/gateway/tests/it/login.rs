//! Logging in to a subscription: the command, a browser played by the test, a token server of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use testkit::{FakeUpstream, Reply, Script};

use crate::router::{Setup, closed_port};

fn server() -> FakeUpstream {
    let tokens = serde_json::json!({"access_token": "SECRETaccess", "refresh_token": "SECRETrefresh", "expires_in": 3600});
    FakeUpstream::start(Script::default().on("/token", Reply::json(&tokens)))
}

/// Starts the command; what it prints up to the address to log in at, and that address.
fn start(setup: &Setup, server: &FakeUpstream, redirect: &str, more: &[&str]) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let (authorize, token) = (format!("{}/authorize", server.url()), format!("{}/token", server.url()));
    let mut args = vec!["config", "login-chatgpt", "--account", "chatgpt", "--models", "gpt-5", "--no-browser", "--config", "router.yaml"];
    args.extend(["--authorize-url", &authorize, "--token-url", &token, "--redirect-uri", redirect]);
    args.extend(more);
    let mut command = setup.command(&args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("http") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it named an address");
    }
    (child, said, line.trim().to_owned())
}

fn part<'a>(address: &'a str, name: &str) -> &'a str {
    address.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

/// The status line of what the command answers the browser.
fn browse(redirect: &str, query: &str) -> String {
    let (host, path) = redirect.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path}?{query} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_browser_that_comes_back_brings_an_account() {
    let (setup, server) = (Setup::new(), server());
    let redirect = format!("http://{}/auth/callback", closed_port());
    let (mut child, _said, address) = start(&setup, &server, &redirect, &["--set-default"]);
    assert_eq!((part(&address, "code_challenge_method"), part(&address, "response_type")), ("S256", "code"));
    assert!(browse(&redirect, "code=evil&state=somebody-elses").contains("404"));
    assert!(browse(&redirect, &format!("code=c-1&state={}", part(&address, "state"))).contains("200"));
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!printed.contains("SECRET"), "{printed}");
    let asked = server.requests();
    let form = String::from_utf8_lossy(&asked[0].body).into_owned();
    assert!(form.starts_with("grant_type=authorization_code&code=c-1&") && form.contains("&code_verifier="), "{form}");
    let listed = setup.shown(&["config", "list-accounts", "--json"]);
    assert!(listed.contains("\"oauth\"") && listed.contains("gpt-5") && !listed.contains("SECRET"), "{listed}");
    let file = setup.file();
    for text in ["SECRETaccess", "SECRETrefresh", "oauth_expires_at", "default_model"] {
        assert!(file.contains(text), "{text}: {file}");
    }
}

#[test]
fn an_address_can_be_pasted_and_a_dry_run_keeps_quiet() {
    let (setup, server) = (Setup::new(), server());
    let redirect = "http://localhost:1455/auth/callback";
    let (mut child, _said, address) = start(&setup, &server, redirect, &["--paste-url", "--dry-run"]);
    let pasted = format!("{redirect}?code=c-1&state={}\n", part(&address, "state"));
    child.stdin.take().unwrap().write_all(pasted.as_bytes()).unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(printed.contains("oauth_access_token") && !printed.contains("SECRET"), "{printed}");
    assert!(!setup.file().contains("SECRET"));
}

#[test]
fn a_log_in_that_was_refused_changes_nothing() {
    let (setup, server) = (Setup::new(), server());
    let redirect = format!("http://{}/auth/callback", closed_port());
    let (mut child, mut said, address) = start(&setup, &server, &redirect, &[]);
    assert!(browse(&redirect, &format!("error=access_denied&state={}", part(&address, "state"))).contains("400"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("access_denied"), "{rest}");
    assert!(server.requests().is_empty() && !setup.file().contains("chatgpt"));
}
