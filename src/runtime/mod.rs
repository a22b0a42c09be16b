//! 

pub mod sys;
