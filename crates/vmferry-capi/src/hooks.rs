//! Pages that go another way: hooks of C as [`RamHooks`].

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use vmferry::stream::{
    ErrorKind, HookedPage, LoadEvent, RamHooks, RamPhase, Result, SavePage, StreamError,
};

use crate::call::exported;
use crate::errno::positive;
use crate::file::{In, Out, QEMUFile, QEMUFileHooks, Side, Stream};

/// The blocks are made known.
pub const RAM_CONTROL_SETUP: u64 = 0;
/// One pass over dirty pages.
pub const RAM_CONTROL_ROUND: u64 = 1;
/// The sender's hook has put something into the stream.
pub const RAM_CONTROL_HOOK: u64 = 2;
/// The last pass.
pub const RAM_CONTROL_FINISH: u64 = 3;
/// A block has been made known to the loading side.
pub const RAM_CONTROL_BLOCK_REG: u64 = 4;

/// The hook does not move this page.
pub const RAM_SAVE_CONTROL_NOT_SUPP: c_int = -1000;
/// The hook moves the page later, and counts it then.
pub const RAM_SAVE_CONTROL_DELAYED: c_int = -2000;

/// One call of a hook.
struct Call<'f> {
    file: &'f QEMUFile,
    hooks: QEMUFileHooks,
    flags: u64,
    data: *mut c_void,
    bytes_sent: *mut u64,
    /// What the hook has answered.
    answer: c_int,
}

impl<'f> Call<'f> {
    fn new(file: &'f QEMUFile, flags: u64, data: *mut c_void) -> Self {
        // SAFETY: null or a table that stays as long as the file, as the caller of
        // `qemu_file_set_hooks` has promised.
        let hooks = unsafe { file.hooks.get().as_ref() };
        Self {
            file,
            hooks: hooks.copied().unwrap_or_default(),
            flags,
            data,
            bytes_sent: ptr::null_mut(),
            answer: RAM_SAVE_CONTROL_NOT_SUPP,
        }
    }

    /// The file as C knows it.
    fn f(&self) -> *mut QEMUFile {
        ptr::from_ref(self.file).cast_mut()
    }

    /// Calls a hook that answers nothing but an error, and lends it the stream.
    fn call(
        &mut self,
        hook: unsafe extern "C" fn(*mut QEMUFile, *mut c_void, u64, *mut c_void) -> c_int,
        stream: Stream,
    ) -> Result<()> {
        let (f, opaque, flags, data) = (self.f(), self.file.opaque, self.flags, self.data);
        // SAFETY: the hook and the file's argument belong together, as the caller that set the hooks has
        // promised; `data` is the caller's.
        let answer = self
            .file
            .lend(stream, || unsafe { hook(f, opaque, flags, data) })?;
        hook_result(answer)
    }
}

/// A negative number is the error of a hook.
fn hook_result(answer: c_int) -> Result<()> {
    if answer < 0 {
        return Err(StreamError::new(ErrorKind::Hook(positive(answer)), 0));
    }
    Ok(())
}

impl RamHooks<Out> for Call<'_> {
    fn before_iterate(&mut self, stream: &mut Out, _: RamPhase) -> Result<()> {
        match self.hooks.before_ram_iterate {
            Some(hook) => self.call(hook, Stream::Out(NonNull::from(stream))),
            None => Ok(()),
        }
    }

    fn after_iterate(&mut self, stream: &mut Out, _: RamPhase) -> Result<()> {
        match self.hooks.after_ram_iterate {
            Some(hook) => self.call(hook, Stream::Out(NonNull::from(stream))),
            None => Ok(()),
        }
    }

    fn save_page(&mut self, stream: &mut Out, page: HookedPage) -> Result<SavePage> {
        let Some(hook) = self.hooks.save_page else {
            return Ok(SavePage::NotSupported);
        };
        let (f, opaque, bytes_sent) = (self.f(), self.file.opaque, self.bytes_sent);
        let HookedPage { block, offset, len } = page;
        self.answer = self.file.lend(Stream::Out(NonNull::from(stream)), || {
            // SAFETY: as for `call`; `bytes_sent` is null or a number's place, as the caller has
            // promised.
            let answer = unsafe { hook(f, opaque, block, offset, len, bytes_sent) };
            // The original's answers are negative numbers of 32 bits.
            #[allow(clippy::cast_possible_truncation, reason = "as above")]
            let answer = answer as c_int;
            answer
        })?;
        match self.answer {
            RAM_SAVE_CONTROL_NOT_SUPP => Ok(SavePage::NotSupported),
            RAM_SAVE_CONTROL_DELAYED => Ok(SavePage::Delayed),
            answer => {
                hook_result(answer)?;
                // SAFETY: null or a number's place, as the caller has promised.
                let bytes = unsafe { bytes_sent.as_ref() }.copied().unwrap_or(0);
                Ok(SavePage::Sent { bytes })
            }
        }
    }
}

