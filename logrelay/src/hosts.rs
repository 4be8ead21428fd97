//! What is counted per host: rates, silence.
