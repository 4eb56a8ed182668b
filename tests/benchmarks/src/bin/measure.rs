//! `measure NAME [--quick]`: prints the figures of one measurement. `tests/bench` is what people run.

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    anyhow::ensure!(
        !arguments.is_empty(),
        "measure what? {}",
        benchmarks::measure::NAMES.join(", ")
    );
    let name = arguments.remove(0);
    benchmarks::measure::run(&name, is_quick, &arguments)
}
