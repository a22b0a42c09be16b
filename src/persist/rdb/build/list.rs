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

    pub fn packed(&mut self, listpack: Listpack, settings: &Settings) {
        let mut digits = itoa::Buffer::new();
        for element in listpack.items().iter() {
            self.0.push_back(element.bytes(&mut digits), settings);
        }
    }

    pub fn finish(self) -> List {
        self.0
    }
}
