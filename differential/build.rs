//! Compiles the C original, and copies of it that were changed on purpose, each with names of its own.
//!
//! The original's text is compiled as it is: its names are changed by the preprocessor, and a function that looks at
//! its fields is appended. A changed copy differs in one place, which `changes` names.

mod changes;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The functions of the original's header, which are what is compared.
#[rustfmt::skip]
const FUNCTIONS: &[(&str, &str)] = &[
    ("qemu_fopen_ops", "(*mut c_void, *const QemuFileOps) -> *mut QemuFile"),
    ("qemu_file_set_hooks", "(*mut QemuFile, *const QemuFileHooks)"),
    ("qemu_file_mode_is_not_valid", "(*const c_char) -> bool"),
    ("qemu_file_is_writable", "(*mut QemuFile) -> bool"),
    ("qemu_file_shutdown", "(*mut QemuFile) -> c_int"),
    ("qemu_file_get_return_path", "(*mut QemuFile) -> *mut QemuFile"),
    ("qemu_file_get_error", "(*mut QemuFile) -> c_int"),
    ("qemu_file_set_error", "(*mut QemuFile, c_int)"),
    ("qemu_fflush", "(*mut QemuFile)"),
    ("qemu_fclose", "(*mut QemuFile) -> c_int"),
    ("qemu_ftell", "(*mut QemuFile) -> i64"),
    ("qemu_ftell_fast", "(*mut QemuFile) -> i64"),
    ("qemu_update_position", "(*mut QemuFile, usize)"),
    ("qemu_file_set_blocking", "(*mut QemuFile, bool)"),
    ("qemu_file_rate_limit", "(*mut QemuFile) -> c_int"),
    ("qemu_file_get_rate_limit", "(*mut QemuFile) -> i64"),
    ("qemu_file_set_rate_limit", "(*mut QemuFile, i64)"),
    ("qemu_file_reset_rate_limit", "(*mut QemuFile)"),
    ("qemu_put_byte", "(*mut QemuFile, c_int)"),
    ("qemu_put_be16", "(*mut QemuFile, c_uint)"),
    ("qemu_put_be32", "(*mut QemuFile, c_uint)"),
    ("qemu_put_be64", "(*mut QemuFile, u64)"),
    ("qemu_put_buffer", "(*mut QemuFile, *const u8, usize)"),
    ("qemu_put_buffer_async", "(*mut QemuFile, *const u8, usize, bool)"),
    ("qemu_put_compression_data", "(*mut QemuFile, *const u8, usize, c_int) -> ssize_t"),
    ("qemu_put_qemu_file", "(*mut QemuFile, *mut QemuFile) -> c_int"),
    ("qemu_get_byte", "(*mut QemuFile) -> c_int"),
    ("qemu_peek_byte", "(*mut QemuFile, c_int) -> c_int"),
    ("qemu_get_be16", "(*mut QemuFile) -> c_uint"),
    ("qemu_get_be32", "(*mut QemuFile) -> c_uint"),
    ("qemu_get_be64", "(*mut QemuFile) -> u64"),
    ("qemu_get_buffer", "(*mut QemuFile, *mut u8, usize) -> usize"),
    ("qemu_get_buffer_in_place", "(*mut QemuFile, *mut *mut u8, usize) -> usize"),
    ("qemu_peek_buffer", "(*mut QemuFile, *mut *mut u8, usize, usize) -> usize"),
    ("qemu_file_skip", "(*mut QemuFile, c_int)"),
    ("qemu_get_counted_string", "(*mut QemuFile, *mut c_char) -> usize"),
    ("ram_control_before_iterate", "(*mut QemuFile, u64)"),
    ("ram_control_after_iterate", "(*mut QemuFile, u64)"),
    ("ram_control_load_hook", "(*mut QemuFile, u64, *mut c_void)"),
    ("ram_control_save_page", "(*mut QemuFile, u64, u64, usize, *mut u64) -> usize"),
];

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let seed = package.join("../crates/vmferry-capi/seed");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", seed.display());
    println!("cargo::rerun-if-changed={}", package.join("c").display());

    let text = fs::read_to_string(seed.join("qemu-file.c")).expect("the original is there");
    let inside = fs::read_to_string(package.join("c/inside.h")).expect("it is there");
    let mut build = cc::Build::new();
    build
        .include(package.join("c"))
        .include(seed.join("include"))
        .flag("-std=gnu11")
        .flag("-fno-strict-aliasing")
        .flag("-fwrapv")
        // The original is as it is.
        .warnings(false)
        .file(seed.join("shim.c"));
    let mut variants = vec![("original", text.clone())];
    for (name, from, to) in changes::CHANGES {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{name}: its text is there once"
        );
        variants.push((name, text.replacen(from, to, 1)));
    }
    for (name, text) in &variants {
        build.file(variant(&out, name, text, &inside));
    }
    build.compile("original");
    fs::write(out.join("api.rs"), bindings(&variants)).expect("it can be written");
}

