//! Streams.

use super::collection::Collection;
use super::object::Object;
use super::{Kind, Value, ValueType};

#[derive(Debug, Default)]
pub struct Stream {}

impl Collection for Stream {
    const TYPE: ValueType = ValueType::Stream;
    type View<'a> = &'a Stream;

    fn empty() -> Stream {
        Stream::default()
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    /// A stream without entries is still there.
    fn is_empty(&self) -> bool {
        false
    }

    fn view(&self) -> &Stream {
        self
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<&'a Stream> {
        match value {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        None
    }

    fn from_packed(_: Kind, _: Vec<u8>) -> Stream {
        unreachable!("a stream is never packed")
    }

    fn view_packed(_: Kind, _: &[u8]) -> &Stream {
        unreachable!("a stream is never packed")
    }

    fn into_packed(self) -> Vec<u8> {
        Vec::new()
    }

    fn into_object(self) -> Object {
        Object::Stream(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut Stream> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        0
    }

    fn duplicate(&self) -> Stream {
        Stream {}
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}
