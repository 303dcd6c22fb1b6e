//! The command line: types and the printing of results; no logic of a stage.
