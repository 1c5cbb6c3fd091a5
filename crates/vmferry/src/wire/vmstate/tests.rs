use super::super::vmdesc::VmDesc;
use super::*;

fn device(json: &str) -> Device {
    let text = format!(r#"{{"devices": [{{"name": "d", "instance_id": 0, {json}}}]}}"#);
    VmDesc::parse(text.as_bytes(), 0).unwrap().devices.remove(0)
}

/// The device of which `whole` is the state decodes, and no shorter or longer payload does.
fn decodes<'a>(device: &'a Device, whole: &'a [u8]) -> State<'a> {
    assert_eq!(device.payload_len(), Some(whole.len() as u64));
    for end in 0..whole.len() {
        let error = decode(device, &whole[..end], 0x100).unwrap_err();
        assert_eq!(error.section.as_deref(), Some("d"), "{end}: {error}");
    }
    let longer = [whole, &[0]].concat();
    let error = decode(device, &longer, 0x100).unwrap_err();
    assert_eq!(error.at, 0x100 + whole.len() as u64, "{error}");
    decode(device, whole, 0x100).unwrap()
}

#[test]
fn each_kind_of_number_is_read_with_its_width_and_its_sign() {
    let cases: [(&str, &[u8], Value<'_>); 16] = [
        ("bool", &[0], Value::Bool(false)),
        ("bool", &[2], Value::Bool(true)),
        ("uint8", &[0xff], Value::Unsigned(0xff)),
        ("int8", &[0xff], Value::Signed(-1)),
        ("uint16", &[1, 2], Value::Unsigned(0x0102)),
        ("int16", &[0xff, 0xfe], Value::Signed(-2)),
        ("uint32 equal", &[0, 0, 1, 0], Value::Unsigned(256)),
        ("int32 le", &[0xff, 0xff, 0xff, 0], Value::Signed(-256)),
        ("uint64", &[0, 0, 0, 0, 0, 0, 1, 1], Value::Unsigned(257)),
        ("int64", &[0xff; 8], Value::Signed(-1)),
        ("timer", &[0xff; 8], Value::Timer(None)),
        ("timer", &[0, 0, 0, 0, 0, 0, 0, 9], Value::Timer(Some(9))),
        (
            "CPU_Double_U",
            &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
            Value::Float(1.0),
        ),
        ("nullptr", b"0", Value::Null),
        // Not of the width that it should have, and not known.
        ("uint32", &[1, 2, 3], Value::Bytes),
        ("scsi-requests", &[0], Value::Bytes),
    ];
    for (kind, bytes, value) in cases {
        let size = bytes.len();
        let device = device(&format!(
            r#""fields": [{{"name": "x", "type": "{kind}", "size": {size}}}]"#
        ));
        let state = decodes(&device, bytes);
        assert_eq!(state.fields[0].value, value, "{kind}");
        assert_eq!(state.fields[0].bytes, bytes);
    }
}

#[test]
fn elements_of_an_array_are_numbered_however_they_are_described() {
    // 10.0 gives the last element no index, and describes those that are not there as a run.
    let device = device(
        r#""fields": [
            {"name": "a", "type": "uint8", "array_len": 2, "size": 1},
            {"name": "b", "index": 0, "type": "uint8", "size": 1},
            {"name": "b", "type": "nullptr", "array_len": 2, "size": 1},
            {"name": "b", "type": "uint16", "size": 2},
            {"name": "c", "type": "uint8", "size": 1}]"#,
    );
    let state = decodes(&device, b"\x01\x02\x0300\x00\x04\x05");
    let seen = state.fields.iter();
    let seen: Vec<_> = seen
        .map(|f| (f.name, f.index, f.at, f.value.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            ("a", Some(0), 0, Value::Unsigned(1)),
            ("a", Some(1), 1, Value::Unsigned(2)),
            ("b", Some(0), 2, Value::Unsigned(3)),
            ("b", Some(1), 3, Value::Null),
            ("b", Some(2), 4, Value::Null),
            ("b", Some(3), 5, Value::Unsigned(4)),
            ("c", None, 7, Value::Unsigned(5)),
        ]
    );
}

#[test]
fn subsections_follow_the_state_that_they_belong_to_also_within_a_structure() {
    let device = device(
        r#""vmsd_name": "d", "version": 1,
           "fields": [{"name": "s", "type": "struct", "size": 12, "struct":
                {"vmsd_name": "in", "version": 2, "fields": [{"name": "x", "type": "uint8", "size": 1}],
                 "subsections": [{"vmsd_name": "in/y", "version": 7, "fields": [
                    {"name": "z", "type": "bool", "size": 1}]}]}}],
           "subsections": [{"vmsd_name": "d/e", "version": 3, "fields": []}]"#,
    );
    let bytes = b"\x09\x05\x04in/y\0\0\0\x07\x01\x05\x03d/e\0\0\0\x03";
    let state = decodes(&device, bytes);
    let Value::Struct(inner) = &state.fields[0].value else {
        panic!("{state:?}");
    };
    assert_eq!((inner.name, inner.version), ("in", 2));
    assert_eq!(
        (inner.subsections[0].name, inner.subsections[0].version),
        ("in/y", 7)
    );
    assert_eq!(inner.subsections[0].fields[0].value, Value::Bool(true));
    assert_eq!(
        (state.subsections[0].name, state.subsections[0].version),
        ("d/e", 3)
    );

    for (wrong, says) in [
        (1, "the byte that begins a subsection (05)"),
        (4, "subsection 'in/y'"),
        (10, "version 7 of subsection 'in/y'"),
    ] {
        let mut damaged = bytes.to_vec();
        damaged[wrong] ^= 0x40;
        let error = decode(&device, &damaged, 0).unwrap_err().to_string();
        assert!(error.contains(says), "{wrong}: {error}");
    }
}

#[test]
fn the_elements_of_a_list_and_of_a_tree_come_with_their_own_fields() {
    let element =
        r#""vmsd_name": "e", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}]"#;
    let list = device(&format!(
        r#""fields": [{{"name": "l", "type": "qtailq", {element}, {element}, "size": 5}}]"#
    ));
    let state = decodes(&list, b"\x01\x0a\x01\x0b\0");
    let Value::List(elements) = &state.fields[0].value else {
        panic!("{state:?}");
    };
    assert_eq!(elements[1].fields[0].value, Value::Unsigned(0x0b));
    let empty = device(r#""fields": [{"name": "l", "type": "qlist", "size": 1}]"#);
    assert_eq!(decodes(&empty, b"\0").fields[0].value, Value::List(vec![]));

    let tree = device(&format!(
        r#""fields": [{{"name": "t", "type": "gtree", {element}, "size": 15}}]"#
    ));
    let state = decodes(&tree, b"\0\0\0\x01\x01\0\0\0\0\0\0\0\x07\x0c\0");
    let Value::Tree(entries) = &state.fields[0].value else {
        panic!("{state:?}");
    };
    assert_eq!(entries[0].0, Key::Direct(7));
    assert_eq!(entries[0].1.fields[0].value, Value::Unsigned(0x0c));

    let tree = device(&format!(
        r#""fields": [{{"name": "t", "type": "gtree", {element}, {element}, "size": 8}}]"#
    ));
    let state = decodes(&tree, b"\0\0\0\x01\x01\x0a\x0b\0");
    let Value::Tree(entries) = &state.fields[0].value else {
        panic!("{state:?}");
    };
    let (Key::Struct(key), value) = &entries[0] else {
        panic!("{entries:?}");
    };
    assert_eq!(key.fields[0].value, Value::Unsigned(0x0a));
    assert_eq!(value.fields[0].value, Value::Unsigned(0x0b));
}

#[test]
fn a_size_that_is_not_that_of_what_is_nested_is_refused_with_the_name_of_the_field() {
    for size in [1, 3] {
        let device = device(&format!(
            r#""fields": [{{"name": "outer", "type": "struct", "size": {size}, "struct":
                {{"fields": [{{"name": "x", "type": "uint16", "size": 2}}]}}}},
                {{"name": "y", "type": "uint32", "size": 4}}]"#
        ));
        let error = decode(&device, &[0; 8], 0).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{size} bytes of 'outer'")),
            "{error}"
        );
        assert!(error.contains("2 bytes nested"), "{error}");
    }
}

#[test]
fn elements_of_no_size_are_not_counted_for_ever() {
    let device = device(
        r#""fields": [{"name": "x", "type": "struct", "size": 0, "array_len": 18446744073709551615,
            "struct": {"fields": []}}]"#,
    );
    let error = decode(&device, &[], 0).unwrap_err().to_string();
    assert!(error.contains("the limit is"), "{error}");
}
