//! Programs whose logins Dovecot checks for the daemon.

use super::{Hosted, assert_programs_submit, run_programs};
use crate::dovecot_auth::{Checker, PASSWORD};
use crate::require_peers;
use crate::support::daemon::Site;

#[test]
fn programs_log_in_by_what_dovecot_knows() {
    require_peers!();
    let mut checker = Checker::start_new();
    for place in checker.places() {
        let hosted = Hosted::start_at(Site::new(), &format!("dovecot = {place:?}"));
        assert_programs_submit(&hosted, PASSWORD);
        let taken = hosted.store.count();
        // Dovecot soon slows down who fails, so one is enough.
        let (line, sent, printed) = run_programs(&hosted, "wrong").next().unwrap();
        assert!(!sent && printed.contains("535"), "{line}: {printed}");

        checker.kill();
        let (line, sent, printed) = run_programs(&hosted, PASSWORD).next().unwrap();
        assert!(!sent && printed.contains("454"), "{line}: {printed}");
        checker.start();
        let (line, sent, printed) = run_programs(&hosted, PASSWORD).next().unwrap();
        assert!(sent, "{line}: {printed}");
        hosted.arrived(taken + 1);
    }
}