impl RamHooks<In> for Call<'_> {
    fn load(&mut self, stream: &mut In, _: LoadEvent<'_>) -> Result<bool> {
        match self.hooks.hook_ram_load {
            Some(hook) => self
                .call(hook, Stream::In(NonNull::from(stream)))
                .map(|()| true),
            None => Ok(false),
        }
    }
}

exported! {
    /// Sets the hooks; null: none. The table stays as long as the file.
    fn qemu_file_set_hooks(file, hooks: *const QEMUFileHooks) {
        file.hooks.set(hooks);
    }

    /// Calls the hook for the start of a pass over RAM.
    fn ram_control_before_iterate(file, flags: u64) {
        let mut call = Call::new(file, flags, ptr::null_mut());
        if call.hooks.before_ram_iterate.is_some() {
            file.with(|side| match side {
                // The stream keeps its error.
                Side::Out(out) => drop(out.before_iterate(&mut call, phase(flags))),
                other => file.refuse(other),
            });
        }
    }

    /// Calls the hook for the end of a pass over RAM.
    fn ram_control_after_iterate(file, flags: u64) {
        let mut call = Call::new(file, flags, ptr::null_mut());
        if call.hooks.after_ram_iterate.is_some() {
            file.with(|side| match side {
                // The stream keeps its error.
                Side::Out(out) => drop(out.after_iterate(&mut call, phase(flags))),
                other => file.refuse(other),
            });
        }
    }

    /// Calls the hook of the loading side. Where the sender requires one that is not here, that is the
    /// file's error.
    fn ram_control_load_hook(file, flags: u64, data: *mut c_void) {
        let mut call = Call::new(file, flags, data);
        // What the hook is told are the flags and the data as they are.
        let event = match flags {
            RAM_CONTROL_HOOK => LoadEvent::Hook,
            _ => LoadEvent::Block(""),
        };
        if event == LoadEvent::Hook || call.hooks.hook_ram_load.is_some() {
            // The stream keeps its error.
            file.get((), |reader| drop(reader.load_hook(&mut call, event)));
        }
    }

    /// Offers a page to the hook, and tells what it answers: where that is `RAM_SAVE_CONTROL_NOT_SUPP`,
    /// the page has to be put into the stream. Behind an error it is not asked.
    fn ram_control_save_page(
        file,
        block_offset: u64,
        offset: u64,
        size: usize,
        bytes_sent: *mut u64
    ) -> usize = as_size(RAM_SAVE_CONTROL_NOT_SUPP); {
        let mut call = Call::new(file, 0, ptr::null_mut());
        call.bytes_sent = bytes_sent;
        if call.hooks.save_page.is_none() {
            return as_size(RAM_SAVE_CONTROL_NOT_SUPP);
        }
        let page = HookedPage { block: block_offset, offset, len: size };
        let asked = file.with(|side| match side {
            Side::Out(out) => out.save_page(&mut call, page).map_err(|error| error.errno()),
            other => {
                file.refuse(other);
                Err(libc::EBADF)
            }
        });
        match asked {
            Ok(_) => as_size(call.answer),
            Err(errno) => as_size(-errno),
        }
    }
}

/// A negative answer as C has it in a `size_t`.
fn as_size(answer: c_int) -> usize {
    answer as isize as usize
}

/// The phase of a pass; a number that is unknown is that of a pass like any other.
fn phase(flags: u64) -> RamPhase {
    match flags {
        RAM_CONTROL_SETUP => RamPhase::Setup,
        RAM_CONTROL_FINISH => RamPhase::Finish,
        _ => RamPhase::Round,
    }
}
