//! Lists.
//!
//! A small list is one listpack; beyond `list-max-listpack-size` it is a quicklist, a row of listpacks. When it shrinks to
//! half of that limit in one node it becomes a listpack again, as in Redis.
//!
//! [`List`] is a list to change. Commands call `grow` before they add something and `shrink` after they have taken something away or replaced
//! it: only there the representation changes. [`ListView`] is a list to read.

mod node;
mod pack;
mod quicklist;
#[cfg(test)]
mod tests;
mod tree;
mod view;

use node::Limit;
pub use node::NodeItems;
use pack::Pack;
use quicklist::Quicklist;
pub use view::ListView;

use super::collection::Collection;
use super::listpack::{Item, Items, Listpack, Needle};
use super::object::Object;
use super::{Kind, Settings, Value, ValueType};

/// An end of a list: its first element is at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Head,
    Tail,
}

/// Where LINSERT puts an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// A list to change. Its fields are this module's.
#[derive(Debug)]
pub struct List(Repr);

#[derive(Debug)]
enum Repr {
    Packed(Pack),
    Quick(Box<Quicklist>),
}

impl List {
    /// Adds the elements of a listpack at the end, behind others in a node of their own. For whoever builds a list of nodes,
    /// and calls `settle` behind the last.
    pub fn push_listpack(&mut self, items: Items, settings: &Settings) {
        if items.is_empty() {
            return;
        }
        let added = Pack::from_bytes(items.as_bytes().to_vec());
        match &mut self.0 {
            Repr::Packed(pack) if pack.is_empty() => *pack = added,
            _ => self.become_quick(settings).push_pack(added),
        }
    }

    /// The same with a node of one element.
    pub fn push_alone(&mut self, element: &[u8], settings: &Settings) {
        self.become_quick(settings).push_alone(element, settings);
    }

    /// An empty one for elements whose number is not known; `settle` it in the end.
    pub fn for_many(settings: &Settings) -> List {
        List(Repr::Quick(Box::new(Quicklist::new(settings))))
    }

    #[allow(clippy::len_without_is_empty)] // `Collection::is_empty` is it
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Adds an element at the end, and chooses the representation: for whoever builds a list.
    pub fn push_back(&mut self, element: &[u8], settings: &Settings) {
        self.grow(element.len(), 1, settings);
        self.push(End::Tail, element, settings);
    }

    /// To be called before `count` elements of `bytes` altogether are added (LSET: replaced).
    pub fn grow(&mut self, bytes: usize, count: usize, settings: &Settings) {
        let Repr::Packed(pack) = &self.0 else { return };
        if !Limit(settings.list_max_listpack_size).is_exceeded_by(pack, bytes, count) {
            return;
        }
        self.become_quick(settings);
    }

    fn become_quick(&mut self, settings: &Settings) -> &mut Quicklist {
        if let Repr::Packed(pack) = &mut self.0 {
            let mut quicklist = Quicklist::new(settings);
            if !pack.is_empty() {
                quicklist.push_pack(std::mem::take(pack));
            }
            self.0 = Repr::Quick(Box::new(quicklist));
        }
        match &mut self.0 {
            Repr::Quick(quicklist) => quicklist,
            Repr::Packed(_) => unreachable!("it has just become a quicklist"),
        }
    }

    /// To be called after elements have been taken away or replaced.
    pub fn shrink(&mut self, settings: &Settings) {
        self.pack_if_small(settings, true);
    }

    /// To be called after a list has been built whose final size was not known: it becomes a listpack whenever it may be one.
    pub fn settle(&mut self, settings: &Settings) {
        self.grow(0, 0, settings);
        self.pack_if_small(settings, false);
    }

    fn pack_if_small(&mut self, settings: &Settings, half: bool) {
        if let Repr::Quick(quicklist) = &mut self.0 {
            let limit = Limit(settings.list_max_listpack_size);
            if let Some(pack) = quicklist.take_pack(limit, half, settings.quicklist_packed_threshold) {
                self.0 = Repr::Packed(pack);
            }
        }
    }

    pub fn push(&mut self, end: End, element: &[u8], settings: &Settings) {
        match &mut self.0 {
            Repr::Packed(pack) => match end {
                End::Head => pack.push_front(element),
                End::Tail => pack.push_back(element),
            },
            Repr::Quick(quicklist) => quicklist.push(end, element, settings),
        }
    }

