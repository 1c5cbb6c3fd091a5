//! The buffered byte stream: a reader and a writer over any channel.
