//! Where the stream differs from the original on purpose: each place is a rule, which names its row of
//! `docs/stream.md` and says what the original would have to do.
//!
//! A rule mends the original, in `mended`; what is compared then is the same. So a rule is as narrow as what it mends.

/// Makes the rules of a list: a name, the row, what is different.
macro_rules! rules {
    ($($name:ident, $row:literal, $what:literal;)*) => {
        /// A difference on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule {
            $(
                #[doc = $what]
                $name,
            )*
        }

        /// Each rule with its row and what is different, in the order of their numbers.
        const ENTRIES: &[(Rule, &str, &str)] = &[$((Rule::$name, $row, $what)),*];
    };
}

rules! {
    PartialWrite, "qemu_fflush",
        "a write that ends early is gone on with: the original's channels have to take everything";
    WriteNotReady, "qemu_fflush",
        "a channel that is not ready is waited for: the original's channels have to wait by themselves";
    WriteInterrupted, "qemu_fflush",
        "an interrupted write is tried again: the original's channels have to do that by themselves";
    NothingSentAfterAnError, "qemu_fflush",
        "what waited when the stream failed is not sent";
    NothingReadAfterAnError, "qemu_fill_buffer",
        "nothing is given after the first error";
    ReadNotReady, "qemu_fill_buffer",
        "a channel that is not ready is waited for: the original gives zeros, and goes on at the wrong place";
    ReadInterrupted, "qemu_fill_buffer",
        "an interrupted read is tried again: for the original it is the end";
    ReadClaims, "qemu_fill_buffer",
        "a channel that claims to have given too much is an error: the original believes it";
    MomentOfSending, "add_to_iovec",
        "the buffer is not of the same size, so an error of the channel shows sooner or later, at a flush at the latest";
    PositionAfterAnError, "qemu_ftell_fast",
        "a stream that failed stands where it stood then, with what waited";
    PositiveError, "qemu_file_set_error",
        "only an error is one";
    ShortRead, "qemu_get_buffer",
        "the bytes of a short read are the right ones";
    InPlaceWhole, "qemu_get_buffer_in_place",
        "everything or nothing";
    NumberWhole, "qemu_get_be32",
        "a number is whole, or 0 with an error";
    StringWhole, "qemu_get_counted_string",
        "a string is whole, or nothing with an error";
    PeekWhole, "qemu_peek_buffer",
        "what is looked at is there whole, or nothing with an error";
    PeekOverAGap, "qemu_peek_buffer",
        "a look over a gap reads";
    PeekTooFar, "qemu_peek_buffer",
        "a look beyond the window is refused, and ends no process";
    PeekByteReads, "qemu_peek_byte",
        "a look at a byte reads as often as it takes";
    PeekByteTooFar, "qemu_peek_byte",
        "a look beyond the window is refused, and ends no process";
    SkipReads, "qemu_file_skip",
        "a skip skips what is not there yet";
    TellOfAReader, "qemu_ftell",
        "a reader stands where it has taken";
    StagingGrows, "qemu_put_qemu_file",
        "a stream without a channel grows: the original's overflows";
    StagingOfAFailed, "qemu_put_qemu_file",
        "a failed stream leaves what was staged as it is";
    RecordAtTheEdge, "qemu_put_compression_data",
        "a record is whole wherever the buffer or the list of segments ends";
    RecordLarge, "qemu_put_compression_data",
        "a block larger than the buffer becomes a record all the same";
    RecordAfterAnError, "qemu_put_compression_data",
        "a failed stream takes no record";
    RecordCounts, "qemu_file_rate_limit",
        "compressed bytes count";
    ExternalCounts, "qemu_file_rate_limit",
        "what went another way counts";
    ExternalMovesNothing, "qemu_update_position",
        "what went another way moves no position";
    NoLimit, "qemu_file_get_rate_limit",
        "no limit is one value";
    ReleaseWholePages, "qemu_iovec_release_ram",
        "only whole pages are given back";
    ReleaseAfterAnError, "qemu_iovec_release_ram",
        "only what was sent is given back";
    HookAfterAnError, "ram_control_before_iterate",
        "the hook of a failed stream is not asked";
    LoadHookAfterAnError, "ram_control_load_hook",
        "the hook of a failed stream is not asked";
    PageAfterAnError, "ram_control_save_page",
        "the hook of a failed stream is not asked";
    PageNotMine, "ram_control_save_page",
        "that a hook does not move a page, or does so later, is no error";
    PageFails, "ram_control_save_page",
        "the error of a hook is the stream's, whatever it says that it has sent";
    Abort, "qemu_file_shutdown",
        "a stream that is shut down has failed";
    RecordLevel, "qemu_put_compression_data",
        "a level that there is none of is an error";
    WrongDirection, "qemu_file_is_writable",
        "a get from what is written, or a put into what is read, is an error and does no harm";
    SkipBackwards, "qemu_file_skip",
        "there is no skip backwards";
    FailedRead, "qemu_get_buffer",
        "everything or an error: nothing is told of what came before the channel failed";
}

impl Rule {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter().map(|entry| entry.0)
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        &ENTRIES[self as usize]
    }

    /// The row of `docs/stream.md`: a function of the original.
    pub fn row(self) -> &'static str {
        self.entry().1
    }

    /// What is different.
    pub fn what(self) -> &'static str {
        self.entry().2
    }

    /// Whether the original cannot be called without it, as its memory or the process would come to harm.
    pub fn is_needed_to_survive(self) -> bool {
        matches!(
            self,
            Self::ReadClaims
                | Self::PeekTooFar
                | Self::PeekByteTooFar
                | Self::StagingGrows
                | Self::RecordAtTheEdge
                | Self::RecordAfterAnError
                | Self::WrongDirection
                | Self::SkipBackwards
        )
    }
}

/// The number of rules.
const COUNT: usize = ENTRIES.len();

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// Every rule.
    pub const ALL: Self = Self((1 << COUNT) - 1);

    /// Only those that the original cannot be called without.
    pub fn to_survive() -> Self {
        let needed = Rule::all().filter(|rule| rule.is_needed_to_survive());
        Self(needed.map(|rule| 1 << rule as u32).sum())
    }

    /// Without this one.
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    pub(crate) fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

/// How often each rule has been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses([u64; COUNT]);

impl Default for Uses {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Uses {
    pub(crate) fn add(&mut self, rule: Rule, times: u64) {
        self.0[rule as usize] += times;
    }

    /// How often this one.
    pub fn of(&self, rule: Rule) -> u64 {
        self.0[rule as usize]
    }

    /// Those of another program, too.
    pub fn include(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}
