//! The sites that there are.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use super::{Site, SiteId};

/// The sites by their numbers. Inside the agent a number is used only while its site is there: events of others
/// end at the door.
#[derive(Debug, Default)]
pub(super) struct Sites(BTreeMap<SiteId, Box<Site>>);

impl Sites {
    pub(super) fn add(&mut self, id: SiteId, site: Site) {
        self.0.insert(id, Box::new(site));
    }

    pub(super) fn remove(&mut self, id: SiteId) {
        self.0.remove(&id);
    }

    pub(super) fn get(&self, id: SiteId) -> Option<&Site> {
        self.0.get(&id).map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        self.0.iter().map(|(id, site)| (*id, site.as_ref()))
    }

    pub(super) fn ids(&self) -> Vec<SiteId> {
        self.0.keys().copied().collect()
    }
}

impl Index<SiteId> for Sites {
    type Output = Site;

    fn index(&self, id: SiteId) -> &Site {
        &self.0[&id]
    }
}

impl IndexMut<SiteId> for Sites {
    fn index_mut(&mut self, id: SiteId) -> &mut Site {
        self.0.get_mut(&id).expect("events of sites that are gone end at the door")
    }
}
