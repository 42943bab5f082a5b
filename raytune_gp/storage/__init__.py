"""Where runs are kept: the journal of events, and the checkpoints and logs of trials."""
