//! `angarium route …`: where mail goes, and why.

mod tell;

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::queue::{ask, finish, print};
use crate::config::Config;
use crate::control::Request;
use crate::control::client::{self, EX_DATAERR, Failure, Route, RouteDetails};
use crate::daemon;
use crate::net::clock;
use crate::policy::recipient::{self, Judgement};
use crate::registry::reply::Reply;
use crate::route::next_hop::NextHop;
use crate::route::{Destination, Handling, Table, Way};
use crate::syntax::path;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the destinations that mail goes to, with what waits for each and what is wrong there
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of a destination: what waits, an outage, learned and set limits
    Show {
        /// The destination, as `route ls` writes it
        destination: String,
        /// One JSON object a line; more than one where routes differ in how they hand mail over
        #[arg(long)]
        json: bool,
    },
    /// Let mail to a destination wait, over restarts too, until it is resumed
    Pause {
        /// The destination, as `route ls` writes it
        destination: String,
    },
    /// Let mail to a paused destination go on
    Resume {
        /// The destination, as `route ls` writes it
        destination: String,
    },
    /// Tell what would become of mail to an address, and which line of the configuration decides
    Explain {
        /// The recipient
        address: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(config: &Config, command: Command) -> ExitCode {
    finish(match command {
        Command::Ls { json } => list(config, json),
        Command::Show { destination, json } => show(config, &destination, json),
        Command::Pause { destination } => pause(config, &destination, true),
        Command::Resume { destination } => pause(config, &destination, false),
        Command::Explain { address, json } => explain(config, &address, json),
    })
}

fn list(config: &Config, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::Routes)?;
    if json {
        print(&payload);
        return Ok(());
    }
    let routes = client::parse_lines::<Route>(&payload);
    print(tell::list(&routes, clock::now_ms()).as_bytes());
    Ok(())
}

fn show(config: &Config, destination: &str, json: bool) -> Result<(), Failure> {
    let name = match destination {
        // Mail that goes nowhere is listed as well.
        "discard" | "reject" | "unroutable" => destination.to_owned(),
        _ => next_hop(destination)?,
    };
    let payload = ask(config, &Request::Route(name))?;
    if json {
        print(&payload);
        return Ok(());
    }
    let now_ms = clock::now_ms();
    let each = client::parse_lines::<RouteDetails>(&payload);
    let texts: Vec<String> = each.iter().map(|one| tell::details(one, now_ms)).collect();
    print(texts.join("\n").as_bytes());
    Ok(())
}

fn pause(config: &Config, destination: &str, paused: bool) -> Result<(), Failure> {
    ask(config, &Request::Pause(next_hop(destination)?, paused)).map(drop)
}

/// The name of a next hop as the daemon writes it.
fn next_hop(text: &str) -> Result<String, Failure> {
    let fault = |error| Failure { exit: EX_DATAERR, message: format!("{text}: {error}") };
    text.parse::<NextHop>().map(|next_hop| next_hop.to_string()).map_err(fault)
}

/// What would become of a recipient.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Explanation {
    recipient: String,
    final_recipient: String,
    decided_by: String,
    destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<String>,
    from_strangers: String,
    from_relay_clients: String,
}

fn explain(config: &Config, address: &str, json: bool) -> Result<(), Failure> {
    let explanation = explanation(config, address).map_err(|message| Failure {
        exit: EX_DATAERR,
        message: format!("{address}: {message}"),
    })?;
    if json {
        println!("{}", serde_json::to_string(&explanation).unwrap_or_default());
        return Ok(());
    }
    println!("recipient           {}", explanation.recipient);
    if explanation.final_recipient != explanation.recipient {
        println!("mapped to           {}", explanation.final_recipient);
    }
    println!("decided by          {}", explanation.decided_by);
    println!("goes to             {}", explanation.destination);
    if let Some(tls) = &explanation.tls {
        println!("tls                 {tls}");
    }
    if let Some(credentials) = &explanation.credentials {
        println!("credentials         {credentials}");
    }
    println!("from strangers      {}", explanation.from_strangers);
    println!("from relay clients  {}", explanation.from_relay_clients);
    Ok(())
}

fn explanation(config: &Config, address: &str) -> Result<Explanation, String> {
    let path = path::parse_forward_path(address).map_err(|error| error.to_string())?;
    let table = daemon::table(config);
    let mailbox = table.final_recipient(&path).ok_or("no domain has a postmaster for it")?;
    let file = if config.file.is_empty() { "the defaults" } else { &config.file };
    let decided_by = match table.way(&mailbox) {
        Way::Domain(domain) => format!("{file}:{}: [[domain]] {}", domain.line, domain.name),
        Way::Rule(rule) => {
            format!("{file}:{}: [[route]] {} via {}", rule.line, rule.recipient, rule.via)
        }
        Way::None => format!("{file}: no [[domain]] and no [[route]] names it"),
    };
    let destination = table.destination(&mailbox);
    let (tls, credentials) = match &destination {
        Destination::Hop(next_hop, Handling { security, .. }) => {
            let credential = security.credential.as_ref();
            let name = credential.map(|credential| credential.name.clone());
            (Some(security.tls_words(next_hop)), name)
        }
        Destination::Discard | Destination::Reject | Destination::Unroutable => (None, None),
    };
    Ok(Explanation {
        recipient: path.to_string(),
        final_recipient: mailbox.to_string(),
        decided_by,
        destination: destination.to_string(),
        tls,
        credentials,
        from_strangers: verdict(&table, false, &path),
        from_relay_clients: verdict(&table, true, &path),
    })
}

fn verdict(table: &Table, may_relay: bool, path: &path::ForwardPath) -> String {
    let refused = |reply: Reply| format!("refused: {reply}");
    match recipient::judge(table, may_relay, path) {
        Judgement::Accept(_) => "accepted".to_owned(),
        Judgement::Verify { next_hop, .. } => format!("accepted if {next_hop} knows it"),
        Judgement::Refuse(reply) => refused(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
[[domain]]
name = \"ours.example\"
deliver = \"lmtp:unix:/run/lmtp\"
postmaster = \"admin\"

[[route]]
recipient = \"*@far.example\"
via = \"smtp://relay.example:25\"
tls = \"verify\"
credentials = \"relay\"

[[credential]]
name = \"relay\"
user = \"joe\"
password = \"never printed\"
";

    fn explain(address: &str) -> Explanation {
        let config = Config::parse("a.toml", TEXT, std::iter::empty()).unwrap();
        explanation(&config, address).unwrap()
    }

    #[test]
    fn names_the_line_that_decides() {
        let ours = explain("abuse@ours.example");
        assert_eq!(ours.final_recipient, "admin@ours.example");
        assert_eq!(ours.decided_by, "a.toml:2: [[domain]] ours.example");
        assert_eq!(ours.from_strangers, "accepted if lmtp:unix:/run/lmtp knows it");
        let far = explain("a@far.example");
        assert_eq!(far.decided_by, "a.toml:7: [[route]] *@far.example via smtp://relay.example:25");
        assert!(far.from_strangers.starts_with("refused: 550 5.7.1 "));
        assert_eq!(
            (far.from_relay_clients.as_str(), far.destination.as_str()),
            ("accepted", "smtp://relay.example:25")
        );
        assert_eq!((ours.tls.as_deref(), ours.credentials), (Some("off"), None));
        let asked = (far.tls.as_deref(), far.credentials.as_deref());
        assert_eq!(asked, (Some("verify"), Some("relay")));
        assert_eq!(explain("a@else.example").tls, None);
        assert!(explain("a@else.example").from_relay_clients.starts_with("refused: 550 5.4.4 "));
    }
}
