//! The page that `vmferry report` writes, in a real browser: it renders, is searched, fetches nothing, and does
//! nothing that a saved state says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vmferry_tests::{Browser, Release, Spec, Vmferry};

/// A Linux guest with something of everything.
fn guest() -> Spec {
    let mut spec = Spec::linux(Release::V10_0, "q35");
    for device in [
        "VGA",
        "pcie-root-port,id=root1,chassis=1",
        "virtio-net-pci,bus=root1,romfile=",
        "e1000e,romfile=",
        "qemu-xhci",
        "usb-tablet",
        "virtio-balloon-pci",
        "virtio-rng-pci",
        "virtio-scsi-pci",
        "intel-hda",
        "ich9-ahci",
    ] {
        spec = spec.arg("-device").arg(device);
    }
    spec
}

/// Writes a page, and opens it: it is quiet, and asks for nothing.
fn open(vmferry: &Vmferry, browser: &mut Browser, state: &Path) -> Result<Value> {
    let page = state.with_extension("html");
    let [state, page_name] = [state, &page].map(|path| path.display().to_string());
    let report = vmferry.json(["report", &state, "-o", &page_name, "--force"])?;
    browser.open(&page)?;
    browser.until("document.querySelectorAll('#tree > [role=treeitem]').length > 0")?;
    let images = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)";
    browser.until(images)?;
    quiet(browser)?;
    Ok(report)
}

fn quiet(browser: &Browser) -> Result<()> {
    let fetched = browser.fetched();
    let foreign: Vec<_> = fetched
        .iter()
        .filter(|url| !url.starts_with("data:"))
        .collect();
    ensure!(foreign.is_empty(), "the page fetches {foreign:?}");
    let console = browser.console();
    ensure!(console.is_empty(), "on the console: {console:#?}");
    Ok(())
}

fn count(browser: &mut Browser, selector: &str) -> Result<u64> {
    let counted = browser.evaluate(&format!("document.querySelectorAll({selector:?}).length"))?;
    counted.as_u64().context("no number")
}

fn text(browser: &mut Browser, selector: &str) -> Result<String> {
    let text = browser.evaluate(&format!("document.querySelector({selector:?}).textContent"))?;
    Ok(text.as_str().context("no text")?.to_owned())
}

#[test]
fn the_page_about_a_real_guest_is_searched_with_the_keyboard_and_fits_every_screen() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let mut browser = Browser::start()?;
    let guest = guest().start()?;
    guest.wait_until_filled()?;
    guest.stop()?;
    let state = guest.folder().join("linux.state");
    guest.told(guest.migrate_to_file(&state))?;
    let registers = guest.registers()?;
    let report = open(&vmferry, &mut browser, &state)?;
    ensure!(report["warnings"] == json!([]), "{report:#}");

    searched(&mut browser, &registers)?;
    unfolded(&mut browser)?;
    fits(&mut browser)?;
    quiet(&browser)
}

/// The instruction pointer of a vCPU is found, and is what QEMU says that it is.
fn searched(browser: &mut Browser, registers: &str) -> Result<()> {
    browser.press("/")?;
    ensure!(
        text(browser, ":focus")?.is_empty(),
        "the search has the focus"
    );
    browser.write("cpu env.eip")?;
    browser.until("document.querySelectorAll('.hit').length === 2")?;
    ensure!(text(browser, "#matches")? == "2 matches");
    ensure!(
        count(browser, ".hit mark")? >= 2,
        "what was found is marked"
    );
    let shown = text(browser, ".hit .value")?;
    let pointer = shown
        .split(' ')
        .next()
        .unwrap_or_default()
        .trim_start_matches("0x");
    let said = registers.to_lowercase();
    ensure!(
        said.contains(&format!("rip={pointer:0>16}")),
        "the page has {shown}, QEMU:\n{registers}"
    );

    // From the search into the tree, and back out of it.
    browser.press("Enter")?;
    browser.until("document.activeElement.matches('[role=treeitem]')")?;
    ensure!(
        text(browser, "#place")?.ends_with("env.eip"),
        "where the focus is"
    );
    browser.press("ArrowLeft")?;
    browser.until("document.activeElement.getAttribute('aria-level') === '1'")?;
    browser.press("/")?;
    browser.press("Escape")?;
    browser.until("document.getElementById('matches').textContent === ''")?;
    browser.write("no such thing")?;
    browser.until("document.getElementById('matches').textContent === 'nothing found'")?;
    browser.press("Escape")?;
    browser.until("document.querySelectorAll('#tree > li').length > 20")
}

