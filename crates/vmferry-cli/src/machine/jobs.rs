//! Jobs that are at work on a machine's disks.

use serde_json::Value;

use crate::qmp::Client;

/// The jobs, for people: `'backup0' (backup)`. None where QEMU cannot be asked.
pub fn block_jobs(client: &Client) -> Vec<String> {
    let jobs = client.execute("query-block-jobs", Value::Null);
    named(&jobs.unwrap_or_default())
}

fn named(jobs: &Value) -> Vec<String> {
    let text = |job: &Value, member| job.get(member).and_then(Value::as_str).map(str::to_owned);
    let jobs = jobs.as_array().into_iter().flatten();
    jobs.filter_map(|job| {
        let id = text(job, "device")?;
        let kind = text(job, "type")?;
        Some(format!("'{id}' ({kind})"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_are_named_with_what_they_do() {
        // As QEMU 10.0 sends it, in part.
        let jobs = json!([{"device": "j0", "len": 1, "status": "running", "type": "backup"}]);
        assert_eq!(named(&jobs), ["'j0' (backup)"]);
        assert!(named(&json!([])).is_empty());
        assert!(named(&json!([{"device": 1}, 2])).is_empty());
    }
}
