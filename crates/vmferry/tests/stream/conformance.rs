//! One suite for every channel: whatever it does to the bytes on their way, a stream over it gives
//! the right ones, or its error, and never others.

mod kinds;
mod sample;
mod suite;

pub(crate) use kinds::tcp_pair;

/// The suite for each kind of channel. In brackets: how it can be used.
macro_rules! conformance {
    ($($name:ident: $kind:ident [$($how:ident),*];)*) => {
        $(mod $name {
            use super::{kinds::$kind, suite};

            conformance!(@tests $kind:
                what_is_put_arrives
                few_bytes_at_a_time_are_the_same_bytes
                a_channel_that_is_not_ready_at_any_call_loses_nothing
                a_stream_that_waits_is_not_told_of_a_channel_that_is_not_ready
                an_error_of_a_write_at_any_call_leaves_what_went_before
                an_error_of_a_read_at_any_call_leaves_what_came_before
                the_end_at_any_byte_is_found_where_it_is_missed
            );
            $(conformance!(@$how $kind);)*

            #[test]
            fn no_descriptor_is_left_behind() {
                suite::no_descriptor_is_left_behind::<$kind>(module_path!());
            }
        })*
    };
    (@non_blocking $kind:ident) => {
        conformance!(@tests $kind: both_ends_in_one_thread_never_wait);
    };
    (@shutdown $kind:ident) => {
        conformance!(@tests $kind:
            an_abort_ends_a_read_that_waits
            an_abort_ends_a_write_that_waits
        );
    };
    (@no_shutdown $kind:ident) => {
        conformance!(@tests $kind: what_cannot_be_shut_down_says_so_and_the_stream_ends);
    };
    (@tests $kind:ident: $($test:ident)*) => {
        $(#[test]
        fn $test() {
            suite::$test::<$kind>();
        })*
    };
}

conformance! {
    file: TempFile [no_shutdown];
    unix: Unix [non_blocking, shutdown];
    tcp: Tcp [non_blocking, shutdown];
    // There are no virtual sockets here: a socket of another family stands for one, so this shows
    // what follows the connection, and nothing of the connection itself.
    vsock: Injected [non_blocking, shutdown];
    pipe: Pipe [non_blocking, no_shutdown];
    exec: Cat [shutdown];
    memory: InMemory [no_shutdown];
    std_io: StdIo [no_shutdown];
    null: Nowhere [no_shutdown];
}

#[cfg(feature = "tls")]
conformance! {
    tls: Tls [non_blocking, shutdown];
}
