//! Walking through the entries of a table, in an order that may be left to look into one of them, and taken up again.

use mlua::{Function, Lua, Table, Value};

use super::raise::Failure;

/// Lua's `next`, as it was before any script could change it.
#[derive(Clone)]
pub struct Next(Function);

impl Next {
    pub fn new(lua: &Lua) -> mlua::Result<Self> {
        lua.globals().raw_get("next").map(Self)
    }
}

pub struct Walk {
    table: Table,
    /// The key to go on behind.
    last: Option<Value>,
}

impl Walk {
    pub fn new(table: Table) -> Self {
        Self { table, last: None }
    }

    /// Shows the entries that are left to `visit`, to the first of which it makes something; that, or `None` at the end.
    pub fn advance<T>(
        &mut self,
        next: &Next,
        mut visit: impl FnMut(&Value, &Value) -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        let Some(mut last) = self.last.take() else {
            // Much faster than calling `next`, but it cannot start again in the middle.
            let mut found = None;
            for_each(&self.table, |key: Value, value: Value| {
                let Some(made) = visit(&key, &value)? else { return Ok(true) };
                found = Some(made);
                self.last = Some(key);
                Ok(false)
            })?;
            return Ok(found);
        };
        loop {
            let (key, value): (Value, Value) = next.0.call((&self.table, last))?;
            if key.is_nil() {
                return Ok(None);
            }
            if let Some(made) = visit(&key, &value)? {
                self.last = Some(key);
                return Ok(Some(made));
            }
            last = key;
        }
    }
}

/// Shows the entries of a table to `visit` until that returns false. With `bool` for a type of value, none is taken out
/// of Lua.
pub fn for_each<V: mlua::FromLua>(
    table: &Table,
    mut visit: impl FnMut(Value, V) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut stopped = None;
    let result = table.for_each(|key, value| {
        match visit(key, value) {
            Ok(true) => return Ok(()),
            Ok(false) => stopped = Some(Ok(())),
            Err(failure) => stopped = Some(Err(failure)),
        }
        // Only an error ends the loop; nobody sees it.
        Err(mlua::Error::CallbackDestructed)
    });
    stopped.unwrap_or(result.map_err(Failure::from))
}
