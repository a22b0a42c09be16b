//! Lists: elements one by one, or listpacks of them.

use crate::store::listpack::Listpack;
use crate::store::{Collection, List, Settings};

pub struct ListBuilder(List);

impl ListBuilder {
    pub fn new() -> ListBuilder {
        ListBuilder(List::empty())
    }

    pub fn element(&mut self, element: &[u8], settings: &Settings) {
        self.0.push_back(element, settings);
    }

    /// An element that had a node of its own.
    pub fn plain(&mut self, element: &[u8], settings: &Settings) {
        self.0.push_alone(element, settings);
    }

    pub fn packed(&mut self, listpack: Listpack, settings: &Settings) {
        self.0.push_listpack(listpack.items(), settings);
    }

    pub fn finish(mut self, settings: &Settings) -> List {
        self.0.settle(settings);
        self.0
    }
}
