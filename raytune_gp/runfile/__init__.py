"""Run files: the YAML that `raytune-gp run` takes, checked and turned into what `tune.run` takes.

Empty on purpose: a worker that runs a trainable of a run file loads `placed.py` and no YAML.
"""
