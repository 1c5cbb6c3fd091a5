//! The threads that write the multifd channels, and how pages get to them.

mod payload;

use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{MultifdOptions, Outgoing};
use crate::error::Error;
use crate::ram::PageSize;
use crate::stream::{AbortHandle, StreamError};
use crate::wire::multifd::{Init, Method, Pages, packet_pages};
use payload::Payloads;

/// Packets that wait for one channel, at most.
const WAITING: usize = 2;

/// A packet on its way to a channel, with its pages as they are.
struct Job {
    packet: Pages,
    data: Vec<u8>,
    page_size: PageSize,
}

/// The channels, each at the other end of a queue.
///
/// There is no way to a meeting point but for all of them together.
pub(super) struct Lanes {
    queues: Vec<Sender<Job>>,
    /// Buffers that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
    method: Method,
    page_size: PageSize,
    /// The channel that is asked first for the next packet.
    next: usize,
    /// Packets so far.
    number: u64,
    block: String,
    normal: Vec<u64>,
    zero: Vec<u64>,
    data: Vec<u8>,
}

/// Runs `body` with a thread for each channel. All channels have been written to their ends when this returns `Ok`.
///
/// `sent` makes an error of one that a channel had. `abort` ends the channels, once something has failed: threads may be
/// waiting for one.
pub(super) fn with_lanes<W, T, E>(
    channels: &mut [W],
    options: &MultifdOptions,
    abort: &AbortHandle,
    sent: impl Fn(Error) -> E,
    body: impl FnOnce(Lanes) -> Result<T, E>,
) -> Result<T, E>
where
    W: Outgoing + Send,
{
    let mut states = Vec::new();
    for _ in channels.iter() {
        let payloads = Payloads::new(options.method, options.level);
        states.push(payloads.map_err(|error| sent(StreamError::from_io(error, 0).into()))?);
    }
    let failed = Failure {
        first: Mutex::new(None),
        abort,
    };
    let (empty, spare) = bounded(channels.len() * (WAITING + 2));
    let result = thread::scope(|scope| {
        let mut queues = Vec::new();
        for ((id, sink), payloads) in (0..=u8::MAX).zip(channels.iter_mut()).zip(states) {
            let (queue, jobs) = bounded(WAITING);
            queues.push(queue);
            let init = Init {
                uuid: options.uuid,
                id,
            };
            let (empty, failed) = (empty.clone(), &failed);
            scope.spawn(move || {
                if let Err(error) = write(sink, init, payloads, &jobs, &empty) {
                    failed.tell(error);
                }
            });
        }
        let result = body(Lanes {
            queues,
            spare,
            method: options.method,
            page_size: PageSize::X86,
            next: 0,
            number: 0,
            block: String::new(),
            normal: Vec::new(),
            zero: Vec::new(),
            data: Vec::new(),
        });
        if result.is_err() {
            // The queues are closed now; nobody waits for a destination that takes no more.
            failed.tell(Error::Closed);
        }
        result
    });
    match failed
        .first
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        // Somebody has failed first; what the others say is for its sake.
        Some(error) if !matches!(error, Error::Closed) => Err(sent(error)),
        _ => result,
    }
}

struct Failure<'a> {
    first: Mutex<Option<Error>>,
    abort: &'a AbortHandle,
}

impl Failure<'_> {
    fn tell(&self, error: Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(error);
            drop(first);
            // A channel that cannot be shut down ends at its next call.
            let _ = self.abort.abort();
        }
    }
}

/// Writes one channel, until its queue is closed.
fn write<W: Outgoing>(
    sink: &mut W,
    init: Init,
    mut payloads: Payloads,
    jobs: &Receiver<Job>,
    empty: &Sender<Vec<u8>>,
) -> Result<(), Error> {
    let mut out = Vec::new();
    init.encode(sink);
    sink.flush()?;
    for job in jobs {
        let Job {
            mut packet,
            mut data,
            page_size,
        } = job;
        let payload = payloads
            .write(&data, &mut out)
            .map_err(|error| StreamError::from_io(error, 0))?;
        packet.size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        packet.encode(page_size, sink);
        sink.put(payload);
        sink.flush()?;
        data.clear();
        // If there are enough, this one goes.
        let _ = empty.try_send(data);
    }
    Ok(())
}

impl Lanes {
    /// The pages that come are of this size.
    pub(super) fn set_page_size(&mut self, page_size: PageSize) {
        self.page_size = page_size;
    }

    /// Sends a page as it is.
    pub(super) fn page(&mut self, block: &str, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.make_room(block)?;
        self.normal.push(offset);
        self.data.extend_from_slice(data);
        Ok(())
    }

    /// Sends a page that is zero.
    pub(super) fn zero(&mut self, block: &str, offset: u64) -> Result<(), Error> {
        self.make_room(block)?;
        self.zero.push(offset);
        Ok(())
    }

    /// Brings all channels to a meeting point, behind everything that came before.
    pub(super) fn meet(&mut self) -> Result<(), Error> {
        self.send_packet()?;
        for index in 0..self.queues.len() {
            let packet = Pages {
                sync: true,
                number: self.take_number(),
                ..Pages::default()
            };
            let job = Job {
                packet,
                data: Vec::new(),
                page_size: self.page_size,
            };
            self.queues[index].send(job).map_err(|_| Error::Closed)?;
        }
        Ok(())
    }

    fn make_room(&mut self, block: &str) -> Result<(), Error> {
        let pages = self.normal.len() + self.zero.len();
        if self.block != block || pages == packet_pages(self.page_size) {
            self.send_packet()?;
            if self.block != block {
                block.clone_into(&mut self.block);
            }
        }
        Ok(())
    }

    /// Gives the pages that have come to a channel that has room, or else to the next one in turn.
    fn send_packet(&mut self) -> Result<(), Error> {
        if self.normal.is_empty() && self.zero.is_empty() {
            return Ok(());
        }
        let packet = Pages {
            method: self.method,
            pages_alloc: u32::try_from(packet_pages(self.page_size)).unwrap_or(u32::MAX),
            number: self.take_number(),
            block: self.block.clone(),
            normal: std::mem::take(&mut self.normal),
            zero: std::mem::take(&mut self.zero),
            ..Pages::default()
        };
        let spare = self.spare.try_recv().unwrap_or_default();
        let mut job = Job {
            packet,
            data: std::mem::replace(&mut self.data, spare),
            page_size: self.page_size,
        };
        let count = self.queues.len();
        let first = self.next;
        self.next = (first + 1) % count;
        for index in (first..count).chain(0..first) {
            match self.queues[index].try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => job = back,
                Err(TrySendError::Disconnected(_)) => return Err(Error::Closed),
            }
        }
        self.queues[first].send(job).map_err(|_| Error::Closed)
    }

    fn take_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }
}