/// Arrows walk through the tree; a long list comes in pieces.
fn unfolded(browser: &mut Browser) -> Result<()> {
    browser.evaluate("document.querySelector('#tree > [aria-expanded]').focus()")?;
    let expanded = |wanted: &str| {
        format!("document.activeElement.getAttribute('aria-expanded') === '{wanted}'")
    };
    browser.until(&expanded("false"))?;
    browser.press("ArrowRight")?;
    browser.until(&expanded("true"))?;
    browser.press("ArrowRight")?;
    browser.until("document.activeElement.getAttribute('aria-level') === '2'")?;
    browser.press("ArrowLeft")?;
    browser.press("ArrowLeft")?;
    browser.until(&expanded("false"))?;
    ensure!(count(browser, "#tree ul")? == 0, "it is folded again");

    // The e1000e has a register file of 32768 words.
    browser.press("/")?;
    browser.write("e1000e core.mac[]")?;
    browser.until("document.querySelectorAll('.hit').length === 1")?;
    browser.press("Enter")?;
    browser.press("ArrowRight")?;
    browser.until("document.activeElement.querySelectorAll('[role=treeitem]').length > 100")?;
    ensure!(
        count(browser, "#tree [role=treeitem]")? < 1000,
        "not all at once"
    );
    ensure!(
        count(browser, "#tree .more")? > 0,
        "the rest can be asked for"
    );
    let before = count(browser, "#tree [role=treeitem]")?;
    browser.evaluate("document.querySelector('#tree .more > button').click()")?;
    browser.until(&format!(
        "document.querySelectorAll('#tree [role=treeitem]').length > {before}"
    ))?;
    browser.press("/")?;
    browser.press("Escape")
}

/// On a phone, a laptop and a wide screen, in light and dark: nothing sticks out, all text can be read.
fn fits(browser: &mut Browser) -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report_page");
    fs::create_dir_all(&folder)?;
    for (width, scheme) in [
        (400, "light"),
        (400, "dark"),
        (1280, "light"),
        (1280, "dark"),
        (2560, "light"),
        (2560, "dark"),
    ] {
        browser.look_like(width, scheme)?;
        browser.until(&format!("innerWidth === {width}"))?;
        let wide = browser.evaluate("document.documentElement.scrollWidth")?;
        ensure!(wide == width, "at {width} it is {wide} wide");
        let faint = browser.evaluate(CONTRAST)?;
        ensure!(
            faint == json!([]),
            "hard to read at {width}, {scheme}: {faint:#}"
        );
        // To be looked at by a person.
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = browser.call("Page.captureScreenshot", whole)?;
        let bytes = STANDARD.decode(picture["data"].as_str().context("no picture")?)?;
        fs::write(folder.join(format!("{width}-{scheme}.png")), bytes)?;
    }
    let printed = browser.call("Page.printToPDF", json!({}))?;
    ensure!(
        printed["data"]
            .as_str()
            .is_some_and(|data| data.len() > 10_000)
    );
    Ok(())
}

/// Texts whose colour stands out from what is behind it by less than 4.5, as WCAG 2 counts.
const CONTRAST: &str = r#"(() => {
    const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const linear = (part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = parts(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const faint = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, style, svg")) continue;
        const [one, other] = [parts(getComputedStyle(element).color), behind(element)].map(light);
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) faint.add(`${element.tagName}.${element.className}: ${contrast.toFixed(2)}`);
    }
    return [...faint];
})()"#;

