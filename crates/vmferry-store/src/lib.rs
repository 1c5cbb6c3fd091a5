//! Checkpoints of virtual machines: packs of compressed pages, page maps, manifests.
