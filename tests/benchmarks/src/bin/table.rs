//! Prints the table of the figures on standard input.

fn main() -> std::io::Result<()> {
    let text = std::io::read_to_string(std::io::stdin())?;
    print!(
        "{}",
        benchmarks::table::of(&benchmarks::figures::Figures::read(&text))
    );
    Ok(())
}
