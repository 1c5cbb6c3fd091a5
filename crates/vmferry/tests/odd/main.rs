//! Streams that are not what a QEMU of today writes: rescued, or of a postcopy migration, or made by hand.

mod elements;
mod ending;
mod hostile;
mod others;
mod postcopy;
mod rescue;
mod support;
