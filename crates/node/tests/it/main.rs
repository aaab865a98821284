//! Black-box tests: the real program with the scripted engine.
