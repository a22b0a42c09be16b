//! Functions for scripts that fail as Lua's own functions do.
//!
//! An error that a Rust function gives to mlua reaches the script as userdata. Scripts that were written for Redis want
//! what its C functions raise: a string, with the caller's place in front (`user_script:1: ...`), or a table.
//!
//! So such a function is two, one around the other. The inner one is Rust's and gives back its outcome as values:
//! `true` and the results, or `false` and what to raise. The outer one is a plain C function that raises it (`runtime::lua`),
//! when nothing of Rust's is left on the stack. An outer function in Lua would need no unsafe code, but `return cjson.decode(x)` is a
//! tail call: it would take the caller's frame away, and with it the place that the error is to name.

use mlua::{FromLuaMulti, Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::runtime::lua::{raising, Arguments};

/// Why a function could not do what a script asked, in the form in which the script is to see it.
#[derive(Debug)]
pub enum Failure {
    /// A string: the place of the call, if Lua code made it, and this text.
    Message(Vec<u8>),
    /// A string that says which argument is wrong: the place of the call, the argument's number, the function's name as
    /// the caller wrote it, and this text.
    Argument { number: usize, text: Vec<u8> },
    /// This very value.
    Raw(Value),
    /// An error of mlua's, which becomes its text, or Lua's text for a full stack or memory.
    Lua(mlua::Error),
}

impl Failure {
    pub fn message(text: impl Into<Vec<u8>>) -> Self {
        Failure::Message(text.into())
    }

    pub fn argument(number: usize, text: impl Into<Vec<u8>>) -> Self {
        Failure::Argument { number, text: text.into() }
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Failure::Lua(error)
    }
}

/// A Lua function that runs `function`, and raises its failures as Lua's own functions would.
///
/// For Lua code it is one C function: `pcall` gives the error's text as a string, and the place in it is that of the
/// caller. Seen from `function`, the stack has one more level than usual: the caller is at level 2.
pub fn function_that_may_fail<A, R>(
    lua: &Lua,
    function: impl Fn(&Lua, A) -> Result<R, Failure> + 'static,
) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    fallible(lua, function, Arguments::AsTheyAre)
}

/// As `function_that_may_fail`, for one that takes any number of arguments: it gets a table of them, and how many they are.
pub fn function_of_many_that_may_fail<R: IntoLuaMulti>(
    lua: &Lua,
    function: impl Fn(&Lua, Table, usize) -> Result<R, Failure> + 'static,
) -> mlua::Result<Function> {
    fallible(lua, move |lua, (arguments, count)| function(lua, arguments, count), Arguments::InTable)
}

fn fallible<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    function: impl Fn(&Lua, A) -> Result<R, Failure> + 'static,
    how: Arguments,
) -> mlua::Result<Function> {
    let inner = lua.create_function(move |lua, arguments: A| match function(lua, arguments) {
        Ok(results) => {
            let mut values = results.into_lua_multi(lua)?;
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        Err(failure) => failed(lua, failure),
    })?;
    raising(lua, inner, how)
}

/// `false`, what to put in front of the third value (nothing for nil, the place for false, all that is said of the
/// argument with a number), and that third value, which is to be raised.
fn failed(lua: &Lua, failure: Failure) -> mlua::Result<MultiValue> {
    let (front, value) = match failure {
        Failure::Message(text) => (Value::Boolean(false), lua.create_string(text)?.into_lua(lua)?),
        Failure::Argument { number, text } => {
            (Value::Integer(number as i64), lua.create_string(text)?.into_lua(lua)?)
        }
        Failure::Raw(value) => (Value::Nil, value),
        Failure::Lua(mlua::Error::RuntimeError(text)) => {
            (Value::Nil, lua.create_string(text)?.into_lua(lua)?)
        }
        Failure::Lua(mlua::Error::StackError) => {
            (Value::Boolean(false), lua.create_string("stack overflow")?.into_lua(lua)?)
        }
        Failure::Lua(mlua::Error::MemoryError(_)) => {
            (Value::Nil, lua.create_string("not enough memory")?.into_lua(lua)?)
        }
        Failure::Lua(error) => (Value::Nil, lua.create_string(plain_text(&error))?.into_lua(lua)?),
    };
    Ok(MultiValue::from_vec(vec![Value::Boolean(false), front, value]))
}

fn plain_text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::CallbackError { cause, .. } => plain_text(cause),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: &str) -> String {
        let lua = crate::runtime::lua::interpreter().unwrap();
        let fail = function_that_may_fail(&lua, |lua, (kind, value): (String, Value)| match kind.as_str() {
            "message" => Err(Failure::message("no luck")),
            "argument" => Err(Failure::argument(2, "too blue")),
            "raw" => Err(Failure::Raw(value)),
            "runtime" => Err(mlua::Error::runtime("as it is").into()),
            "stack" => Err(mlua::Error::StackError.into()),
            "results" => Ok(MultiValue::from_vec(vec![value.clone(), Value::Nil, value])),
            _ => Ok((lua.globals().raw_len(),).into_lua_multi(lua)?),
        })
        .unwrap();
        lua.globals().set("fail", fail).unwrap();
        lua.load(code).set_name("@user_script").eval().unwrap()
    }

    #[test]
    fn results_come_back_as_they_are() {
        assert_eq!(
            run("return table.concat({select('#', fail('results', 7)), fail('results', 7)}, ',', 1, 2)"),
            "3,7"
        );
        assert_eq!(run("return tostring(select('#', fail('nothing')))"), "1");
    }

    #[test]
    fn errors_are_strings_that_name_the_callers_place() {
        for (code, text) in [
            ("local _, e = pcall(fail, 'message') return e", "no luck"),
            (
                "local _, e = pcall(function() local x = fail('message') end) return e",
                "user_script:1: no luck",
            ),
            (
                "local _, e = pcall(function()\n return fail('message') end) return e",
                "user_script:2: no luck",
            ),
            (
                "local _, e = pcall(function() return fail('argument') end) return e",
                "user_script:1: bad argument #2 to 'fail' (too blue)",
            ),
            ("local _, e = pcall(fail, 'argument') return e", "bad argument #2 to '?' (too blue)"),
            ("local _, e = pcall(function() fail('runtime') end) return e", "as it is"),
            ("local _, e = pcall(function() fail('stack') end) return e", "user_script:1: stack overflow"),
            ("local _, e = pcall(fail, 'raw', 'text') return type(e) .. e", "stringtext"),
            ("local t = {} local _, e = pcall(fail, 'raw', t) return tostring(e == t)", "true"),
            ("local _, e = coroutine.resume(coroutine.create(function(k) local x = fail(k) end), 'message') return e", "user_script:1: no luck"),
        ] {
            assert_eq!(run(code), text, "{code}");
        }
    }
}
