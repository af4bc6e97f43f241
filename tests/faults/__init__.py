"""A real study under faults: the faults (`injections`), the conditions that must hold after each
fault (`invariants`), and the run (`__main__`).
"""
