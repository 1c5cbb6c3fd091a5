//! The library has every function of the headers, with the same signature, and the same tables.

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::fs;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use vmferry_capi::*;

use crate::compiled::{compile_only, libraries, original_headers, our_header};

/// A function as both languages have it.
struct Signature {
    name: &'static str,
    arguments: Vec<&'static str>,
    result: &'static str,
}

/// The signatures of functions that exist, which the Rust compiler has checked.
macro_rules! signatures {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        vec![$({
            let _: unsafe extern "C" fn($($argument),*) $(-> $result)? = $name;
            Signature {
                name: stringify!($name),
                arguments: vec![$(stringify!($argument)),*],
                result: concat!("", $(stringify!($result))?),
            }
        }),*]
    };
}

fn functions() -> Vec<Signature> {
    signatures! {
        qemu_fopen_ops(*mut c_void, *const QEMUFileOps) -> *mut QEMUFile;
        qemu_file_set_hooks(*mut QEMUFile, *const QEMUFileHooks);
        qemu_file_mode_is_not_valid(*const c_char) -> bool;
        qemu_file_is_writable(*mut QEMUFile) -> bool;
        qemu_file_shutdown(*mut QEMUFile) -> c_int;
        qemu_file_get_return_path(*mut QEMUFile) -> *mut QEMUFile;
        qemu_file_get_error(*mut QEMUFile) -> c_int;
        qemu_file_set_error(*mut QEMUFile, c_int);
        qemu_fflush(*mut QEMUFile);
        qemu_fclose(*mut QEMUFile) -> c_int;
        qemu_ftell(*mut QEMUFile) -> i64;
        qemu_ftell_fast(*mut QEMUFile) -> i64;
        qemu_update_position(*mut QEMUFile, usize);
        qemu_file_set_blocking(*mut QEMUFile, bool);
        qemu_file_rate_limit(*mut QEMUFile) -> c_int;
        qemu_file_get_rate_limit(*mut QEMUFile) -> i64;
        qemu_file_set_rate_limit(*mut QEMUFile, i64);
        qemu_file_reset_rate_limit(*mut QEMUFile);
        qemu_put_byte(*mut QEMUFile, c_int);
        qemu_put_be16(*mut QEMUFile, c_uint);
        qemu_put_be32(*mut QEMUFile, c_uint);
        qemu_put_be64(*mut QEMUFile, u64);
        qemu_put_buffer(*mut QEMUFile, *const u8, usize);
        qemu_put_buffer_async(*mut QEMUFile, *const u8, usize, bool);
        qemu_put_compression_data(*mut QEMUFile, *const u8, usize, c_int) -> isize;
        qemu_put_qemu_file(*mut QEMUFile, *mut QEMUFile) -> c_int;
        qemu_get_byte(*mut QEMUFile) -> c_int;
        qemu_peek_byte(*mut QEMUFile, c_int) -> c_int;
        qemu_get_be16(*mut QEMUFile) -> c_uint;
        qemu_get_be32(*mut QEMUFile) -> c_uint;
        qemu_get_be64(*mut QEMUFile) -> u64;
        qemu_get_buffer(*mut QEMUFile, *mut u8, usize) -> usize;
        qemu_get_buffer_in_place(*mut QEMUFile, *mut *mut u8, usize) -> usize;
        qemu_peek_buffer(*mut QEMUFile, *mut *mut u8, usize, usize) -> usize;
        qemu_file_skip(*mut QEMUFile, c_int);
        qemu_get_counted_string(*mut QEMUFile, *mut c_char) -> usize;
        ram_control_before_iterate(*mut QEMUFile, u64);
        ram_control_after_iterate(*mut QEMUFile, u64);
        ram_control_load_hook(*mut QEMUFile, u64, *mut c_void);
        ram_control_save_page(*mut QEMUFile, u64, u64, usize, *mut u64) -> usize;
    }
}

/// A type of Rust's as C has it.
fn in_c(ty: &str) -> &'static str {
    match ty {
        "" => "void",
        "bool" => "bool",
        "c_int" => "int",
        "c_uint" => "unsigned int",
        "i64" => "int64_t",
        "u64" => "uint64_t",
        "usize" => "size_t",
        "isize" => "ssize_t",
        "*mut c_char" => "char *",
        "*const c_char" => "const char *",
        "*mut c_void" => "void *",
        "*mut u8" => "uint8_t *",
        "*const u8" => "const uint8_t *",
        "*mut *mut u8" => "uint8_t **",
        "*mut u64" => "uint64_t *",
        "*mut QEMUFile" => "QEMUFile *",
        "*const QEMUFileOps" => "const QEMUFileOps *",
        "*const QEMUFileHooks" => "const QEMUFileHooks *",
        other => panic!("{other}"),
    }
}

