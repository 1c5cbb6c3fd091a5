//! Which checkpoint a reference means.

use crate::error::StoreError;
use crate::name::{CheckpointId, CheckpointName, CheckpointRef, VmName, Which};

/// The checkpoint that `reference` means, given the `names` of all checkpoints of a store.
pub(super) fn resolve(
    reference: &CheckpointRef,
    names: &[CheckpointName],
) -> Result<CheckpointName, StoreError> {
    let mut ids: Vec<&CheckpointId> = names
        .iter()
        .filter(|name| name.vm == reference.vm)
        .map(|name| &name.id)
        .collect();
    ids.sort();
    let Some(last) = ids.last() else {
        let mut known: Vec<VmName> = names.iter().map(|name| name.vm.clone()).collect();
        known.sort();
        known.dedup();
        return Err(StoreError::NoSuchVm {
            vm: reference.vm.clone(),
            known,
        });
    };
    let named = |id: &CheckpointId| CheckpointName {
        vm: reference.vm.clone(),
        id: id.clone(),
    };
    let wanted = match &reference.which {
        Which::Latest => return Ok(named(last)),
        Which::Id(wanted) => wanted,
    };
    if let Some(id) = ids.iter().find(|id| id.as_str() == wanted) {
        return Ok(named(id));
    }
    let fitting: Vec<&CheckpointId> = ids
        .iter()
        .copied()
        .filter(|id| id.as_str().starts_with(wanted.as_str()))
        .collect();
    let texts = |ids: &[&CheckpointId]| ids.iter().map(|id| id.to_string()).collect();
    match fitting.as_slice() {
        [id] => Ok(named(id)),
        [] => Err(StoreError::NoSuchCheckpoint {
            vm: reference.vm.clone(),
            id: wanted.clone(),
            candidates: texts(&ids),
        }),
        several => Err(StoreError::Ambiguous {
            vm: reference.vm.clone(),
            id: wanted.clone(),
            candidates: texts(several),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CheckpointName {
        let (vm, id) = text.split_once('@').unwrap();
        CheckpointName {
            vm: vm.parse().unwrap(),
            id: id.parse().unwrap(),
        }
    }

    fn resolve(text: &str, names: &[CheckpointName]) -> Result<String, StoreError> {
        Ok(super::resolve(&text.parse()?, names)?.to_string())
    }

    #[test]
    fn references_resolve_to_the_latest_an_exact_id_or_a_unique_prefix() {
        let names = [
            name("a@20260101T000000000Z-00000001"),
            name("a@20260202T000000000Z-00000002"),
            name("a@20260203T000000000Z-00000003"),
            name("b@20270101T000000000Z-00000004"),
        ];
        assert_eq!(resolve("a", &names).unwrap(), names[2].to_string());
        assert_eq!(resolve("a@latest", &names).unwrap(), names[2].to_string());
        assert_eq!(resolve("a@202601", &names).unwrap(), names[0].to_string());
        let exact = names[1].to_string();
        assert_eq!(resolve(&exact, &names).unwrap(), exact);
    }

    #[test]
    fn an_exact_id_wins_over_a_longer_one_that_begins_with_it() {
        let names = [name("a@1"), name("a@12")];
        assert_eq!(resolve("a@1", &names).unwrap(), "a@1");
    }

    #[test]
    fn a_reference_that_does_not_resolve_lists_what_there_is() {
        let names = [name("a@20260202-2"), name("a@20260203-3")];
        let text = |reference| resolve(reference, &names).unwrap_err().to_string();
        assert_eq!(
            text("a@2026"),
            "'a@2026' may be any of 20260202-2, 20260203-3; give more of the id"
        );
        assert_eq!(
            text("a@9"),
            "'a' has no checkpoint '9'; it has 20260202-2, 20260203-3"
        );
        assert_eq!(
            text("c"),
            "there is no checkpoint of 'c'; there are checkpoints of 'a'"
        );
        assert!(text("a@").contains("is not a checkpoint id"));
        assert!(text("a@../b").contains("is not a checkpoint id"));
    }
}
