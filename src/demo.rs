//! Floor 6: `angarium demo`, the whole job on loopback in one process.
//!
//! Starts the real daemon beside a small LMTP mailstore and an SMTP sink, sends messages over SMTP,
//! shows the replies and the queue, and compares what arrived with what was sent. Promises exit 0
//! only if every message arrived once and octet for octet.

mod client;
mod messages;
mod store;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::config::Config;
use crate::control::client::{ask, mailq, parse_lines};
use crate::control::{self, client::Message as Queued};
use crate::daemon::{Daemon, prepare};
use crate::net::clock;
use client::Client;
use messages::{Message, Way};
use store::Store;

/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the demonstration in `folder`, or in a new one.
pub fn run(folder: Option<PathBuf>, stay: bool) -> ExitCode {
    let folder = folder.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("angarium-demo-{}", std::process::id()))
    });
    let result = tokio::runtime::Runtime::new()
        .map_err(|error| format!("the runtime can't start: {error}"))
        .and_then(|runtime| runtime.block_on(Demo::run(folder, stay)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("\nFAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    folder: PathBuf,
    address: SocketAddr,
    sink: SocketAddr,
    daemon: Daemon,
    failures: mpsc::UnboundedReceiver<String>,
}

impl Demo {
    async fn run(folder: PathBuf, stay: bool) -> Result<(), String> {
        let mut demo = Self::start(folder).await?;
        let messages = messages::all();
        demo.refuse_what_is_not_ours().await?;
        demo.send(&messages).await?;
        demo.show_queue().await?;
        demo.deliver().await?;
        demo.compare(&messages)?;
        if stay {
            demo.stay().await;
        }
        demo.daemon.stop().await;
        println!("\nStopped. Everything is in {}", demo.folder.display());
        Ok(())
    }

    async fn start(folder: PathBuf) -> Result<Self, String> {
        let at = |error: std::io::Error| format!("{}: {error}", folder.display());
        if folder.join("spool").exists() {
            return Err(format!("{} holds an earlier demo; name another folder", folder.display()));
        }
        std::fs::create_dir_all(&folder).map_err(at)?;
        start_log(&folder).map_err(at)?;
        let mailstore = Store::mailstore(&folder.join("mail"), messages::USERS).map_err(at)?;
        mailstore.serve_unix(&folder.join("lmtp")).map_err(at)?;
        let sink = Store::sink(&folder.join("relayed")).map_err(at)?;
        let sink = sink.serve_tcp().await.map_err(at)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().map_err(at)?));

        title("A mail transfer agent starts on loopback");
        println!("listens for SMTP    {address}");
        println!("mail for            {}, handed by LMTP to a mailstore", messages::OUR_DOMAIN);
        println!("mail for others     taken from 127.0.0.1 alone, relayed to {sink}");
        println!("spool               {}", folder.join("spool").display());
        println!("deliveries          paused, so that the queue can be seen");
        let config = configuration(&folder, address, sink, true)?;
        let sockets = prepare(&config)?;
        let (failed, failures) = mpsc::unbounded_channel();
        let daemon = Daemon::start(config, sockets, failed).await?;
        Ok(Self { folder, address, sink, daemon, failures })
    }

    /// A stranger, and a recipient who does not exist.
    async fn refuse_what_is_not_ours(&self) -> Result<(), String> {
        title("What is not ours is refused while the client is there");
        let mut stranger = Client::connect(self.address, Ipv4Addr::new(127, 0, 0, 2)).await?;
        stranger.say("EHLO stranger.example").await?;
        stranger.say("MAIL FROM:<someone@stranger.example>").await?;
        stranger.show(true);
        stranger.expect("RCPT TO:<anyone@elsewhere.example>", "550 5.7.1").await?;
        let nobody = format!("RCPT TO:<nobody@{}>", messages::OUR_DOMAIN);
        stranger.expect(&nobody, "550 5.1.1").await?;
        stranger.quit().await
    }

    async fn send(&self, messages: &[Message]) -> Result<(), String> {
        title("Messages come in; each 250 means: it is on stable storage");
        for (number, message) in messages.iter().enumerate() {
            let mut client = Client::connect(self.address, Ipv4Addr::LOCALHOST).await?;
            client.show(number == 0);
            let reply = client.send(message).await?;
            if number > 0 {
                let (what, octets) = (message.what, message.content.len());
                println!("{what:<36} {octets:>8} octets   S: {reply}");
            }
        }
        Ok(())
    }

    async fn show_queue(&self) -> Result<(), String> {
        title("The queue, as `angarium queue ls` shows it");
        print!("{}", mailq(&self.queued().await?));
        Ok(())
    }

    async fn deliver(&mut self) -> Result<(), String> {
        title("Deliveries are let go");
        let config = configuration(&self.folder, self.address, self.sink, false)?;
        self.daemon.reload(config).await?;
        let started = clock::instant();
        let mut last = usize::MAX;
        loop {
            let waiting = self.queued().await?.len();
            if waiting != last {
                println!("{:>5} ms   {waiting} in the queue", started.elapsed().as_millis());
                last = waiting;
            }
            if waiting == 0 {
                return Ok(());
            }
            if let Ok(why) = self.failures.try_recv() {
                return Err(format!("the spool failed: {why}"));
            }
            if started.elapsed() > PATIENCE {
                print!("{}", mailq(&self.queued().await?));
                return Err("not everything was delivered in time".to_owned());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn compare(&self, messages: &[Message]) -> Result<(), String> {
        title("What arrived is compared with what was sent");
        let mut copies = 0;
        for way in [Way::Mailstore, Way::Relay] {
            let folder = self.folder.join(if way == Way::Relay { "relayed" } else { "mail" });
            let arrived = store::read_all(&folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
            let expected = messages.iter().filter(|message| message.way == way);
            let expected: Vec<_> = expected.flat_map(Message::copies).collect();
            check_copies(&expected, &arrived)?;
            copies += expected.len();
        }
        println!("{copies} copies of {} messages, every octet as it was sent,", messages.len());
        println!("below the trace fields that each hop adds.");
        println!("Maildir             {}", self.folder.join("mail/ada/Maildir").display());
        println!("relayed             {}", self.folder.join("relayed").display());
        println!("log                 {}", self.folder.join("log").display());
        Ok(())
    }

    async fn stay(&self) {
        title("It stays until Ctrl-C");
        let to = format!("ada@{}", messages::OUR_DOMAIN);
        println!("send    swaks --server {} --to {to}", self.address);
        println!(
            "or      curl smtp://{} --mail-from me@home.example --mail-rcpt {to} -T FILE",
            self.address
        );
        println!("users   {}", messages::USERS.join(", "));
        let _ = tokio::signal::ctrl_c().await;
    }

    async fn queued(&self) -> Result<Vec<Queued>, String> {
        let socket = self.folder.join("spool/control");
        let asked = tokio::task::spawn_blocking(move || {
            ask(&socket, &control::Request::List(control::Filter::default()))
        });
        let answer = asked.await.map_err(|error| error.to_string())?;
        let (payload, _) = answer.map_err(|failure| failure.message)?;
        Ok(parse_lines(&payload))
    }
}

/// Each expected copy must be there exactly once, and nothing else.
fn check_copies(expected: &[(String, &Message)], arrived: &[store::Arrived]) -> Result<(), String> {
    for (recipient, message) in expected {
        let same = |copy: &&store::Arrived| {
            copy.recipient == *recipient && copy.content() == Some(message.content.as_slice())
        };
        let count = arrived.iter().filter(same).count();
        if count != 1 {
            return Err(format!("{} for {recipient} arrived {count} times", message.what));
        }
    }
    match arrived.len() == expected.len() {
        true => Ok(()),
        false => Err(format!("{} copies arrived, {} were sent", arrived.len(), expected.len())),
    }
}

fn configuration(
    folder: &Path,
    address: SocketAddr,
    sink: SocketAddr,
    paused: bool,
) -> Result<Config, String> {
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    let text = format!(
        "hostname = \"mx.{ours}\"\nspool = \"{folder}/spool\"\n\
         [[listener]]\nbind = \"{address}\"\n\
         [[domain]]\nname = \"{ours}\"\ndeliver = \"lmtp:unix:{folder}/lmtp\"\n\
         [relay]\nfrom = [\"127.0.0.1\"]\n\
         [[route]]\nrecipient = \"*\"\nvia = \"smtp://{sink}\"\n\
         [queue]\npaused = {paused}\n",
        ours = messages::OUR_DOMAIN,
        folder = folder.display(),
    );
    Config::parse("demo", &text, std::iter::empty()).map_err(|faults| faults.to_string())
}

/// The log goes into the folder, so that what is shown stays readable.
fn start_log(folder: &Path) -> std::io::Result<()> {
    let file = std::fs::File::create(folder.join("log"))?;
    tracing_subscriber::fmt()
        .with_writer(Mutex::new(file))
        .with_target(false)
        .log_internal_errors(false)
        .json()
        .init();
    Ok(())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn title(text: &str) {
    println!("\n── {text} ──");
}