#[test]
fn every_golden_stream_has_a_page_that_complains_only_where_it_should() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let mut browser = Browser::start()?;
    let folder = tempfile::tempdir()?;
    let mut pages = 0;
    for (name, bytes) in streams()? {
        let state = folder.path().join(&name);
        let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        // QEMU 7.2 describes one device of s390x wrongly.
        let described = has(b"\"vmsd_name\"") && !name.starts_with("7.2-s390x");
        let whole = described && !has(b"x-ignore-shared");
        fs::write(&state, &bytes)?;
        let page = state.with_extension("html").display().to_string();
        let words = [
            "report",
            &state.display().to_string(),
            "-o",
            &page,
            "--force",
        ];
        let ended = vmferry.run(words)?;
        if !ended.status.success() {
            // Old and odd streams that are read by nothing of ours: no page, and the reason.
            let said = ended.refused()?;
            ensure!(said.contains("is not supported"), "{name}: {said}");
            continue;
        }
        pages += 1;
        let report = open(&vmferry, &mut browser, &state).with_context(|| name.clone())?;
        // Not every stream describes its devices or has all of the memory; the page says so.
        let complains = report["warnings"] != json!([]);
        ensure!(complains != whole, "{name}: {report:#}");
        let devices = count(&mut browser, "#tree > [role=treeitem]")?;
        ensure!(report["devices"] == devices, "{name}: {devices} are shown");
    }
    ensure!(pages > 20, "{pages} pages");
    Ok(())
}

#[test]
fn names_that_are_markup_and_scripts_are_shown_and_do_nothing() -> Result<()> {
    // Each as long as the name that it takes the place of, so that the stream stays one.
    let names = [
        ("mc146818rtc", "</script>&x"),
        ("0000:00:1f.2/ich9_ahci", "<svg onload=hacked=1>x"),
        ("/rom@etc/acpi/tables", "<svg onload=hack=1>'"),
        ("cmos_data", "</script>"),
        ("pc-q35-10.0", "<img src=x>"),
    ];
    let (_, mut bytes) = streams()?
        .into_iter()
        .find(|(name, _)| name == "10.0-q35-small")
        .context("it is not there")?;
    for (name, hostile) in names {
        let places: Vec<_> = bytes
            .windows(name.len())
            .enumerate()
            .filter(|(_, window)| *window == name.as_bytes())
            .map(|(at, _)| at)
            .collect();
        ensure!(!places.is_empty(), "{name}");
        for at in places {
            bytes[at..at + name.len()].copy_from_slice(hostile.as_bytes());
        }
    }
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("\"><script>hacked=2<&'.state");
    fs::write(&state, bytes)?;
    let vmferry = Vmferry::new()?;
    let mut browser = Browser::start()?;
    open(&vmferry, &mut browser, &state)?;
    browser.press("/")?;
    browser.write("</script>")?;
    browser.until("document.querySelectorAll('.hit').length > 0")?;
    ensure!(text(&mut browser, ".hit .label")?.contains("</script>"));
    let harmless = "typeof hacked === 'undefined' && typeof hack === 'undefined' \
        && !document.querySelector('svg[onload], img[src=x]')";
    ensure!(browser.evaluate(harmless)? == true);
    let title = text(&mut browser, "h1")?;
    ensure!(title.ends_with("\"><script>hacked=2<&'.state"), "{title}");
    quiet(&browser)?;

    // Even a script that came in would not run, and what it asks for would not be fetched.
    let smuggled = "new Promise((done) => {
        const script = document.createElement('script');
        script.textContent = 'hacked = 3';
        document.body.append(script);
        fetch('http://127.0.0.1:9/').then(() => done('fetched'), () => done(typeof hacked));
    })";
    ensure!(browser.evaluate(smuggled)? == "undefined");
    ensure!(
        !browser.console().is_empty(),
        "the browser says what it forbade"
    );
    Ok(())
}

/// The streams of `testdata`, by name.
fn streams() -> Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/streams");
    let mut streams = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.and_then(|name| name.strip_suffix(".stream.zst")) {
            let bytes = zstd::decode_all(fs::File::open(&path)?)?;
            streams.push((name.to_owned(), bytes));
        }
    }
    ensure!(!streams.is_empty(), "no streams in testdata");
    Ok(streams)
}
