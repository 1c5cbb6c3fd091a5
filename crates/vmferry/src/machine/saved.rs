//! A saved machine, whatever it is kept in.

use std::sync::Arc;

use super::MachineState;
use crate::ram::PageSource;

/// A whole machine at rest: its pages, and everything else of it.
pub trait SavedState: PageSource {
    /// Everything but the RAM.
    ///
    /// # Errors
    /// It is damaged, or its storage could not be read.
    fn state(&self) -> Result<MachineState, Self::Error>;

    /// What it is kept in, for people: `a libvirt save image (zstd)`.
    fn kept_in(&self) -> String;
}

macro_rules! forward {
    ($($pointer:ty: $($bound:path),*;)*) => {$(
        impl<S: SavedState + ?Sized $(+ $bound)*> SavedState for $pointer {
            fn state(&self) -> Result<MachineState, Self::Error> {
                (**self).state()
            }

            fn kept_in(&self) -> String {
                (**self).kept_in()
            }
        }
    )*};
}

forward! {
    &S: ;
    &mut S: ;
    Box<S>: ;
    Arc<S>: Send;
}
