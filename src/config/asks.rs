//! Where a site is asked for. Of IIS its bindings say it.

use super::{Ask, Binding, Origin, Shows, Site};

impl Site {
    /// Where to ask for the served certificate, which is to be of this origin; `covers` tells whether it is good for a
    /// host. IIS breaks a handshake off for a host that it does not have: there only what is bound is asked for.
    pub fn asks(&self, wanted: &Origin, covers: impl Fn(&str) -> bool) -> Vec<Ask> {
        if !self.verify.is_empty() {
            return self.verify.to_vec();
        }
        let (by_host, of_any): (Vec<_>, Vec<_>) =
            self.showing(wanted, covers).into_iter().partition(|(binding, _)| !binding.host().is_empty());
        let mut asks: Vec<Ask> = Vec::new();
        for (binding, _) in by_host {
            let host = binding.host().replacen('*', "certhook-probe", 1);
            let hosts = &mut ask_at(&mut asks, binding).hosts;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let count = asks.len();
        for (binding, is_known) in of_any {
            let endpoint = binding.endpoint();
            let Some(ask) = asks[..count].iter_mut().find(|ask| ask.endpoint == endpoint) else {
                // What answers to any name answers to the certificate's own.
                ask_at(&mut asks, binding);
                continue;
            };
            // Here a host's own record answers to its name: this one is asked by an address, that is without a name.
            let address = binding.reached_at().to_string();
            if is_known && !ask.hosts.contains(&address) {
                ask.hosts.push(address);
            }
        }
        asks
    }

    /// The bindings that are to show it; whether that is known. Of those without a host only what is named, or has the
    /// certificate or an earlier one: the others are somebody else's, or of a site that is stopped.
    fn showing(&self, wanted: &Origin, covers: impl Fn(&str) -> bool) -> Vec<(&Binding, bool)> {
        let is_for = |binding: &Binding| binding.host().is_empty() || covers(binding.host());
        if !self.bindings.is_empty() {
            let named = self.bindings.iter().filter(|binding| is_for(binding));
            return named.map(|binding| (binding, true)).collect();
        }
        let bound = self.bound.iter().filter(|bound| is_for(&bound.binding));
        let bound = bound.filter(|bound| !bound.binding.host().is_empty() || bound.may_show(wanted));
        bound.map(|bound| (&bound.binding, bound.shows != Shows::Unknown)).collect()
    }
}

fn ask_at<'a>(asks: &'a mut Vec<Ask>, binding: &Binding) -> &'a mut Ask {
    let endpoint = binding.endpoint();
    let index = asks.iter().position(|ask| ask.endpoint == endpoint).unwrap_or_else(|| {
        asks.push(Ask { endpoint, hosts: Vec::new() });
        asks.len() - 1
    });
    &mut asks[index]
}
