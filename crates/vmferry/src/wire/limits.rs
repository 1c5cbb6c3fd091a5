//! The named bounds that every length in a stream meets before memory is reserved for it.
