//! The gateway's executable.

// It gives out first what was given back last, which the processor still has at hand. It can't be built by Microsoft's compiler.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    gateway::cli::main()
}