    /// Takes the element at an end away, after `take` has seen it.
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(Item) -> R) -> Option<R> {
        match &mut self.0 {
            Repr::Packed(pack) => {
                let items = pack.items();
                let position = match end {
                    End::Head => items.first(),
                    End::Tail => items.last()?,
                };
                if items.is_empty() {
                    return None;
                }
                let result = take(items.item(position));
                match end {
                    End::Head => pack.drop_first(),
                    End::Tail => pack.drop_last(),
                }
                Some(result)
            }
            Repr::Quick(quicklist) => quicklist.pop(end, take),
        }
    }

    /// Takes away the elements from number `index` on, and returns them: what is many is better freed in steps
    /// (`Store::discard`).
    pub fn split_off(&mut self, index: usize) -> List {
        List(match &mut self.0 {
            Repr::Packed(pack) => {
                let tail = pack.edit(|listpack| match listpack.items().seek(index as i64) {
                    Some(position) => listpack.split_off(position),
                    None => Listpack::new(),
                });
                Repr::Packed(Pack::from_bytes(tail.into_bytes()))
            }
            Repr::Quick(quicklist) => Repr::Quick(Box::new(quicklist.split_off(index))),
        })
    }

    /// Takes away the first `count` elements, and returns them.
    pub fn split_front(&mut self, count: usize) -> List {
        let tail = self.split_off(count);
        std::mem::replace(self, tail)
    }

    /// Puts another element in the place of number `index`; false when there is none.
    pub fn set(&mut self, index: usize, element: &[u8], settings: &Settings) -> bool {
        if index >= self.len() {
            return false;
        }
        match &mut self.0 {
            Repr::Packed(pack) => pack.edit(|listpack| {
                if let Some(position) = listpack.items().seek(index as i64) {
                    listpack.replace(position, element);
                }
            }),
            Repr::Quick(quicklist) => quicklist.set(index, element, settings),
        }
        true
    }

    /// Puts an element beside the first one equal to `pivot`; false when there is none.
    pub fn insert_beside(&mut self, pivot: &[u8], side: Side, element: &[u8], settings: &Settings) -> bool {
        let needle = Needle::new(pivot);
        match &mut self.0 {
            Repr::Packed(pack) => pack.edit(|listpack| {
                let items = listpack.items();
                let Some(found) = items.find(&needle, items.first(), 1) else { return false };
                let position = match side {
                    Side::Before => found,
                    Side::After => items.after(found),
                };
                listpack.insert(position, element);
                true
            }),
            Repr::Quick(quicklist) => quicklist.insert_beside(&needle, side, element, settings),
        }
    }

    /// Removes elements equal to `element`: at most `max`, from one end on; returns how many.
    pub fn remove_equal(&mut self, element: &[u8], max: usize, from: End) -> usize {
        let needle = Needle::new(element);
        match &mut self.0 {
            Repr::Packed(pack) => pack.remove_where(max, from == End::Tail, |item| needle.is(item)),
            Repr::Quick(quicklist) => quicklist.remove_equal(&needle, max, from),
        }
    }
}

impl Collection for List {
    const TYPE: ValueType = ValueType::List;
    type View<'a> = ListView<'a>;

    fn empty() -> List {
        List(Repr::Packed(Pack::new()))
    }

    fn kind(&self) -> Kind {
        match &self.0 {
            Repr::Packed(_) => Kind::ListListpack,
            Repr::Quick(_) => Kind::ListQuicklist,
        }
    }

    fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Packed(pack) => pack.is_empty(),
            Repr::Quick(quicklist) => quicklist.len() == 0,
        }
    }

    fn view(&self) -> ListView<'_> {
        match &self.0 {
            Repr::Packed(pack) => ListView::packed(pack.items()),
            Repr::Quick(quicklist) => ListView::quick(quicklist),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<ListView<'a>> {
        match value {
            Value::List(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Packed(pack) => Some(pack.as_bytes()),
            Repr::Quick(_) => None,
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> List {
        List(Repr::Packed(Pack::from_bytes(bytes)))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> ListView<'_> {
        ListView::packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self.0 {
            Repr::Packed(pack) => pack.into_buffer(),
            Repr::Quick(_) => Vec::new(),
        }
    }

    fn into_object(self) -> Object {
        Object::List(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut List> {
        match object {
            Object::List(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.memory(),
            Repr::Quick(quicklist) => super::memory::block_size(size_of::<Quicklist>()) + quicklist.memory(),
        }
    }

    fn duplicate(&self) -> List {
        List(match &self.0 {
            Repr::Packed(pack) => Repr::Packed(pack.duplicate()),
            Repr::Quick(quicklist) => Repr::Quick(Box::new(quicklist.duplicate())),
        })
    }

    fn pieces(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Quick(quicklist) => 1 + quicklist.nodes(),
        }
    }

    fn free_some(&mut self, pieces: usize) -> usize {
        match &mut self.0 {
            Repr::Packed(_) => 0,
            Repr::Quick(quicklist) => (0..pieces).take_while(|_| quicklist.free_node()).count(),
        }
    }
}
