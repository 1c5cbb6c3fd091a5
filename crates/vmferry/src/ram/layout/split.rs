//! How much of the main memory lies below 4 GiB.
//!
//! QEMU tells the firmware through the memory of the real-time clock, which is in the stream; the property
//! `max-ram-below-4g`, which decides it, is not. The guest may write to that memory: what it says is
//! believed only if it makes up the memory that is there. Else the rule of the machine type holds:
//!
//! | machine | M | below 4 GiB |
//! |---|---|---|
//! | `pc` | `max-ram-below-4g`, or 3.5 GiB | M; where R ≥ M, 3 GiB or less |
//! | `q35` | the same, or 4 GiB | 2.75 GiB; where R is as much or more, 2 GiB; M or less |
//! | `microvm` | | 3 GiB |

use super::{HIGH, Known, LayoutError, size};
use crate::ram::PageSize;

const MIB: u64 = 1 << 20;

/// How main memory is laid out.
pub(super) struct Split {
    /// The address of its first byte.
    pub(super) base: u64,
    /// Bytes from there on; what is left lies at 4 GiB.
    pub(super) below: u64,
}

/// What the real-time clock says of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// `None` below 16 MiB, which it cannot say.
    below: Option<u64>,
    above: u64,
}

impl Clock {
    /// Reads it from the clock's memory.
    pub(super) fn read(cmos: &[u8]) -> Option<Self> {
        let byte = |at: usize| cmos.get(at).map(|byte| u64::from(*byte));
        let units = |low: u64| low << 16;
        let over_16_mib = units(byte(0x34)? | byte(0x35)? << 8);
        let above = units(byte(0x5b)? | byte(0x5c)? << 8 | byte(0x5d)? << 16);
        Some(Self {
            below: (over_16_mib > 0).then_some(16 * MIB + over_16_mib),
            above,
        })
    }

    /// All memory, as far as it says.
    pub(super) fn total(self) -> u64 {
        self.below.unwrap_or_default().saturating_add(self.above)
    }

    /// What lies below 4 GiB, if it speaks of `total` bytes of memory.
    fn below(self, total: u64) -> Option<u64> {
        let below = self.below.unwrap_or_else(|| total.min(16 * MIB));
        // It counts in units of 64 KiB.
        let units = |bytes: u64| bytes >> 16;
        let fits = units(below) + units(self.above) == units(total);
        (fits && below <= HIGH).then_some(if self.above == 0 { total } else { below })
    }
}

/// What the machine type makes of `total` bytes, without any property.
pub(super) fn rule(machine: &str, total: u64) -> Option<u64> {
    const GIB: u64 = 1 << 30;
    let below = if machine == "q35" || machine.starts_with("pc-q35-") {
        let split = 2 * GIB + 768 * MIB;
        if total >= split { 2 * GIB } else { split }
    } else if machine == "pc"
        || machine.starts_with("pc-i440fx-")
        || machine.starts_with("pc-0.")
        || machine.starts_with("pc-1.")
        || machine.starts_with("xenfv")
    {
        if total >= 3 * GIB + 512 * MIB {
            3 * GIB
        } else {
            3 * GIB + 512 * MIB
        }
    } else if machine == "microvm" {
        3 * GIB
    } else if machine == "isapc" {
        HIGH
    } else {
        return None;
    };
    Some(total.min(below))
}

/// How `total` bytes of main memory are laid out, whose first block is `first`.
pub(super) fn find(
    total: u64,
    first: Option<&str>,
    page_size: PageSize,
    known: &Known,
    assumptions: &mut Vec<String>,
) -> Result<Split, LayoutError> {
    if let Some(found) = known.below_4g {
        if found > HIGH || found & page_size.mask() != 0 {
            return Err(LayoutError::BadSplit { found });
        }
        let below = total.min(found);
        return Ok(Split { base: 0, below });
    }
    let machine = known.machine.as_deref().unwrap_or_default();
    if let Some((base, why)) = in_one_piece(machine, first) {
        assumptions.push(format!(
            "the main RAM lies in one piece at {base:#x}, as {why}"
        ));
        return Ok(Split { base, below: total });
    }
    let rule = rule(machine, total);
    let clock = known.cmos.as_deref().and_then(Clock::read);
    let clock = clock.and_then(|clock| clock.below(total));
    let below = match (clock, rule) {
        (Some(clock), Some(rule)) if clock == rule => clock,
        (Some(clock), Some(rule)) => {
            assumptions.push(format!(
                "{} of RAM lie below 4 GiB, as the machine's clock (RTC) says; by the rule of {machine} it were {}, \
                 which property 'max-ram-below-4g' can change",
                size(clock),
                size(rule)
            ));
            clock
        }
        (Some(clock), None) => {
            assumptions.push(format!(
                "{} of RAM lie below 4 GiB, as the machine's clock (RTC) says; {}",
                size(clock),
                match machine {
                    "" => "its type is not named, so no rule of its type confirms it".to_owned(),
                    machine => format!("the rule of {machine} is not known"),
                }
            ));
            clock
        }
        (None, Some(rule)) => {
            assumptions.push(format!(
                "{} of RAM lie below 4 GiB, by the rule of {machine}; no clock (RTC) that agrees with the size of \
                 the RAM confirms it",
                size(rule)
            ));
            rule
        }
        (None, None) => {
            let machine = machine.to_owned();
            return Err(LayoutError::UnknownSplit { machine });
        }
    };
    // Far up, machines with AMD processors have a hole.
    const HYPERTRANSPORT: u64 = 1012 << 30;
    if total.saturating_sub(below) > HYPERTRANSPORT - HIGH {
        assumptions.push("the RAM above 4 GiB begins there, and not at 1 TiB as on some machines with AMD processors".into());
    }
    Ok(Split { base: 0, below })
}

/// Machines that do not split their memory: where it begins, and who says so.
fn in_one_piece(machine: &str, first: Option<&str>) -> Option<(u64, &'static str)> {
    Some(match first {
        Some("mach-virt.ram") => (0x4000_0000, "ARM's 'virt' has it"),
        Some("riscv_virt_board.ram") => {
            let why = "RISC-V's 'virt' has it (not proven with a real machine)";
            (0x8000_0000, why)
        }
        Some("s390.ram") => (0, "s390x machines have it"),
        Some("ppc_spapr.ram") => (0, "'pseries' machines have it"),
        _ if machine.starts_with("virt-") => (0x4000_0000, "ARM's 'virt' has it"),
        _ if machine.starts_with("s390-ccw-virtio") => (0, "s390x machines have it"),
        _ if machine.starts_with("pseries") => (0, "'pseries' machines have it"),
        _ => return None,
    })
}
