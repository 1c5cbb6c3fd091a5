//! Numbers for people.

use std::time::Duration;

use bytesize::ByteSize;

/// `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `3.2 ms`, `1.5 s`, `2 min 5 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_millis() {
        0..10 => format!("{:.2} ms", seconds * 1e3),
        10..1000 => format!("{:.0} ms", seconds * 1e3),
        1000..60_000 => format!("{seconds:.1} s"),
        _ => format!(
            "{} min {} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        ),
    }
}

/// `45 %`; a part of nothing is no number.
pub fn percent(part: u64, whole: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        Some(percent) => format!("{percent} %"),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(bytes(1536 << 20), "1.5 GiB");
        assert_eq!(duration(Duration::from_micros(3200)), "3.20 ms");
        assert_eq!(duration(Duration::from_millis(321)), "321 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(percent(1, 3), "33 %");
        assert_eq!(percent(0, 0), "-");
    }
}
