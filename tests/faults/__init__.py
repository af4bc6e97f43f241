"""A real study under faults: what is done to it (`injections`), what must hold after each
(`invariants`), and the run (`__main__`).
"""
