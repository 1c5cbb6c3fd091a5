//! A transport that moves pages by itself, so that the stream carries only control.
//!
//! RDMA is what QEMU has for it; a memfd that both sides map is another. The hooks see the stream,
//! and may put their own control messages into it or take them out.

use super::release::Releaser;
use super::{ErrorKind, Reader, Result, StreamError, Writer};
use crate::channel::{ReadChannel, WriteChannel};

/// Where in the transfer of RAM something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RamPhase {
    /// The blocks are made known.
    #[doc(alias = "RAM_CONTROL_SETUP")]
    Setup,
    /// One pass over dirty pages.
    #[doc(alias = "RAM_CONTROL_ROUND")]
    Round,
    /// The last pass, with the machine stopped.
    #[doc(alias = "RAM_CONTROL_FINISH")]
    Finish,
}

/// What the loading side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadEvent<'a> {
    /// The sender's hook has put something into the stream, which only a hook can take out.
    #[doc(alias = "RAM_CONTROL_HOOK")]
    Hook,
    /// A RAM block of this name has been made known.
    #[doc(alias = "RAM_CONTROL_BLOCK_REG")]
    Block(&'a str),
}

/// A page of guest memory, as the hooks are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookedPage {
    /// The hook's number of the RAM block.
    pub block: u64,
    /// The page's offset in it, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: usize,
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavePage {
    /// The hook does not move this one: it goes through the stream.
    #[doc(alias = "RAM_SAVE_CONTROL_NOT_SUPP")]
    NotSupported,
    /// The hook will move it, and counts it when it does.
    #[doc(alias = "RAM_SAVE_CONTROL_DELAYED")]
    Delayed,
    /// The hook has moved it, and that took so many bytes.
    Sent {
        /// Bytes that went outside of the stream.
        bytes: u64,
    },
}

/// Moves pages outside of the stream `S`.
///
/// Every method has a default that does nothing, as the hook of a transport without hooks.
#[doc(alias = "QEMUFileHooks")]
#[doc(alias = "qemu_file_set_hooks")]
#[expect(unused_variables, reason = "the defaults look at nothing")]
pub trait RamHooks<S: ?Sized> {
    /// Before a pass over RAM.
    ///
    /// # Errors
    /// The transfer cannot go on; it becomes the stream's error.
    fn before_iterate(&mut self, stream: &mut S, phase: RamPhase) -> Result<()> {
        Ok(())
    }

    /// After a pass over RAM.
    ///
    /// # Errors
    /// The transfer cannot go on; it becomes the stream's error.
    fn after_iterate(&mut self, stream: &mut S, phase: RamPhase) -> Result<()> {
        Ok(())
    }

    /// Something for the loading side; tells whether there was a hook for it.
    ///
    /// # Errors
    /// The transfer cannot go on; it becomes the stream's error.
    fn load(&mut self, stream: &mut S, event: LoadEvent<'_>) -> Result<bool> {
        Ok(false)
    }

    /// A page is to be moved.
    ///
    /// # Errors
    /// The transfer cannot go on; it becomes the stream's error.
    fn save_page(&mut self, stream: &mut S, page: HookedPage) -> Result<SavePage> {
        Ok(SavePage::NotSupported)
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<S: ?Sized, H: RamHooks<S> + ?Sized> RamHooks<S> for $pointer {
            fn before_iterate(&mut self, stream: &mut S, phase: RamPhase) -> Result<()> {
                (**self).before_iterate(stream, phase)
            }

            fn after_iterate(&mut self, stream: &mut S, phase: RamPhase) -> Result<()> {
                (**self).after_iterate(stream, phase)
            }

            fn load(&mut self, stream: &mut S, event: LoadEvent<'_>) -> Result<bool> {
                (**self).load(stream, event)
            }

            fn save_page(&mut self, stream: &mut S, page: HookedPage) -> Result<SavePage> {
                (**self).save_page(stream, page)
            }
        }
    )*};
}

forward!(&mut H, Box<H>);

