//! A list to read.

use super::quicklist::{visit_items, Quicklist};
use super::{End, NodeItems};
use crate::store::listpack::{Item, Items};
use crate::store::Kind;

#[derive(Clone, Copy, Debug)]
pub struct ListView<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    Packed(Items<'a>),
    Quick(&'a Quicklist),
}

impl<'a> ListView<'a> {
    pub(super) fn packed(items: Items<'a>) -> ListView<'a> {
        ListView(Repr::Packed(items))
    }

    pub(super) fn quick(quicklist: &'a Quicklist) -> ListView<'a> {
        ListView(Repr::Quick(quicklist))
    }

    pub fn kind(self) -> Kind {
        match self.0 {
            Repr::Packed(_) => Kind::ListListpack,
            Repr::Quick(_) => Kind::ListQuicklist,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self.0 {
            Repr::Packed(items) => items.len(),
            Repr::Quick(quicklist) => quicklist.len(),
        }
    }

    /// Calls `visit` with the elements from number `index` on, towards the tail; `from` the tail: towards the head. Ends when it
    /// answers false.
    pub fn visit(self, index: usize, from: End, mut visit: impl FnMut(Item) -> bool) {
        match self.0 {
            Repr::Packed(items) => {
                if items.seek(index as i64).is_some() {
                    visit_items(items, Some(index), from, &mut visit);
                }
            }
            Repr::Quick(quicklist) => quicklist.visit(index, from, visit),
        }
    }

    /// All elements from the first to the last.
    pub fn for_each(self, mut visit: impl FnMut(Item)) {
        self.visit(0, End::Head, |item| {
            visit(item);
            true
        });
    }

    /// The nodes in order: a small list is one. For whoever writes it to a file.
    pub fn visit_nodes(self, mut visit: impl FnMut(NodeItems)) {
        match self.0 {
            Repr::Packed(items) => visit(NodeItems::Packed(items)),
            Repr::Quick(quicklist) => quicklist.visit_nodes(visit),
        }
    }

    /// As `visit_nodes`, from node number `number` on, until `visit` answers false.
    pub fn visit_nodes_from(self, number: usize, mut visit: impl FnMut(NodeItems) -> bool) {
        match self.0 {
            Repr::Packed(items) if number == 0 => {
                visit(NodeItems::Packed(items));
            }
            Repr::Packed(_) => {}
            Repr::Quick(quicklist) => quicklist.visit_nodes_from(number, visit),
        }
    }

    /// Number of nodes.
    pub fn nodes(self) -> usize {
        match self.0 {
            Repr::Packed(_) => 1,
            Repr::Quick(quicklist) => quicklist.nodes(),
        }
    }
}
