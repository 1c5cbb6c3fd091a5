//! Steps at which tests end, or stop, one of the processes of a save.
//!
//! With the feature `faults`, `VMFERRY_FAULT=STEP=WHAT,…` makes the process that comes to `STEP` end (`kill`) or stop
//! (`stop`), or its guardian (`kill-guardian`, `stop-guardian`), or both of them end (`kill-both`); `stop-qemu` stops the process
//! that `VMFERRY_FAULT_QEMU` names. Without the feature, nothing is compiled in.

/// A step that can be named in `VMFERRY_FAULT`.
#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) fn at(_step: &str) {}

/// A step that can be named in `VMFERRY_FAULT`.
#[cfg(feature = "faults")]
pub(crate) fn at(step: &str) {
    let wanted = std::env::var("VMFERRY_FAULT").unwrap_or_default();
    for fault in wanted.split(',') {
        match fault.split_once('=') {
            Some((name, what)) if name == step => carry_out(what),
            _ => {}
        }
    }
}

#[cfg(feature = "faults")]
fn carry_out(what: &str) {
    use rustix::process::{Pid, Signal, getpid, kill_process};
    // One that is gone already is as good.
    let send = |pid, signal| {
        let _ = kill_process(pid, signal);
    };
    let to_guardian = |signal| {
        for child in crate::machine::children(getpid()) {
            send(child, signal);
        }
    };
    match what {
        "kill" => send(getpid(), Signal::KILL),
        "stop" => send(getpid(), Signal::STOP),
        "kill-guardian" => to_guardian(Signal::KILL),
        "stop-guardian" => to_guardian(Signal::STOP),
        "kill-both" => {
            to_guardian(Signal::KILL);
            send(getpid(), Signal::KILL);
        }
        "stop-qemu" => {
            let qemu = std::env::var("VMFERRY_FAULT_QEMU").unwrap_or_default();
            if let Some(qemu) = qemu.parse().ok().and_then(Pid::from_raw) {
                send(qemu, Signal::STOP);
            }
        }
        other => panic!("VMFERRY_FAULT: '{other}' is not known"),
    }
}
