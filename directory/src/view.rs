//! What one state means for lookups: the tree and the policy, made together and published together.
