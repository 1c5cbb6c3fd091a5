//! The registers of an x86 processor, from its device section, and the notes that a core file has of them.
//!
//! Names and order of the notes' fields were found by looking at what `dump-guest-memory` of QEMU 7.2 and
//! 10.0 writes of guests whose registers were known.

use anyhow::{Context, Result, bail};
use vmferry::machine::MachineState;
use vmferry::wire::vmdesc::VmDesc;
use vmferry::wire::vmstate::{self, Field, State, Value};

use super::note;

/// The type of the note that debuggers read registers from.
pub const NT_PRSTATUS: u32 = 1;

/// Bytes of `struct elf_prstatus` of x86-64.
const PRSTATUS_LEN: usize = 336;

/// Where in it the number of the process is, and the registers begin.
const PRSTATUS_PID: usize = 0x20;
const PRSTATUS_REGISTERS: usize = 0x70;

/// Bytes of QEMU's own note.
const QEMU_LEN: u32 = 440;

/// A processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub index: u32,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of the instruction set.
    pub general: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS: the order of the instruction set.
    pub segments: [Segment; 6],
    /// The local descriptor table.
    pub ldt: Segment,
    /// The task register.
    pub tr: Segment,
    /// The global descriptor table.
    pub gdt: Segment,
    /// The interrupt descriptor table.
    pub idt: Segment,
    /// CR0 to CR4; there is no CR1.
    pub control: [u64; 5],
    /// The base that `swapgs` brings.
    pub kernel_gs_base: u64,
}

/// A segment register with what the processor keeps of its descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segment {
    /// The selector.
    pub selector: u32,
    /// The limit in bytes.
    pub limit: u32,
    /// The upper half of the descriptor, as QEMU keeps it.
    pub flags: u32,
    /// The base address.
    pub base: u64,
}

const ES: usize = 0;
const CS: usize = 1;
const SS: usize = 2;
const DS: usize = 3;
const FS: usize = 4;
const GS: usize = 5;

impl Cpu {
    /// All processors of a machine, in the order of their numbers.
    ///
    /// # Errors
    /// The state has no description, no processor, or one that is not as x86 processors are.
    pub fn all(state: &MachineState) -> Result<Vec<Self>> {
        let json = state.vmdesc.as_deref();
        let json = json.context("the state has no description (vmdesc) of its devices")?;
        let description = VmDesc::parse(json, 0)?;
        let by_name = description.by_name();
        let mut cpus = Vec::new();
        for device in &state.devices {
            let header = device.header();
            if header.idstr != "cpu" {
                continue;
            }
            let instance = header.instance_id;
            let described = by_name.get(&("cpu", instance));
            let described =
                described.with_context(|| format!("section 'cpu' {instance} is not described"))?;
            let decoded = vmstate::decode(described, device.payload(), 0)?;
            let cpu = Self::read(instance, &decoded);
            cpus.push(cpu.with_context(|| format!("section 'cpu' {instance}"))?);
        }
        if cpus.is_empty() {
            bail!("the state has no section 'cpu'");
        }
        cpus.sort_by_key(|cpu| cpu.index);
        Ok(cpus)
    }

    fn read(index: u32, state: &State<'_>) -> Result<Self> {
        let mut cpu = Self {
            index,
            rip: number(state, "env.eip", None)?,
            rflags: number(state, "env.eflags", None)?,
            ldt: segment(state, "env.ldt", None)?,
            tr: segment(state, "env.tr", None)?,
            gdt: segment(state, "env.gdt", None)?,
            idt: segment(state, "env.idt", None)?,
            // Machines of 32 bits have none.
            kernel_gs_base: number(state, "env.kernelgsbase", None).unwrap_or(0),
            ..Self::default()
        };
        for (at, register) in cpu.general.iter_mut().enumerate() {
            *register = number(state, "env.regs", Some(at))?;
        }
        for (at, register) in cpu.segments.iter_mut().enumerate() {
            *register = segment(state, "env.segs", Some(at))?;
        }
        for at in [0, 2, 3, 4] {
            cpu.control[at] = number(state, &format!("env.cr[{at}]"), None)?;
        }
        Ok(cpu)
    }

