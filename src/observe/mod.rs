//! 

pub mod log;
