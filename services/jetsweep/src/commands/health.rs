//! `jetsweep health`: asks the service of this configuration how it is.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jetsweep_shared::monitor;

use crate::app::App;
use crate::cli::HealthArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::{Look, Report};

/// HTTP's "OK".
const OK: u16 = 200;

/// The service answered that it is well.
struct Well(&'static str);

pub(crate) async fn execute(args: HealthArgs, app: &App) -> Answer {
    let doing = "ask for the health of a service";
    let Some(address) = app.config.http.address() else {
        let cause = "http.listen is not set, so services of this configuration show no health";
        return Err(Failure::bad_input(doing, cause).hint("set it for the service and for this command alike"));
    };
    let (path, word) = if args.live { ("/livez", "live") } else { ("/readyz", "ready") };
    let (status, text) = monitor::ask(own(address), path).await.or_broken(|| doing)?;
    if status == OK {
        return Ok(Box::new(Well(word)));
    }
    Err(Failure::broken(doing, anyhow::anyhow!("it is not {word}: {}", text.trim())))
}

/// Where this machine reaches what listens on `address`, which may be every address there is.
fn own(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
    }
}

impl Report for Well {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        writeln!(out, "{}", self.0)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{{\"{}\":true}}", self.0)
    }
}
