//! Chooses nodes for a client. Pure: the [view](crate::view) comes in as an argument, and so do the dice.
