"""Simulators of the ad platforms, for demos, a studio's CI and our own tests.

They are written from the platform sheets alone. Nothing here imports from `postbacks.platforms`, and nothing
there imports from here: where one of the two misreads a rule, they must disagree.
"""
