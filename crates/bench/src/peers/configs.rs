//! The peers' configuration files.

use std::{net::SocketAddr, path::Path};

/// One worker, keep-alive to the provider, no buffering of answers.
pub(super) fn nginx(dir: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"worker_processes 1; daemon off; master_process on; pid {dir}/master.pid; error_log {dir}/error.log warn;
events {{ worker_connections 19900; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  client_body_buffer_size 64k;
  upstream m {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen {address} backlog=16384;
    location / {{
      proxy_pass http://m; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_buffering off; proxy_request_buffering on; proxy_read_timeout 600s;
    }}
  }}
}}
"#
    )
}

/// One thread, keep-alive, connections to the provider shared.
pub(super) fn haproxy(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 9950
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
  option http-no-delay
frontend f
  bind {address} backlog 16384
  default_backend b
backend b
  server m {upstream}
"
    )
}

/// No database, one static key.
pub(super) fn litellm(upstream: SocketAddr) -> String {
    format!(
        "model_list:
  - model_name: mock-model
    litellm_params: {{model: openai/mock-model, api_base: \"http://{upstream}/v1\", api_key: sk-up}}
litellm_settings: {{telemetry: false, num_retries: 0, request_timeout: 600}}
general_settings: {{master_key: sk-bench, disable_spend_logs: true}}
"
    )
}
