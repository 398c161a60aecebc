//! Courier and renewer on a thread of their own.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::apart::Apart;
use crate::config::Config;
use crate::courier::{Courier, Known, Order};
use crate::ledger::Ledger;
use crate::outlets::Shared;
use crate::portal::Portal;
use crate::renewal::Renewer;

/// The courier on a thread of its own, and what becomes true when it has ended. Two at a time could send the same
/// report.
pub(super) fn courier(
    config: &Config,
    ledger: &Arc<Ledger>,
    apart: Option<Apart>,
    earlier: Option<oneshot::Receiver<()>>,
    shared: &Arc<Shared>,
    told: impl Fn() + Clone + Send + 'static,
) -> Option<(mpsc::UnboundedSender<Order>, oneshot::Receiver<()>)> {
    let Some(portal) = &config.portal else {
        // Nothing more is sent; whoever comes next waits for the earlier one all the same.
        return earlier.map(|earlier| (mpsc::unbounded_channel().0, earlier));
    };
    let known = Known::new(&config.sites);
    let (orders, receiver) = mpsc::unbounded_channel();
    let (done, ended) = oneshot::channel();
    let (of_reports, of_renewals) = (Arc::clone(shared), Arc::clone(shared));
    let client = Arc::new(Portal::apart(portal.clone(), apart));
    let courier = Courier::new(
        Arc::clone(ledger),
        Arc::clone(&client),
        (portal, config.limits),
        known,
        Box::new(told.clone()),
        Box::new(move |problem| of_reports.set_report_problem(problem)),
    );
    let renewer = config.renewal.as_ref().map(|renewal| {
        let wanted = config.sites.iter().map(|site| site.certificate.clone()).collect();
        Renewer::new(Arc::clone(ledger), client, (renewal, portal), wanted)
    });
    let work = move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async {
                if let Some(earlier) = earlier {
                    // Whether it ended well or not.
                    let _ = earlier.await;
                }
                let (end, ended) = oneshot::channel();
                let report = async {
                    courier.run(receiver).await;
                    drop(end);
                };
                let renew = async {
                    if let Some(renewer) = renewer {
                        let told = |problem| {
                            of_renewals.set_renewal_problem(problem);
                            told();
                        };
                        renewer.run(ended, told).await;
                    }
                };
                tokio::join!(report, renew);
            }),
            Err(error) => tracing::error!(%error, "the courier cannot work"),
        }
        // Whoever waited for it may be gone.
        let _ = done.send(());
    };
    match std::thread::Builder::new().name("courier".into()).spawn(work) {
        Ok(_) => Some((orders, ended)),
        Err(error) => {
            // The status says so, too: there is a portal, and no courier.
            tracing::error!(%error, "the courier cannot be started; nothing is reported until the next start");
            None
        }
    }
}
