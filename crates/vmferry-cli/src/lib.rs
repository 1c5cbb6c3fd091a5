//! The `vmferry` command as a library, so that the test lab can use its QMP client.

pub mod qmp;
