//! Prints docs/commands.md; see `make docs`.

fn main() -> std::io::Result<()> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/commands");
    print!("{}", miroir::commands::reference::page(examples.as_ref())?);
    Ok(())
}
