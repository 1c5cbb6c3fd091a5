//! Fetches and builds everything that the tests need: `./x lab`.

use anyhow::Result;
use vmferry_tests::{Qemu, Release};

fn main() -> Result<()> {
    for release in Release::ALL {
        let qemu = Qemu::get(release)?;
        println!("QEMU {release}: {}", qemu.system().display());
    }
    Ok(())
}
