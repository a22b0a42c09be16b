//! The list against a model.
