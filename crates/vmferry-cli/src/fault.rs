//! Steps at which tests end, or stop, one of the processes of a save.
//!
//! With the feature `faults`, `VMFERRY_FAULT=STEP=WHAT` makes the process that comes to `STEP` end (`kill`), stop
//! (`stop`), or end together with its guardian (`kill-both`). Without it, nothing is compiled in.

/// A step that can be named in `VMFERRY_FAULT`.
#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) fn at(_step: &str) {}

/// A step that can be named in `VMFERRY_FAULT`.
#[cfg(feature = "faults")]
pub(crate) fn at(step: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    let wanted = std::env::var("VMFERRY_FAULT").unwrap_or_default();
    let Some((name, what)) = wanted.split_once('=') else {
        return;
    };
    if name != step {
        return;
    }
    let send = |pid, signal| {
        // One that is gone already is as good.
        let _ = kill_process(pid, signal);
    };
    match what {
        "kill" => send(getpid(), Signal::KILL),
        "stop" => send(getpid(), Signal::STOP),
        "kill-both" => {
            for child in crate::machine::children(getpid()) {
                send(child, Signal::KILL);
            }
            send(getpid(), Signal::KILL);
        }
        // The guardian of this process alone.
        "kill-guardian" | "stop-guardian" => {
            let signal = match what {
                "kill-guardian" => Signal::KILL,
                _ => Signal::STOP,
            };
            for child in crate::machine::children(getpid()) {
                send(child, signal);
            }
        }
        other => panic!("VMFERRY_FAULT: '{other}' is not known"),
    }
}
