//! Whether something that was read is wrong, whichever layer has found it.

use std::error::Error;

use vmferry::container::ContainerError;
use vmferry::error::{Damage, Error as ReadError, FormatError};
use vmferry::index::IndexError;
use vmferry::ram::PageError;
use vmferry_store::StoreError;

/// Whether an error says that what was read is damaged. What could not be read at all is not.
pub(crate) fn is_damage(error: &anyhow::Error) -> bool {
    error.chain().any(is_itself_damage)
}

fn is_itself_damage(cause: &(dyn Error + 'static)) -> bool {
    if let Some(erased) = cause.downcast_ref::<PageError>() {
        return is_itself_damage(erased.inner());
    }
    let is = |found: Option<bool>| found == Some(true);
    cause.is::<FormatError>()
        || cause.is::<Damage>()
        || is(cause.downcast_ref().map(ReadError::is_damage))
        || is(cause.downcast_ref().map(ContainerError::is_damage))
        || is(cause.downcast_ref().map(IndexError::is_damage))
        || is(cause.downcast_ref().map(in_store))
}

/// Whether it was a store that was read.
pub(crate) fn is_of_store(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<StoreError>())
}

/// Whether what was read is something else than a saved machine.
pub(crate) fn is_no_machine(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let container = cause.downcast_ref::<ContainerError>();
        container.is_some_and(ContainerError::is_no_machine)
    })
}

fn in_store(error: &StoreError) -> bool {
    error.is_damage() || matches!(error, StoreError::Missing { .. })
}
