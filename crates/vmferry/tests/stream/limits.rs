//! One budget for several streams, in threads of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use vmferry::channel::Null;
use vmferry::stream::{RateLimiter, Writer};

#[test]
fn several_streams_use_up_one_budget_window_after_window() {
    const STREAMS: u64 = 3;
    const BUDGET: u64 = 10_000;
    const RECORD: u64 = 8;
    let limiter = Arc::new(RateLimiter::per_window(BUDGET));
    let total = Arc::new(AtomicU64::new(0));
    let window_over = Arc::new(Barrier::new(usize::try_from(STREAMS).unwrap() + 1));
    std::thread::scope(|scope| {
        for _ in 0..STREAMS {
            let (limiter, total) = (Arc::clone(&limiter), Arc::clone(&total));
            let window_over = Arc::clone(&window_over);
            scope.spawn(move || {
                let mut writer = Writer::new(Null);
                let mut told = 0;
                for _ in 0..4 {
                    loop {
                        // Adds its own to what all of them have sent, and looks at that.
                        let mine = writer.transferred();
                        let all = total.fetch_add(mine - told, Ordering::Relaxed) + mine - told;
                        told = mine;
                        if limiter.exceeded(all) {
                            break;
                        }
                        writer.put_be64(1);
                    }
                    window_over.wait();
                    window_over.wait();
                }
            });
        }
        for window in 1..=4 {
            window_over.wait();
            let sent = total.load(Ordering::Relaxed);
            // Each may have put one record before it saw that the budget was exceeded.
            assert!(sent > window * BUDGET, "{window}: {sent}");
            let most = window * (BUDGET + STREAMS * RECORD);
            assert!(sent <= most, "{window}: {sent}");
            limiter.start_window(sent);
            window_over.wait();
        }
    });
}
