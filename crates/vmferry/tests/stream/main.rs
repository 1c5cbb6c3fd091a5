//! The byte stream, seen from outside.

mod reader_model;
mod support;
mod writer_model;