/// No hooks: every page goes through the stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl<S: ?Sized> RamHooks<S> for NoHooks {}

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Calls the hook for the start of a pass over RAM.
    ///
    /// # Errors
    /// The first error of the stream, be it the hook's; the hook of a stream that has failed is not
    /// called.
    #[doc(alias = "ram_control_before_iterate")]
    pub fn before_iterate(
        &mut self,
        hooks: &mut impl RamHooks<Self>,
        phase: RamPhase,
    ) -> Result<()> {
        self.check()?;
        let result = hooks.before_iterate(self, phase);
        self.kept(result)
    }

    /// Calls the hook for the end of a pass over RAM.
    ///
    /// # Errors
    /// As for [`before_iterate`](Self::before_iterate).
    #[doc(alias = "ram_control_after_iterate")]
    pub fn after_iterate(
        &mut self,
        hooks: &mut impl RamHooks<Self>,
        phase: RamPhase,
    ) -> Result<()> {
        self.check()?;
        let result = hooks.after_iterate(self, phase);
        self.kept(result)
    }

    /// Offers a page to the hook. Where it [does not take it](SavePage::NotSupported), the page has
    /// to be put into the stream.
    ///
    /// # Errors
    /// As for [`before_iterate`](Self::before_iterate).
    #[doc(alias = "ram_control_save_page")]
    pub fn save_page(
        &mut self,
        hooks: &mut impl RamHooks<Self>,
        page: HookedPage,
    ) -> Result<SavePage> {
        self.check()?;
        let result = hooks.save_page(self, page);
        if let Ok(SavePage::Sent { bytes }) = result {
            self.account_external(bytes);
        }
        self.kept(result)
    }

    /// The result of a hook, whose error is the stream's.
    fn kept<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.fail_with(error.clone());
        }
        self.check()?;
        result
    }
}

impl<C: ReadChannel> Reader<C> {
    /// Tells the hook of the loading side.
    ///
    /// # Errors
    /// The first error of the stream, be it the hook's; or that the sender requires a hook which is
    /// not here.
    #[doc(alias = "ram_control_load_hook")]
    pub fn load_hook(
        &mut self,
        hooks: &mut impl RamHooks<Self>,
        event: LoadEvent<'_>,
    ) -> Result<()> {
        self.check()?;
        let result = match hooks.load(self, event) {
            Ok(false) if event == LoadEvent::Hook => {
                Err(StreamError::new(ErrorKind::HookMissing, self.position()))
            }
            result => result.map(drop),
        };
        if let Err(error) = &result {
            self.fail_with(error.clone());
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Bytes, Memory};

    type Out = Writer<'static, Memory>;

    const PAGE: HookedPage = HookedPage {
        block: 1,
        offset: 4096,
        len: 4096,
    };

    /// Answers as it is told.
    struct Told(Result<SavePage>);

    impl<S> RamHooks<S> for Told {
        fn before_iterate(&mut self, _: &mut S, _: RamPhase) -> Result<()> {
            self.0.clone().map(drop)
        }

        fn save_page(&mut self, _: &mut S, _: HookedPage) -> Result<SavePage> {
            self.0.clone()
        }
    }

    fn hook_error() -> StreamError {
        StreamError::new(ErrorKind::Hook(libc::EREMOTEIO), 0)
    }

    #[test]
    fn a_page_that_the_hook_does_not_take_is_no_error() {
        let mut writer = Out::new(Memory::default());
        for answer in [SavePage::NotSupported, SavePage::Delayed] {
            let told = writer.save_page(&mut Told(Ok(answer)), PAGE).unwrap();
            assert_eq!(told, answer);
        }
        let none = writer.save_page(&mut NoHooks, PAGE).unwrap();
        assert_eq!(none, SavePage::NotSupported);
        assert_eq!(writer.transferred(), 0);
        assert!(writer.check().is_ok());
    }

    #[test]
    fn bytes_that_a_hook_moved_are_transferred_but_move_no_position() {
        let mut writer = Out::new(Memory::default());
        let sent = SavePage::Sent { bytes: 4096 };
        writer.save_page(&mut Told(Ok(sent)), PAGE).unwrap();
        assert_eq!(writer.transferred(), 4096);
        assert_eq!(writer.queued_position(), 0);
    }

    #[test]
    fn the_error_of_a_hook_is_the_streams_and_then_no_hook_is_called() {
        let mut writer = Out::new(Memory::default());
        let mut failing = Told(Err(hook_error()));
        let error = writer.before_iterate(&mut failing, RamPhase::Round);
        assert_eq!(error.unwrap_err().errno(), libc::EREMOTEIO);
        let mut well = Told(Ok(SavePage::Sent { bytes: 1 }));
        let error = writer.save_page(&mut well, PAGE).unwrap_err();
        assert_eq!(error.errno(), libc::EREMOTEIO);
        assert_eq!(writer.transferred(), 0);
    }

    #[test]
    fn only_a_hook_that_the_sender_requires_must_be_there() {
        let mut reader = Reader::new(Bytes::new(&[]));
        let block = LoadEvent::Block("pc.ram");
        reader.load_hook(&mut NoHooks, block).unwrap();
        let error = reader.load_hook(&mut NoHooks, LoadEvent::Hook);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::HookMissing);
        assert!(reader.check().is_err());
    }
}
