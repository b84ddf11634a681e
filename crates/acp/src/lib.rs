//! The Agent Client Protocol, version 1, spoken as a client: an agent is given one prompt, and whoever gave it hears what it
//! does, judges what it wants to do with tools of its own, and can have it stop.
//!
//! It must not know: runs, policy, packs, programs. Bytes come in and bytes go out; who starts the agent is somebody else's.
//! No type of the protocol's library leaves it. Start at [`client::prompt`].

pub mod client;