    /// The note from which debuggers read the registers.
    pub fn put_prstatus(&self, out: &mut Vec<u8>) {
        let [
            rax,
            rcx,
            rdx,
            rbx,
            rsp,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
        ] = self.general;
        let selector = |at: usize| u64::from(self.segments[at].selector);
        let base = |at: usize| self.segments[at].base;
        let registers = [
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            0, // of a system call that was interrupted
            self.rip,
            selector(CS),
            self.rflags,
            rsp,
            selector(SS),
            base(FS),
            base(GS),
            selector(DS),
            selector(ES),
            selector(FS),
            selector(GS),
        ];
        let mut content = vec![0; PRSTATUS_LEN];
        // Threads are numbered from 1 on.
        let number = self.index.saturating_add(1).to_le_bytes();
        content[PRSTATUS_PID..PRSTATUS_PID + 4].copy_from_slice(&number);
        for (room, register) in content[PRSTATUS_REGISTERS..]
            .chunks_exact_mut(8)
            .zip(registers)
        {
            room.copy_from_slice(&register.to_le_bytes());
        }
        note::put(out, "CORE", NT_PRSTATUS, &content);
    }

    /// QEMU's own note, with the registers that debuggers know nothing of.
    pub fn put_qemu(&self, out: &mut Vec<u8>) {
        let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rest @ ..] = self.general;
        const VERSION: u32 = 1;
        let mut content = Vec::new();
        content.extend(VERSION.to_le_bytes());
        content.extend(QEMU_LEN.to_le_bytes());
        let general = [rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp]
            .into_iter()
            .chain(rest);
        for register in general.chain([self.rip, self.rflags]) {
            content.extend(register.to_le_bytes());
        }
        let segments = [CS, DS, ES, FS, GS, SS].map(|at| self.segments[at]);
        for segment in segments
            .into_iter()
            .chain([self.ldt, self.tr, self.gdt, self.idt])
        {
            for word in [segment.selector, segment.limit, segment.flags, 0] {
                content.extend(word.to_le_bytes());
            }
            content.extend(segment.base.to_le_bytes());
        }
        for register in self.control.into_iter().chain([self.kernel_gs_base]) {
            content.extend(register.to_le_bytes());
        }
        note::put(out, "QEMU", 0, &content);
    }
}

fn field<'a, 'b>(state: &'a State<'b>, name: &str, index: Option<usize>) -> Result<&'a Field<'b>> {
    let mut fields = state.fields.iter().filter(|field| field.name == name);
    let found = fields.nth(index.unwrap_or(0));
    found.with_context(|| match index {
        Some(index) => format!("expected a field '{name}' {index}"),
        None => format!("expected a field '{name}'"),
    })
}

/// Registers are unsigned on 64-bit machines, and of half the size on others.
fn number(state: &State<'_>, name: &str, index: Option<usize>) -> Result<u64> {
    let field = field(state, name, index)?;
    match field.value {
        Value::Unsigned(number) => Ok(number),
        _ => bail!(
            "field '{name}': expected an unsigned number, found '{}'",
            field.kind
        ),
    }
}

fn segment(state: &State<'_>, name: &str, index: Option<usize>) -> Result<Segment> {
    let field = field(state, name, index)?;
    let Value::Struct(fields) = &field.value else {
        bail!(
            "field '{name}': expected a structure, found '{}'",
            field.kind
        );
    };
    let word = |name: &str| {
        let number = number(fields, name, None)?;
        u32::try_from(number).with_context(|| format!("field '{name}': expected 32 bits"))
    };
    Ok(Segment {
        selector: word("selector")?,
        limit: word("limit")?,
        flags: word("flags")?,
        base: number(fields, "base", None)?,
    })
}
