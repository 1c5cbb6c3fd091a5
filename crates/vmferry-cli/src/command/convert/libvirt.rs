//! libvirt save images.

use std::fs;

use anyhow::{Context, Result, bail};
use vmferry::container::{Container, libvirt};
use vmferry::machine::MachineState;
use vmferry::progress::Progress;

use super::Convert;
use super::file::{Written, to_file};
use crate::args::ImageFormat;
use crate::saved::Saved;
use crate::watch::Watched;

pub(super) fn write(
    convert: &Convert,
    saved: &Saved,
    state: &MachineState,
    source: &Watched<'_, Saved>,
) -> Result<Written> {
    let image = image(convert, saved, state)?;
    to_file(convert, |file| {
        let written = libvirt::write(&file, &image, state, source, &Progress::default());
        written.map_err(Into::into)
    })
}

fn image(convert: &Convert, saved: &Saved, state: &MachineState) -> Result<libvirt::Image> {
    let mut image = match saved.container() {
        Some(Container::Libvirt(image)) => libvirt::Image::clone(image),
        _ => libvirt::Image {
            // Whatever stands for itself, and not for a guest that waits for somebody.
            was_running: matches!(
                state.run_state(),
                Some("running" | "finish-migrate" | "save-vm")
            ),
            ..libvirt::Image::default()
        },
    };
    if let Some(path) = &convert.xml {
        let failed = || format!("cannot read {}", path.display());
        image.xml = fs::read_to_string(path).with_context(failed)?;
        domain_name(&image.xml).with_context(|| format!("{} is no domain", path.display()))?;
    }
    if image.xml.is_empty() {
        bail!(
            "a libvirt save image holds the domain's XML, and {} has none: give it with --xml \
             ('virsh dumpxml DOMAIN' or 'virsh save-image-dumpxml FILE' prints it)",
            saved.kept_in()
        );
    }
    let format = convert.image_format.unwrap_or(ImageFormat::Raw);
    image.format = libvirt::Format::from_name(match format {
        ImageFormat::Raw => "raw",
        ImageFormat::Gzip => "gzip",
        ImageFormat::Bzip2 => "bzip2",
        ImageFormat::Xz => "xz",
        ImageFormat::Lzop => "lzop",
        ImageFormat::Zstd => "zstd",
        ImageFormat::Sparse => "sparse",
    })
    .unwrap_or_default();
    Ok(image)
}

/// The name of the domain that an XML describes.
pub(super) fn domain_name(xml: &str) -> Result<String> {
    let document = roxmltree::Document::parse(xml)?;
    let domain = document.root_element();
    // 'virsh save-image-dumpxml' shows it so, too; in a snapshot it stands deeper.
    let domain = domain
        .descendants()
        .find(|node| node.has_tag_name("domain"))
        .context("there is no <domain>")?;
    let name = domain.children().find(|node| node.has_tag_name("name"));
    let name = name
        .and_then(|name| name.text())
        .context("the domain has no <name>")?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_a_name() {
        let name = |xml| domain_name(xml).map_err(|error| error.to_string());
        assert_eq!(
            name("<domain type='qemu'><name>web</name></domain>"),
            Ok("web".into())
        );
        assert_eq!(name("<domain/>"), Err("the domain has no <name>".into()));
        assert_eq!(name("<network/>"), Err("there is no <domain>".into()));
        assert!(name("<domain>").is_err());
    }
}
