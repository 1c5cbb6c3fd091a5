//! An index as a saved machine.

use super::{Index, IndexError};
use crate::machine::{MachineState, SavedState};

impl SavedState for Index {
    fn state(&self) -> Result<MachineState, IndexError> {
        Ok(self.state().clone())
    }

    fn kept_in(&self) -> String {
        let wrapped = self.wrapped_in();
        wrapped.map_or_else(|| "a stream".to_owned(), ToString::to_string)
    }
}
