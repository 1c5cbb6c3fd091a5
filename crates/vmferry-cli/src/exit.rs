//! Exit statuses.

/// A command found damage in what it looked at.
pub const DAMAGED: u8 = 1;

/// A command found a difference.
pub const DIFFERENT: u8 = 1;

/// A command could not do what it was asked for.
pub const COULD_NOT: u8 = 2;