/// The functions that a header declares.
fn declared(header: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(header).unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('(') {
        let before = &text[..at];
        let name = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        if name.starts_with("qemu_") || name.starts_with("ram_control_") {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_function_of_the_headers_is_in_the_library_and_no_other() {
    let library = libraries().join("libvmferry_capi.so");
    let mut nm = Command::new("nm");
    let output = nm
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(&library);
    let output = output.output().expect("nm of binutils");
    assert!(output.status.success(), "{nm:?}");
    let exported: BTreeSet<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    let checked: BTreeSet<_> = functions().iter().map(|f| f.name.to_owned()).collect();
    assert_eq!(exported, declared(&our_header().join("qemu-file.h")));
    assert_eq!(exported, declared(&original_headers().join("qemu-file.h")));
    assert_eq!(exported, checked);
}

#[test]
fn every_function_has_the_signature_of_both_headers() {
    let mut text = String::from("#include \"qemu/osdep.h\"\n#include \"qemu-file.h\"\n");
    for (i, function) in functions().iter().enumerate() {
        let Signature {
            name,
            arguments,
            result,
        } = function;
        let arguments: Vec<_> = arguments.iter().map(|ty| in_c(ty)).collect();
        let (arguments, result) = (arguments.join(", "), in_c(result));
        writeln!(text, "{result} (*function_{i})({arguments}) = {name};").unwrap();
    }
    compile_with_both_headers(&text);
}

#[test]
fn the_tables_of_callbacks_are_as_in_both_headers() {
    let mut text = String::from("#include \"qemu/osdep.h\"\n#include \"qemu-file.h\"\n");
    let mut expect = |what: String, value: usize| {
        writeln!(text, "_Static_assert({what} == {value}, \"{what}\");").unwrap();
    };
    macro_rules! members {
        ($table:ident: $($member:ident)*) => {
            expect(format!("sizeof({})", stringify!($table)), size_of::<$table>());
            $(expect(
                format!("offsetof({}, {})", stringify!($table), stringify!($member)),
                offset_of!($table, $member),
            );)*
        };
    }
    members!(QEMUFileOps: get_buffer close set_blocking writev_buffer get_return_path shut_down);
    members!(QEMUFileHooks: before_ram_iterate after_ram_iterate hook_ram_load save_page);
    for (name, value) in [
        ("RAM_CONTROL_SETUP", RAM_CONTROL_SETUP),
        ("RAM_CONTROL_ROUND", RAM_CONTROL_ROUND),
        ("RAM_CONTROL_HOOK", RAM_CONTROL_HOOK),
        ("RAM_CONTROL_FINISH", RAM_CONTROL_FINISH),
        ("RAM_CONTROL_BLOCK_REG", RAM_CONTROL_BLOCK_REG),
    ] {
        expect(name.into(), usize::try_from(value).unwrap());
    }
    let answers = [
        ("RAM_SAVE_CONTROL_NOT_SUPP", RAM_SAVE_CONTROL_NOT_SUPP),
        ("RAM_SAVE_CONTROL_DELAYED", RAM_SAVE_CONTROL_DELAYED),
    ];
    for (name, value) in answers {
        writeln!(text, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    // The functions that the tables hold, as `file/tables.rs` has them.
    text += "QEMUFileOps o; QEMUFileHooks h;\n\
        ssize_t (**get_buffer)(void *, uint8_t *, int64_t, size_t) = &o.get_buffer;\n\
        int (**close_)(void *) = &o.close;\n\
        int (**set_blocking)(void *, bool) = &o.set_blocking;\n\
        ssize_t (**writev_buffer)(void *, struct iovec *, int, int64_t) = &o.writev_buffer;\n\
        QEMUFile *(**get_return_path)(void *) = &o.get_return_path;\n\
        int (**shut_down)(void *, bool, bool) = &o.shut_down;\n\
        int (**before)(QEMUFile *, void *, uint64_t, void *) = &h.before_ram_iterate;\n\
        int (**after)(QEMUFile *, void *, uint64_t, void *) = &h.after_ram_iterate;\n\
        int (**load)(QEMUFile *, void *, uint64_t, void *) = &h.hook_ram_load;\n\
        size_t (**save)(QEMUFile *, void *, uint64_t, uint64_t, size_t, uint64_t *) = &h.save_page;\n";
    compile_with_both_headers(&text);
}

#[test]
fn our_header_stands_by_itself() {
    compile(
        "#include \"qemu-file.h\"\nQEMUFile *file;\n",
        &[our_header()],
    );
}

fn compile_with_both_headers(text: &str) {
    compile(text, &[original_headers()]);
    // Ours comes first; the original's others are found behind it.
    compile(text, &[our_header(), original_headers()]);
}

fn compile(text: &str, headers: &[std::path::PathBuf]) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("interface.c");
    fs::write(&source, text).unwrap();
    compile_only(&source, headers);
}
