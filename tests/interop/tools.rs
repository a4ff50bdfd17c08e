//! swaks and smtp-source: run to their end, with what they printed.
//!
//! Promises: each is killed after two minutes; a run never outlives its test.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::support::process::Process;
use crate::support::{temporary_directory, wait_until};

/// How a tool ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output and error.
    pub(crate) output: String,
}

impl Run {
    /// The replies in a transcript of swaks, whether good (`<-`) or not (`<**`), in order.
    pub(crate) fn replies(&self) -> Vec<&str> {
        let lines = self.output.lines().filter(|line| line.starts_with('<'));
        lines.filter_map(|line| line.split_once(' ')).map(|(_, reply)| reply.trim()).collect()
    }
}

/// swaks towards a server, with more options.
pub(crate) fn swaks(server: SocketAddr, options: &[&str]) -> Run {
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let mut command = Command::new("swaks");
    command.args(["--server", &host, "--port", &port, "--helo", "swaks.test"]).args(options);
    run(command)
}

/// smtp-source towards a server, with more options.
pub(crate) fn smtp_source(server: SocketAddr, options: &[&str]) -> Run {
    let mut command = Command::new("smtp-source");
    command.args(["-M", "source.test"]).args(options).arg(server.to_string());
    run(command)
}

fn run(mut command: Command) -> Run {
    let directory = temporary_directory();
    command.current_dir(directory.path());
    let (output, error) = (directory.path().join("output"), directory.path().join("error"));
    let mut process = Process::start(&mut command, &output, &error);
    let ended = wait_until(Duration::from_secs(120), || process.has_ended());
    let printed = process.output() + &process.error();
    assert!(ended, "{command:?} does not end; so far:\n{printed}");
    let code = process.wait().and_then(|status| status.code()).unwrap_or(-1);
    Run { code, output: printed }
}
