"""Ready-made trainables: each uses only the public `raytune_gp.tune`, and runs alone from a shell."""
