//! `angarium check`: a configuration without faults, in a few lines.
//!
//! Says who may do what with it, so that an open door is seen before it is opened.

use std::process::ExitCode;

use crate::config::Config;

pub(super) fn run(config: &Config) -> ExitCode {
    let name = if config.file.is_empty() { "the built-in defaults" } else { &config.file };
    println!("{name}: no faults");
    print!("{}", summary(config));
    ExitCode::SUCCESS
}

fn summary(config: &Config) -> String {
    let list = |items: Vec<String>, none: &str| {
        if items.is_empty() { none.to_owned() } else { items.join(", ") }
    };
    let listeners = config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    let domains = config
        .domains
        .iter()
        .map(|domain| format!("{} to {}", domain.name, domain.deliver))
        .collect();
    let relay = config.relay.from.iter().map(ToString::to_string).collect();
    let routes = config
        .routes
        .iter()
        .map(|route| format!("{} via {}", route.recipient, route.via))
        .collect();
    format!(
        "host name  {}\nlistens    {}\nmail for   {}\nmay relay  {}\nroutes     {}\nspool      {}\n",
        config.hostname,
        list(listeners, "nowhere"),
        list(domains, "no domain"),
        list(relay, "nobody"),
        list(routes, "none: mail for others is refused"),
        config.spool.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_open_no_door() {
        let text = summary(&Config { hostname: "mx.example".into(), ..Config::default() });
        assert!(text.contains("listens    127.0.0.1:2525\n"), "{text}");
        assert!(text.contains("mail for   no domain\nmay relay  nobody\n"), "{text}");
    }
}
