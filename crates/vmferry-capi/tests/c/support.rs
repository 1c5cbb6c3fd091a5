//! Callbacks that do as they are told.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr;

use libc::iovec;
use vmferry_capi::*;

/// What a callback is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Gives(&'static [u8]),
    Answers(isize),
}

/// A channel of both directions: it gives what its steps say and then its end, and takes everything
/// unless it is told how much.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) reads: usize,
    pub(crate) taken: Vec<u8>,
    /// The lengths of the pieces of each write.
    pub(crate) writes: Vec<Vec<usize>>,
    /// What the next writes answer, which take a prefix of that length.
    pub(crate) answers: VecDeque<isize>,
    pub(crate) positions: Vec<i64>,
    pub(crate) closed: usize,
    /// Called from within the next read or write.
    pub(crate) within: Option<fn(*mut QEMUFile)>,
    pub(crate) file: *mut QEMUFile,
}

impl Channel {
    fn new() -> Box<Self> {
        Box::new(Self {
            steps: VecDeque::new(),
            reads: 0,
            taken: Vec::new(),
            writes: Vec::new(),
            answers: VecDeque::new(),
            positions: Vec::new(),
            closed: 0,
            within: None,
            file: ptr::null_mut(),
        })
    }
}

/// A file and its channel, at an address that stays.
pub(crate) struct Opened {
    pub(crate) f: *mut QEMUFile,
    channel: *mut Channel,
}

impl Opened {
    pub(crate) fn with(ops: QEMUFileOps) -> Self {
        let channel = Box::into_raw(Channel::new());
        let f = unsafe { qemu_fopen_ops(channel.cast(), &raw const ops) };
        assert!(!f.is_null());
        unsafe { (*channel).file = f };
        Self { f, channel }
    }

    pub(crate) fn writer() -> Self {
        Self::with(QEMUFileOps {
            writev_buffer: Some(write),
            close: Some(close),
            ..QEMUFileOps::default()
        })
    }

    pub(crate) fn reader(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut opened = Self::with(QEMUFileOps {
            get_buffer: Some(read),
            close: Some(close),
            ..QEMUFileOps::default()
        });
        opened.channel().steps = steps.into_iter().collect();
        opened
    }

    pub(crate) fn staged() -> Self {
        Self::with(QEMUFileOps::default())
    }

    /// The channel, between the calls that use it.
    pub(crate) fn channel(&mut self) -> &mut Channel {
        unsafe { &mut *self.channel }
    }

    pub(crate) fn error(&self) -> c_int {
        unsafe { qemu_file_get_error(self.f) }
    }

    pub(crate) fn put(&self, bytes: &[u8]) {
        unsafe { qemu_put_buffer(self.f, bytes.as_ptr(), bytes.len()) };
    }

    pub(crate) fn get(&self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        let got = unsafe { qemu_get_buffer(self.f, out.as_mut_ptr(), n) };
        out.truncate(got);
        out
    }

    pub(crate) fn close(self) -> (c_int, Box<Channel>) {
        let answer = unsafe { qemu_fclose(self.f) };
        (answer, unsafe { Box::from_raw(self.channel) })
    }
}

pub(crate) unsafe extern "C" fn read(
    opaque: *mut c_void,
    buf: *mut u8,
    pos: i64,
    size: usize,
) -> isize {
    let channel = opaque.cast::<Channel>();
    before(channel, pos);
    let channel = unsafe { &mut *channel };
    channel.reads += 1;
    match channel.steps.pop_front() {
        None => 0,
        Some(Step::Answers(answer)) => answer,
        Some(Step::Gives(bytes)) => {
            let len = bytes.len().min(size);
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buf, len) };
            if len < bytes.len() {
                channel.steps.push_front(Step::Gives(&bytes[len..]));
            }
            len.try_into().unwrap()
        }
    }
}

pub(crate) unsafe extern "C" fn write(
    opaque: *mut c_void,
    iov: *mut iovec,
    iovcnt: c_int,
    pos: i64,
) -> isize {
    let channel = opaque.cast::<Channel>();
    before(channel, pos);
    let channel = unsafe { &mut *channel };
    let count = usize::try_from(iovcnt).unwrap();
    assert!(count <= 64, "as many as callbacks have an array for");
    let pieces = unsafe { std::slice::from_raw_parts_mut(iov, count) };
    channel
        .writes
        .push(pieces.iter().map(|piece| piece.iov_len).collect());
    let mut bytes = Vec::new();
    for piece in pieces {
        let mut part = vec![0; piece.iov_len];
        unsafe { ptr::copy_nonoverlapping(piece.iov_base.cast(), part.as_mut_ptr(), part.len()) };
        bytes.extend(part);
        // As QEMU's own callbacks do with what they have sent.
        piece.iov_base = ptr::null_mut();
        piece.iov_len = 0;
    }
    let answer = channel.answers.pop_front();
    let answer = answer.unwrap_or_else(|| bytes.len().try_into().unwrap());
    if let Ok(taken) = usize::try_from(answer) {
        channel.taken.extend(&bytes[..taken.min(bytes.len())]);
    }
    answer
}

pub(crate) unsafe extern "C" fn close(opaque: *mut c_void) -> c_int {
    let channel = unsafe { &mut *opaque.cast::<Channel>() };
    channel.closed += 1;
    5
}

/// What comes first in each callback.
fn before(channel: *mut Channel, pos: i64) {
    let (file, within) = unsafe {
        (*channel).positions.push(pos);
        ((*channel).file, (*channel).within.take())
    };
    if let Some(within) = within {
        within(file);
    }
}
