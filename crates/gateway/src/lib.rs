//! The house put together: sockets, the path of a request, the control plane, the command line.

pub mod admin;
pub mod app;
pub mod body;
pub mod books;
pub mod chance;
pub mod cli;
pub mod discovery;
pub mod entrance;
pub mod first_run;
mod patience;
pub mod peer;
mod preface;
pub mod price;
pub mod recall;
pub mod registry;
pub mod render;
pub mod request;
pub mod routes;
pub mod server;
pub mod settle;
pub mod shard;
pub mod snapshot;
pub mod spending;
pub mod stored;
pub mod tray;
pub mod ui;
pub mod vault;
