//! QEMU's monitor protocol, as far as a migration needs it.
//!
//! The client is tolerant on purpose: events, fields and values that it has never heard of pass by
//! unharmed, because a newer QEMU sends some. Replies are matched to commands by their id; events go
//! to whoever [subscribed](Client::subscribe), through bounded queues that never hold up the reader.
//!
//! A QMP socket serves one client at a time: a second one can connect, but is not greeted until the
//! first has gone. So [`Client::connect`] waits for the greeting only so long.

mod client;
mod error;
mod events;
mod greeting;
mod message;
mod transport;

pub use client::{Client, Pending};
pub use error::{Error, Result};
pub use events::Events;
pub use message::{Event, Version};
