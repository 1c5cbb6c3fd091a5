//! How a checkpoint was saved.

use vmferry_store::manifest::SaveMode;

/// The mode in the words of the command line.
pub(crate) fn mode_name(mode: &SaveMode) -> String {
    match mode {
        SaveMode::Stop => "stop".into(),
        SaveMode::Snapshot => "snapshot".into(),
        SaveMode::Precopy => "live".into(),
        SaveMode::Import => "import".into(),
        SaveMode::Other(other) => other.clone(),
        _ => "-".into(),
    }
}
