//! The stables: our own nodes and agents. Who is registered, who is there, how busy each is, and whom to ask first.
//!
//! Invariants: the request path reads a [`FleetView`] and touches nothing but counters; a registration is stored before it is acknowledged; a
//! request in flight is counted as long as its [`InFlight`] lives and no longer.

mod admin;
mod agents;
mod balance;
mod breaker;
mod callback;
mod clock;
mod endpoints;
mod heartbeat;
mod instance;
mod live;
mod queue;
mod record;
mod register;
mod registry;
mod show;
mod tally;
mod tend;
#[cfg(test)]
mod tests;
mod tethers;
mod tokens;
mod view;
mod vigil;

pub use admin::NodeSettings;
pub use agents::{AgentRegistered, AgentRegistration};
pub use balance::{Balancer, Choice, Facts};
pub use endpoints::Adoption;
pub use live::InFlight;
pub use queue::{Queued, Wanted};
pub use record::{Kind, Point, Speaks, Status};
pub use register::Origin;
pub use registry::{Fleet, FleetSettings};
pub use show::{InstanceView, NodeView, Summary};
pub use tally::End;
pub use tokens::{JoinTokenView, NewJoinToken};
pub use view::{Candidate, FleetView, Listed, Peer, Picked, Presence, Turn};
pub use vigil::Lost;
