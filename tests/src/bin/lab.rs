//! Fetches and builds everything that the tests need: `./x lab`.

use anyhow::Result;
use vmferry_tests::{LibvirtRelease, Qemu, Release, Target, Volatility, linux, pattern};

fn main() -> Result<()> {
    for release in Release::ALL {
        for target in Target::ALL {
            let qemu = Qemu::of(release, target)?;
            println!("QEMU {release} for {target}: {}", qemu.system().display());
        }
    }
    println!("the pattern guest: {}", pattern::kernel()?.display());
    println!("its disk: {}", pattern::disk()?.display());
    let files = linux::files()?;
    println!("the Linux guest: {}", files.kernel.display());
    println!("its file system: {}", files.initramfs.display());
    let libvirt = LibvirtRelease::V11_3;
    if let Some(root) = libvirt.root()? {
        println!("{libvirt}: {}", root.display());
    }
    Volatility::get()?;
    println!("Volatility is there, too");
    Ok(())
}
