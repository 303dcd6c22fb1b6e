//! Each class of leftovers, planted alone.
