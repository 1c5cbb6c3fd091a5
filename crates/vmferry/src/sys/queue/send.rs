//! How a queue is sent, in as many calls as that takes.

use std::io;

use super::{Segment, SendQueue};

impl SendQueue<'_> {
    /// Hands what waits, and `more` behind it, to `send`, which tells how many bytes it took. The
    /// answer is how many of them were of `more`. Where nothing waits any more then, the queue has to
    /// be [reset](Self::reset) before more is put into it.
    pub(crate) fn send(
        &mut self,
        more: Segment<'_>,
        send: impl FnOnce(&[Segment<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.close_run();
        let mut count = self.count;
        if !more.is_empty() {
            // Behind `count`, so it is forgotten with this call.
            self.segments[count] = Segment::from_parts(more.as_ptr(), more.len());
            count += 1;
        }
        let whole = Whole::trim(self);
        let sent = send(&whole.0.segments[whole.0.first..count]);
        drop(whole);
        let (sent, given) = (sent?, self.pending() + more.len());
        if sent > given {
            let what = format!("a channel was given {given} bytes and says that it took {sent}");
            return Err(io::Error::other(what));
        }
        Ok(self.advance(sent))
    }

    /// The channel has taken `n` more bytes; tells how many of them were not the queue's.
    fn advance(&mut self, mut n: usize) -> usize {
        if n >= self.pending() {
            // The usual case, without a look at every segment.
            let beyond = n - self.pending();
            self.taken = self.queued();
            self.first = self.count;
            self.skip = 0;
            return beyond;
        }
        self.taken += n;
        while n > 0 {
            let left = self.segments[self.first].len() - self.skip;
            if n < left {
                self.skip += n;
                return 0;
            }
            n -= left;
            self.first += 1;
            self.skip = 0;
        }
        0
    }
}

/// The queue while its first segment is shortened by what was taken of it; whole again at the end.
struct Whole<'q, 'ram>(&'q mut SendQueue<'ram>, Segment<'ram>);

impl<'q, 'ram> Whole<'q, 'ram> {
    fn trim(queue: &'q mut SendQueue<'ram>) -> Self {
        let first = queue.segments[queue.first];
        if queue.skip > 0 {
            queue.segments[queue.first] = first.skip(queue.skip);
        }
        Self(queue, first)
    }
}

impl Drop for Whole<'_, '_> {
    fn drop(&mut self) {
        if self.0.skip > 0 {
            self.0.segments[self.0.first] = self.1;
        }
    }
}