/// Writes one copy, with names that begin with its own.
fn variant(out: &Path, name: &str, text: &str, inside: &str) -> PathBuf {
    let mut whole = String::new();
    for (function, _) in FUNCTIONS {
        let _ = writeln!(whole, "#define {function} {name}_{function}");
    }
    let _ = writeln!(whole, "#define INSIDE {name}_inside");
    whole.push_str("struct inside { int index, size, segments, adjacent; };\n");
    // A count of its own: an error of the compiler then names the line of the original.
    let _ = writeln!(
        whole,
        "#line 1 \"qemu-file.c\"\n{text}\n#line 1 \"inside.h\"\n{inside}"
    );
    let path = out.join(format!("{name}.c"));
    fs::write(&path, whole).expect("it can be written");
    path
}

/// The table of functions as a type, and one for each implementation.
fn bindings(variants: &[(&str, String)]) -> String {
    let mut text = String::from(
        "/// One implementation of the original's header.\n\
         #[derive(Debug)]\n\
         pub struct Api {\n\
         /// Its name.\n\
         pub name: &'static str,\n\
         /// Looks inside, where that can be done.\n\
         pub(crate) inside: Option<unsafe extern \"C\" fn(*mut QemuFile, *mut Inside)>,\n",
    );
    for (function, signature) in FUNCTIONS {
        let _ = writeln!(
            text,
            "pub(crate) {function}: unsafe extern \"C\" fn{signature},"
        );
    }
    text.push_str("}\n");
    for (name, _) in variants {
        table(&mut text, name, &format!("{name}_"), true);
    }
    table(&mut text, "vmferry", "", false);
    text.push_str("/// Copies of the original that differ from it in one place.\n");
    text.push_str("pub static CHANGED: &[&Api] = &[");
    for (name, _) in &variants[1..] {
        let _ = write!(text, "&{name}::API, ");
    }
    text.push_str("];\n");
    text
}

/// The table of the functions whose names begin with `prefix`.
fn table(text: &mut String, name: &str, prefix: &str, has_inside: bool) {
    let _ = writeln!(text, "mod {name} {{ use super::*; unsafe extern \"C\" {{");
    if has_inside {
        let _ = writeln!(
            text,
            "#[link_name = \"{prefix}inside\"] fn inside(file: *mut QemuFile, out: *mut Inside);"
        );
    }
    for (function, signature) in FUNCTIONS {
        let arguments = signature.replace('(', "(_: ").replace(", ", ", _: ");
        let _ = writeln!(
            text,
            "#[link_name = \"{prefix}{function}\"] fn {function}{arguments};"
        );
    }
    let inside = if has_inside { "Some(inside)" } else { "None" };
    let _ = writeln!(
        text,
        "}} pub(super) static API: Api = Api {{ name: {name:?}, inside: {inside},"
    );
    for (function, _) in FUNCTIONS {
        let _ = write!(text, "{function}, ");
    }
    text.push_str("}; }\n");
}
