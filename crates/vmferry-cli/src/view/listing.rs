//! The elements of a stream in their order, with what comes again and again put together.

use serde::Serialize;
use vmferry::load::{Element, ElementKind, Nesting};
use vmferry::wire::command::Command;
use vmferry::wire::section::ElementType;

/// Elements that are listed one by one; a stream may have as many as it likes.
const LISTED: usize = 1 << 16;

/// The elements of a stream.
#[derive(Debug, Default)]
pub struct Listing {
    /// In stream order.
    pub elements: Vec<Listed>,
    /// How many are not in the list.
    pub more: u64,
}

/// One element, or several in a row of one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// `start`, `part`, `end`, `full`, `command`, `configuration`, `eof`, `vmdesc`.
    pub element: &'static str,
    /// The section's owner, or the command.
    pub name: String,
    /// Which of several owners of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<u32>,
    /// The version of the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<u32>,
    /// Offset in the stream of the first byte.
    pub offset: u64,
    /// Bytes, footers included.
    pub length: u64,
    /// How many elements it stands for.
    pub count: u64,
    /// Page records in them.
    pub pages: u64,
    /// Whether it is in a package of a postcopy migration.
    pub packaged: bool,
}

impl Listing {
    /// Adds the next element.
    pub fn add(&mut self, element: &Element<'_>) {
        let next = listed(element);
        if let Some(last) = self.elements.last_mut() {
            let same = last.element == next.element && last.name == next.name;
            if same && matches!(next.element, "part" | "command") {
                last.length += next.length;
                last.count += 1;
                last.pages += next.pages;
                return;
            }
        }
        if self.elements.len() < LISTED {
            self.elements.push(next);
        } else {
            self.more += 1;
        }
    }
}

fn listed(element: &Element<'_>) -> Listed {
    let (what, name, section) = match element.kind {
        ElementKind::Configuration => ("configuration", String::new(), None),
        ElementKind::Section {
            element,
            idstr,
            instance_id,
            version_id,
            ..
        } => {
            let what = match element {
                ElementType::Start => "start",
                ElementType::Part => "part",
                ElementType::End => "end",
                _ => "full",
            };
            (what, idstr.to_owned(), Some((instance_id, version_id)))
        }
        ElementKind::Command(command) => ("command", command_name(command), None),
        ElementKind::Eof => ("eof", String::new(), None),
        ElementKind::VmDesc => ("vmdesc", String::new(), None),
        _ => ("unknown", String::new(), None),
    };
    Listed {
        element: what,
        name,
        instance_id: section.map(|(instance_id, _)| instance_id),
        version_id: section.map(|(_, version_id)| version_id),
        offset: element.offset,
        length: element.length,
        count: 1,
        pages: element.pages.pages,
        packaged: element.nesting == Nesting::Package,
    }
}

/// A command by QEMU's name for it.
fn command_name(command: &Command) -> String {
    match command {
        Command::OpenReturnPath => "OPEN_RETURN_PATH".into(),
        Command::Ping(number) => format!("PING {number}"),
        Command::PostcopyAdvise(_) => "POSTCOPY_ADVISE".into(),
        Command::PostcopyListen => "POSTCOPY_LISTEN".into(),
        Command::PostcopyRun => "POSTCOPY_RUN".into(),
        Command::PostcopyRamDiscard(_) => "POSTCOPY_RAM_DISCARD".into(),
        Command::Packaged(length) => format!("PACKAGED {length}"),
        Command::EnableColo => "ENABLE_COLO".into(),
        Command::PostcopyResume => "POSTCOPY_RESUME".into(),
        Command::RecvBitmap(block) => format!("RECV_BITMAP {block}"),
        Command::SwitchoverStart => "SWITCHOVER_START".into(),
        other => format!("{other:?}"),
    }
}
