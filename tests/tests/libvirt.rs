//! libvirt's save images: those that a real libvirt writes are read in every format, and those that vmferry
//! writes a real libvirt restores.

use std::fs;

use anyhow::{Context, Result, ensure};
use vmferry_tests::libvirt::{IMAGE_FORMATS, wait_for_passes};
use vmferry_tests::{Libvirt, LibvirtRelease, Release, Spec, Vmferry};

fn guest(release: Release) -> Spec {
    let machine = match release {
        Release::V7_2 => "pc",
        Release::V10_0 => "q35",
    };
    Spec::pattern(release, machine).tell(|pattern| pattern.disk = false)
}

/// A domain is saved by libvirt; and goes on from that image in every way that there is.
fn goes_on_from_its_image(of: LibvirtRelease, release: Release, format: &str) -> Result<()> {
    let libvirt = Libvirt::start(of, format)?;
    let vmferry = Vmferry::new()?;
    let spec = guest(release);
    let listener = libvirt.listen()?;
    let xml = libvirt.domain("web", &spec, &listener)?;
    let file = |name: &str| libvirt.path().join(name).display().to_string();

    libvirt.virsh(["create", &xml.display().to_string()])?;
    wait_for_passes(&libvirt.hear(&listener)?, 2)?;
    let image = file("web.save");
    libvirt.virsh(["save", "web", &image])?;
    libvirt.share(image.as_ref())?;

    // Looked into.
    let found = vmferry.json(["inspect", &image])?;
    let container = found["container"]["description"]
        .as_str()
        .context("no container")?;
    ensure!(
        container == format!("a libvirt save image ({format})"),
        "{container}"
    );
    vmferry.run(["verify", &image])?.succeeded()?;

    // As a stream, for QEMU without libvirt: it was running.
    let stream = file("web.stream");
    let report = vmferry.json(["convert", &image, "--to", "stream", "-o", &stream])?;
    ensure!(report["run_state"] == "running", "{report}");
    // Stopped before it runs, its memory is what is exported of the image.
    let raw = file("web.raw");
    vmferry.json(["export", &image, "--format", "raw", "-o", &raw])?;
    let restored = spec.clone().paused().restore(stream.as_ref())?;
    ensure!(
        fs::read(&raw)? == restored.memory(0, 32 << 20)?,
        "the exported memory is not that of the guest"
    );
    restored.cont()?;
    restored.wait_for_passes(2)?;
    drop(restored);

    // As a checkpoint, under the domain's name, and back as an image; with libvirt's own image as witness of
    // what it wants to know of a domain.
    let report = vmferry.json(["convert", &image, "--to", "checkpoint"])?;
    let name = report["output"]
        .as_str()
        .context("no checkpoint")?
        .to_owned();
    ensure!(name.starts_with("web@"), "{name}");
    let described = file("saved.xml");
    fs::write(
        &described,
        libvirt.virsh(["save-image-dumpxml", &image, "--security-info"])?,
    )?;
    let back = file("back.save");
    let options = ["--xml", &described, "--image-format", format, "-o", &back];
    vmferry
        .run([&["convert", &name, "--to", "libvirt"], &options[..]].concat())?
        .succeeded()?;
    libvirt.virsh(["restore", &back])?;
    wait_for_passes(&libvirt.hear(&listener)?, 2)?;
    libvirt.virsh(["destroy", "web"])?;

    // From image to image, with everything that was in it.
    let again = file("again.save");
    vmferry
        .run(["convert", &image, "--to", "libvirt", "-o", &again])?
        .succeeded()?;
    libvirt.virsh(["restore", &again])?;
    wait_for_passes(&libvirt.hear(&listener)?, 2)?;
    libvirt.virsh(["destroy", "web"])?;
    Ok(())
}

#[test]
fn a_domain_goes_on_from_its_image_whatever_its_format() -> Result<()> {
    for format in IMAGE_FORMATS {
        goes_on_from_its_image(LibvirtRelease::Installed, Release::V10_0, format)
            .context(format)?;
    }
    Ok(())
}

#[test]
fn a_domain_of_an_older_qemu_goes_on_from_its_image_whatever_its_format() -> Result<()> {
    for format in IMAGE_FORMATS {
        goes_on_from_its_image(LibvirtRelease::Installed, Release::V7_2, format).context(format)?;
    }
    Ok(())
}

#[test]
fn a_domain_goes_on_from_its_image_in_a_format_that_only_a_newer_libvirt_has() -> Result<()> {
    for (release, format) in [
        (Release::V7_2, "zstd"),
        (Release::V10_0, "zstd"),
        (Release::V10_0, "sparse"),
    ] {
        goes_on_from_its_image(LibvirtRelease::V11_3, release, format)
            .with_context(|| format!("{release}, {format}"))?;
    }
    Ok(())
}

#[test]
fn a_paused_domain_stays_paused() -> Result<()> {
    let libvirt = Libvirt::start(LibvirtRelease::Installed, "raw")?;
    let vmferry = Vmferry::new()?;
    let spec = guest(Release::V10_0);
    let listener = libvirt.listen()?;
    let xml = libvirt.domain("web", &spec, &listener)?;
    libvirt.virsh(["create", &xml.display().to_string()])?;
    wait_for_passes(&libvirt.hear(&listener)?, 1)?;
    libvirt.virsh(["suspend", "web"])?;
    let (image, back) = (libvirt.path().join("image"), libvirt.path().join("back"));
    let (image, back) = (image.display().to_string(), back.display().to_string());
    libvirt.virsh(["save", "web", &image])?;
    libvirt.share(image.as_ref())?;
    let options = ["--to", "libvirt", "--image-format", "gzip", "-o", &back];
    vmferry
        .run([&["convert", &image], &options[..]].concat())?
        .succeeded()?;
    libvirt.virsh(["restore", &back])?;
    let console = libvirt.hear(&listener)?;
    let state = libvirt.virsh(["domstate", "web"])?;
    ensure!(state.trim() == "paused", "{state}");
    libvirt.virsh(["resume", "web"])?;
    wait_for_passes(&console, 1)?;
    Ok(())
}
