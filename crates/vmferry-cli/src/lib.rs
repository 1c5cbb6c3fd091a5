//! The `vmferry` command as a library, so that the test lab can use its QMP client.

pub mod guardian;
pub mod machine;
pub mod migration;
pub mod qmp;
