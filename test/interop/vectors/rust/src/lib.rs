//! Nothing of this is compiled: cargo fetches the crate, whose folder has the vectors as JSON.
