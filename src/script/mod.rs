//! Scripts: Lua 5.1 with what Redis gives to it.

pub mod libs;
