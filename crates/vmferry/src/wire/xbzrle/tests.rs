use super::*;

/// A record of QEMU 10.0.2: skip 2769, 2 bytes; and three times skip 5, 3 bytes.
const REAL: &[u8] =
    b"\xd1\x15\x02\x98\xd8\x05\x03\x67\x38\xdf\x05\x03\x67\x68\xd9\x05\x03\x67\xa8\xd9";

fn old() -> Vec<u8> {
    vec![0x11; 4096]
}

#[test]
fn the_differences_that_qemu_wrote_are_read_and_written_back() {
    let mut page = old();
    decode(REAL, &mut page).unwrap();
    let mut expected = old();
    expected[2769..2771].copy_from_slice(b"\x98\xd8");
    expected[2776..2779].copy_from_slice(b"\x67\x38\xdf");
    expected[2784..2787].copy_from_slice(b"\x67\x68\xd9");
    expected[2792..2795].copy_from_slice(b"\x67\xa8\xd9");
    assert_eq!(page, expected);
    let mut out = [0; 4096];
    assert_eq!(encode(&old(), &page, &mut out), Encoded::Bytes(REAL.len()));
    assert_eq!(&out[..REAL.len()], REAL);

    let mut page = old();
    decode(b"\x38\x01\x02", &mut page).unwrap();
    assert_eq!((page[0x37], page[0x38], page[0x39]), (0x11, 2, 0x11));
}

#[test]
fn differences_that_are_cut_anywhere_but_between_pairs_are_refused() {
    let pairs = [0, 5, 10, 15, 20];
    for end in 0..=REAL.len() {
        assert_eq!(
            check(&REAL[..end], 4096).is_ok(),
            pairs.contains(&end),
            "{end}"
        );
    }
}

#[test]
fn what_qemu_refuses_is_refused_with_its_place() {
    let mut long = vec![0, 0xff, 0x1f];
    long.resize(3 + 4095, 7);
    let cases: [(&[u8], &str); 8] = [
        (b"\x05", "half a pair at byte 0"),
        (b"\x01\x01\x07\x05", "half a pair at byte 3"),
        (b"\x01\x01\x07\0\x01\x08", "no unchanged bytes at byte 3"),
        (b"\x01\0\x07", "no changed bytes at byte 0"),
        (b"\x01\x02\x07", "not there at byte 0"),
        (b"\x80\x80\x01\x01\x07", "more than two bytes at byte 0"),
        (
            b"\xff\x1f\x02\x07\x08",
            "beyond the end of the page at byte 0",
        ),
        (&long, "more bytes than a page"),
    ];
    for (encoded, says) in cases {
        let said = check(encoded, 4096).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
        assert_eq!(decode(encoded, &mut old()), check(encoded, 4096));
    }
    // The first pair may skip nothing, and the last byte of the page may change.
    check(b"\0\x01\x07", 4096).unwrap();
    check(b"\xff\x1f\x01\x07", 4096).unwrap();
    check(b"", 4096).unwrap();
}

#[test]
fn a_page_that_differs_everywhere_is_sent_whole_and_one_that_does_not_differ_not_at_all() {
    let mut out = [0; 4096];
    assert_eq!(encode(&old(), &old(), &mut out), Encoded::Same);
    assert_eq!(encode(&old(), &[0x22; 4096], &mut out), Encoded::Overflow);
    // One byte less: 3 + 4093 is a page.
    let mut new = [0x22; 4096];
    new[4093..].fill(0x11);
    assert_eq!(encode(&old(), &new, &mut out), Encoded::Bytes(4096));
    let mut page = old();
    decode(&out, &mut page).unwrap();
    assert_eq!(page, new);
    assert_eq!(encode(&old(), &new, &mut [0; 64]), Encoded::Overflow);
}

#[test]
fn whatever_changes_comes_back_as_it_is() {
    // xorshift: pages with few and with many differences, in runs of every length.
    let mut state = 0x9e37_79b9_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..400 {
        let len = [2048, 3001, 4096, 8192, 16384][round % 5];
        let before: Vec<u8> = (0..len).map(|_| random(3).to_le_bytes()[0]).collect();
        let mut after = before.clone();
        for _ in 0..random(20) {
            let from = random(len);
            let to = (from + random(40)).min(len);
            for byte in &mut after[from..to] {
                *byte = random(3).to_le_bytes()[0];
            }
        }
        let mut out = vec![0; len];
        let mut page = before.clone();
        match encode(&before, &after, &mut out) {
            Encoded::Same => assert_eq!(before, after),
            Encoded::Bytes(n) => {
                decode(&out[..n], &mut page).unwrap();
                assert_eq!(page, after);
                // No shorter room would have done.
                assert_eq!(
                    encode(&before, &after, &mut out[..n - 1]),
                    Encoded::Overflow
                );
            }
            Encoded::Overflow => panic!("few differences, and no room for them"),
        }
    }
}
