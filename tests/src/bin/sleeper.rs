//! Starts a guest, says its process id, and waits to be killed: what a test that hangs looks like.

use std::io::Write;

use anyhow::Result;
use vmferry_tests::{Release, Spec};

fn main() -> Result<()> {
    let guest = Spec::pattern(Release::V10_0, "pc").start()?;
    println!("{}", guest.pid());
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
