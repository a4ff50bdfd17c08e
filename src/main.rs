//! The command `angarium`.

use std::process::ExitCode;

fn main() -> ExitCode {
    angarium::cli::run(std::env::args_os())
}
