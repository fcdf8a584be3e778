//! Prints docs/commands.md; see `make docs`.

fn main() {
    print!("{}", miroir::commands::reference::page());
}
