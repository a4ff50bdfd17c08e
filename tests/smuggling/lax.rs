//! A next hop that believes too much: in content any CR or LF ends a line, and a dot alone in one all.
//!
//! Promises that every message it takes is kept with the octets it came in, and that nothing which
//! any server is known to take for the end of content goes past it. NUL is nothing to it.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::{free_port, loopback};

/// A message as the sink took it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// The MAIL line.
    pub(crate) mail: String,
    /// The content as it came, final dot included.
    pub(crate) wire: Vec<u8>,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Sink {
    /// One on a free loopback port, as long as the process lives.
    pub(crate) fn start() -> Self {
        let address = loopback(free_port());
        let listener = TcpListener::bind(address).unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &taken));
            }
        });
        Self { address, taken }
    }

    /// The next hop as the configuration names it.
    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// What it has taken so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

/// Whether content ends here for a server that is lax in any known way: a CR or LF, a dot, and a CR
/// or LF, NUL aside.
pub(crate) fn lax_end(content: &[u8]) -> bool {
    let mut last = content.iter().rev().filter(|octet| **octet != 0);
    let is_end = |octet: Option<&u8>| matches!(octet, Some(b'\r' | b'\n'));
    is_end(last.next()) && last.next() == Some(&b'.') && is_end(last.next())
}

fn serve(stream: TcpStream, taken: &Mutex<Vec<Taken>>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream).bytes();
    let mut say = |line: &str| output.write_all(format!("{line}\r\n").as_bytes());
    let mut mail = String::new();
    say("220 lax.test")?;
    loop {
        let mut line = Vec::new();
        until(&mut input, &mut line, |line| line.ends_with(b"\n"))?;
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            // The LF of a CRLF whose CR ended content.
            "" if line.is_empty() => {}
            "DATA" => {
                say("354 go on")?;
                let mut wire = b"\n".to_vec();
                until(&mut input, &mut wire, lax_end)?;
                taken.lock().unwrap().push(Taken { mail: mail.clone(), wire: wire.split_off(1) });
                say("250 taken")?;
            }
            "QUIT" => return say("221 bye"),
            verb => {
                if verb == "MAIL" {
                    mail = line;
                }
                say("250 ok")?;
            }
        }
    }
}

/// Reads octets until `done`; the end of input is an error.
fn until(
    input: &mut impl Iterator<Item = io::Result<u8>>,
    octets: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    while octets.is_empty() || !done(octets) {
        octets.push(input.next().ok_or(io::ErrorKind::UnexpectedEof)??);
    }
    Ok(())
}
