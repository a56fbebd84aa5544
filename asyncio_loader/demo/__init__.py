"""The demo: data made up on the spot, a bucket on this machine, and a detector that learns from it."""
