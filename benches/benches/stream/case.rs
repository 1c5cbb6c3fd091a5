//! One case: something that is done n times.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// How long a run takes.
const RUN: Duration = Duration::from_millis(20);

/// Runs for one figure; it is their median.
const RUNS: usize = 3;

/// Which time counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// The thread's processor time.
    Processor,
    /// Time on the wall.
    Wall,
}

impl Clock {
    fn now(self) -> Timespec {
        clock_gettime(match self {
            Self::Processor => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        })
    }

    /// What `work` takes, in nanoseconds.
    pub(super) fn time(self, work: impl FnOnce()) -> f64 {
        let from = self.now();
        counted(work);
        let to = self.now();
        let seconds = i32::try_from(to.tv_sec - from.tv_sec).unwrap_or(i32::MAX);
        let nanoseconds = i32::try_from(to.tv_nsec - from.tv_nsec).unwrap_or(i32::MAX);
        f64::from(seconds) * 1e9 + f64::from(nanoseconds)
    }
}

/// Does `work`. A function of its own, so that what is done in it can be counted.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

/// Puts this thread on one processor, as the original's is put: where the system would have both threads of a
/// socket start on the same one, the figure would be that of a switch of threads.
pub(super) fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    // A machine with one processor has no other.
    let _ = sched_setaffinity(None, &set);
}

/// Does something n times, and tells how many nanoseconds that took.
type Run<'d> = Box<dyn FnMut(u64) -> f64 + 'd>;

/// A case with its name.
pub(super) struct Case<'d> {
    pub(super) name: String,
    most: u64,
    n: u64,
    run: Run<'d>,
    bare: Option<Run<'d>>,
}

impl<'d> Case<'d> {
    pub(super) fn new(name: String, run: impl FnMut(u64) -> f64 + 'd) -> Self {
        Self {
            name,
            most: u64::MAX / 32,
            n: 256,
            run: Box::new(run),
            bare: None,
        }
    }

    /// Beside the same without a stream, in place of the C original.
    pub(super) fn beside(mut self, bare: impl FnMut(u64) -> f64 + 'd) -> Self {
        self.bare = Some(Box::new(bare));
        self
    }

    /// At most so often in one run.
    pub(super) fn at_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// Finds out how often it is to be done, so that a run takes long enough.
    pub(super) fn calibrate(&mut self) {
        let target = RUN.as_secs_f64() * 1e9;
        self.n = self.most.min(256);
        loop {
            let best = (0..3).map(|_| (self.run)(self.n)).fold(f64::MAX, f64::min);
            if best >= target / 2.0 || self.n >= self.most {
                return;
            }
            let mut grow = 2_u32;
            while grow < 8 && best * f64::from(grow) < target {
                grow *= 2;
            }
            self.n = self.n.saturating_mul(grow.into()).min(self.most);
        }
    }

    /// Does it `n` times, once.
    pub(super) fn count(&mut self, n: u64) {
        (self.run)(n.min(self.most));
    }

    /// Nanoseconds for each time.
    pub(super) fn measure(&mut self) -> f64 {
        median(&mut self.run, self.n)
    }

    /// As [`measure`](Self::measure), of what this is measured beside, if that is not the C original.
    pub(super) fn measure_bare(&mut self) -> Option<f64> {
        self.bare.as_mut().map(|bare| median(bare, self.n))
    }
}

fn median(run: &mut Run<'_>, n: u64) -> f64 {
    // One does not count: the original begins a turn by finding out how often it does something.
    run(n);
    let mut runs: Vec<_> = (0..RUNS).map(|_| run(n)).collect();
    runs.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, reason = "it is far below 2^53")]
    let n = n as f64;
    runs[RUNS / 2] / n
}
