//! Small collections, each in one string: checked before anything believes an offset in them. (Listpacks, which are what memory holds
//! too, are `store::listpack`'s to check.)
//!
//! A check walks every entry once and answers a view that is known to be well-formed; the view's iterator walks again without
//! failing. Duplicates are not looked for, which only whoever builds the value can see cheaply. What to do about contradictions that
//! can be put right is for `decode` to say.

mod intset;
pub(crate) mod stream_node;
#[cfg(test)]
mod tests;
mod ziplist;
mod zipmap;

pub use intset::Intset;
pub use ziplist::Ziplist;
pub use zipmap::Zipmap;

/// What terminates a listpack, a ziplist and a zipmap.
const END: u8 = 0xff;
